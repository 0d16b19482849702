"""How is it told which configuration to take: as a table, and in sentences?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_llmbench.catalog.answer import Answer, Costs, Entry, Excluded
from pytest_llmbench.catalog.criteria import CRITERIA
from pytest_llmbench.catalog.entries import told
from pytest_llmbench.metrics.units import UNKNOWN, count, number, precise_percent
from pytest_llmbench.report.markdown import escaped

TITLES = {
    "best_quality": "best quality",
    "lowest_cost": "lowest cost",
    "lowest_latency": "lowest latency",
    "simplest": "simplest",
    "balanced": "balanced",
}
"""What the lists of an answer are called."""
EXCLUDED = "Excluded"
"""The title of what is said of limits."""


@dataclass(frozen=True, slots=True)
class Section:
    """Some sentences on one thing."""

    title: str
    lines: tuple[str, ...]


def table(answer: Answer) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The heads and the cells of the ranking: what counts, and the costs."""
    shown = [name for name in CRITERIA if name in answer.weights]
    shown = shown if "cost" in shown else [*shown, "cost"]
    heads = ("rank", "configuration", "score", *(CRITERIA[name].head for name in shown), "USD/h")
    rows = []
    for entry in answer.ranked:
        cells = [_rank(entry), entry.configuration.label, f"{entry.score:.3f}"]
        cells += [told(entry.values[name], CRITERIA[name].unit) for name in shown]
        price = entry.costs.price
        rows.append((*cells, UNKNOWN if price is None else f"{price.usd_per_hour:.3g}"))
    return heads, rows


def sections(answer: Answer, *, whole: bool = False) -> list[Section]:
    """What is said of an answer; what there is none of is left out.

    :param whole: also how each score is made, and of which prices.
    """
    made = [
        Section("Why", tuple(f"{entry.rank}. {entry.why}" for entry in answer.ranked)),
        Section("How the scores are made", tuple(_score(answer))) if whole else Section("", ()),
        Section("Best by one thing", tuple(_lists(answer))),
        Section(EXCLUDED, tuple(_excluded(answer))),
        Section("Nearest misses", () if answer.ranked else tuple(_misses(answer))),
        Section("Not known, or not sure", tuple(_unsure(answer))),
        Section("Never measured", tuple(_never(answer))),
        Section("Prices", tuple(_prices(answer))) if whole else Section("", ()),
        Section("Note", tuple(answer.notes)),
    ]
    return [section for section in made if section.lines]


def head(answer: Answer) -> str:
    """What was looked at, in a sentence."""
    text = (
        f"{count(answer.evaluated, 'configuration')} that answered {answer.test!r}: {answer.meeting} "
        f"{'meets' if answer.meeting == 1 else 'meet'} every limit"
    )
    if answer.beaten:
        text += f", {answer.beaten} of them beaten by another one in everything that counts"
    if answer.shown_once:
        text += f"; of each model one is shown, {answer.shown_once} more with --all"
    return text + f". Catalog {answer.version}."


def markdown(answer: Answer, *, whole: bool = False) -> str:
    """The same, for a pull request or a document."""
    heads, rows = table(answer)
    lines = [head(answer), ""] if answer.test else []
    if rows:
        lines += [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        lines += [f"| {' | '.join(map(escaped, row))} |" for row in rows]
        lines.append("")
    for section in sections(answer, whole=whole):
        lines += [f"**{section.title}**", "", *(f"- {escaped(line)}" for line in section.lines), ""]
    return "\n".join(lines)


def _rank(entry: Entry) -> str:
    return f"{entry.rank}{'=' if entry.ties else ''}"


def _score(answer: Answer) -> Iterator[str]:
    shares = ", ".join(f"{CRITERIA[n].head} {precise_percent(share)}" for n, share in answer.weights.items())
    yield f"closeness to the best there is (TOPSIS), 0 to 1; weights: {shares}"
    for entry in answer.ranked:
        parts = " + ".join(f"{CRITERIA[name].head} {part:.3f}" for name, part in entry.parts.items())
        low, high = entry.interval
        yield f"{entry.rank}. {entry.score:.3f} ({low:.3f} to {high:.3f}) = {parts}"
    for entry in answer.ranked:
        if entry.ties:
            yield f"{entry.rank}. noise alone tells it apart from {', '.join(map(str, entry.ties))}"


def _lists(answer: Answer) -> Iterator[str]:
    for name, found in answer.lists.items():
        if found is not None:
            yield f"{TITLES[name]}: {found.label}"


def _excluded(answer: Answer) -> Iterator[str]:
    for one in answer.excluded:
        if one.count or one.unknown:
            unknown = f", not known of {one.unknown}" if one.unknown else ""
            text = f"{one.limit}: {one.count} beyond it{unknown}"
            yield text if answer.meeting else text + _needed(one)


def _needed(one: Excluded) -> str:
    """What a limit costs where nothing meets all of them."""
    if not one.alone:
        return "; without it, none would meet the others either"
    best = "" if one.needed is None else f", the best has {told(one.needed, one.unit)}"
    return f"; without it {one.alone} would meet the others{best}"


def _misses(answer: Answer) -> Iterator[str]:
    for miss in answer.near_misses:
        beyond = ", ".join(
            f"{told(one.value, one.unit)} instead of {one.limit}"
            for one in miss.margins
            if one.margin is None or one.margin < 0
        )
        yield f"{miss.configuration.label}: {beyond}"


def _unsure(answer: Answer) -> Iterator[str]:
    for entry in answer.ranked:
        if entry.unknown:
            yield f"{entry.rank}. {'; '.join(entry.unknown)}"
    for one in answer.incomplete[:5]:
        might = ", and it might be among the best" if one.front else ""
        yield f"{one.configuration.label} has no place: {one.reason}{might}"
    if (more := answer.incomplete_count - len(answer.incomplete[:5])) > 0:
        yield f"{more} more have no place, since something of them is not known"


def _never(answer: Answer) -> Sequence[str]:
    shown = list(answer.never_measured[:10])
    more = answer.never_measured_count - len(shown)
    return [*shown, f"and {more} more"] if more > 0 else shown


def _prices(answer: Answer) -> Iterator[str]:
    for entry in answer.ranked:
        if (price := entry.costs.price) is not None:
            where = " ".join(part for part in (price.provider, price.region, price.instance) if part)
            yield (
                f"{entry.rank}. {price.usd_per_hour:.4g} USD/h, {price.market.replace('_', ' ')}, {where}, "
                f"{price.date}: {price.source}"
            )
            yield f"   {_million(entry.costs)}"


def _million(costs: Costs) -> str:
    named = (
        ("output", costs.output),
        ("input", costs.input),
        ("both together", costs.blended),
        ("energy alone", costs.energy),
    )
    prices = ", ".join(f"{name} {number(usd)}" for name, usd in named if usd is not None)
    return f"USD a million tokens, at {costs.prompt_tokens} in and {costs.output_tokens} out: {prices or '-'}"
