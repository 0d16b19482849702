"""Which configuration do some documents advise to take, for a chatbot, a batch, or at the edge?

The catalog's own answer for each use case: its limits and weights, over the configurations of the workload of
which most was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmbench.catalog.uses import USES, UseName
from pytest_llmbench.metrics import units
from pytest_llmbench.report.advice import EXCLUDED, sections
from pytest_llmbench.report.markdown import escaped

if TYPE_CHECKING:
    from pytest_llmbench.catalog.answer import Answer, Entry
    from pytest_llmbench.results.records import ResultsDocument

SHOWN: tuple[UseName, ...] = ("chatbot", "batch", "edge")
TOP = 3
"""Configurations of each, one a model."""
MOST_CASES = 20_000
"""Of which advice is given: a catalog of more is asked by ``llmbench recommend``, which has an index."""


@dataclass(frozen=True, slots=True)
class Advised:
    """One configuration."""

    label: str
    score: str
    """0 to 1; see :mod:`pytest_llmbench.catalog.topsis`."""
    why: str
    unsure: str
    """What is not known of it; empty for nothing."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What is advised for one use case."""

    use: str
    what: str
    """What matters to it."""
    asked: str
    """Its limits and weights, and over what."""
    entries: tuple[Advised, ...]
    notes: tuple[str, ...]
    """What could not count, and what the figures assume."""
    nothing: str | None = None
    """Why none is advised."""


def advice(documents: Sequence[ResultsDocument]) -> list[Advice]:
    """What *documents* advise; nothing where they have no two configurations that did the same work."""
    if sum(len(document.cases) for document in documents) > MOST_CASES:
        return []
    from pytest_llmbench.catalog.ask import Ask
    from pytest_llmbench.catalog.documents import catalog_of
    from pytest_llmbench.catalog.recommend import recommend

    catalog = catalog_of(documents)
    if max(map(len, catalog.workloads().values()), default=0) < 2:
        return []
    return [_advice(use, recommend(catalog, Ask(use=use, top=TOP))) for use in SHOWN]


def markdown(found: Sequence[Advice]) -> str:
    """What is advised for each use case, a list each. Ends with a newline."""
    lines = ["## Advice by use case", ""]
    for one in found:
        lines += [f"**{escaped(one.use)}**: {escaped(one.what)}. {escaped(one.asked)}.", ""]
        for place, entry in enumerate(one.entries, start=1):
            unsure = f" Not sure: {escaped(entry.unsure)}." if entry.unsure else ""
            lines.append(
                f"{place}. **{escaped(entry.label)}** ({entry.score}): {escaped(entry.why)}.{unsure}"
            )
        if one.entries and one.notes:
            lines += ["", f"{escaped('; '.join(one.notes))}."]
        if one.nothing is not None:
            lines.append(f"None is advised: {escaped(one.nothing)}.")
        lines.append("")
    return "\n".join(lines)


def _advice(use: UseName, answer: Answer) -> Advice:
    row = USES[use]
    limits = [f"{name} {text}" for name, text in row.slo.items()]
    weights = [f"{name} {share:.0%}" for name, share in answer.weights.items()]
    meet = f"{answer.meeting} of {units.count(answer.evaluated, 'configuration')} of {answer.test} meet them"
    asked = "; ".join(
        (
            f"Limits: {', '.join(limits) or 'none'}",
            f"what counts: {', '.join(weights) or 'nothing that is known'}",
            meet,
        )
    )
    return Advice(
        use,
        row.description,
        asked,
        tuple(map(_advised, answer.ranked)),
        tuple(answer.notes),
        None if answer.ranked else _nothing(answer),
    )


def _advised(entry: Entry) -> Advised:
    tied = ", ".join(map(str, entry.ties))
    unsure = [f"noise alone tells it from number {tied}"] if tied else []
    return Advised(
        entry.configuration.label, f"{entry.score:.2f}", entry.why, "; ".join([*unsure, *entry.unknown])
    )


def _nothing(answer: Answer) -> str:
    excluded = [line for section in sections(answer) if section.title == EXCLUDED for line in section.lines]
    return "; ".join(excluded or answer.notes) or "nothing that counts is known of any configuration"
