"""Which cells does a turn of a conversation have, whatever draws the table?

Each conversation that a test held is a block: a row for each turn, whichever way it was asked, and one for
the whole of it. Turns are never pooled: what is added up is tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.metrics import units
from pytest_llmbench.report import rows
from pytest_llmbench.report.blocks import Block, Blocks, Row
from pytest_llmbench.report.rows import UNKNOWN_MARK

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord

INVALID_MARK = "x"
WHOLE = "all"
"""The row of the whole conversation."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation, as it was asked."""

    number: int
    warm: CaseRecord | None
    cold: CaseRecord | None

    @property
    def shown(self) -> CaseRecord:
        """What stands for it: of one that was asked both ways, the warm one."""
        case = self.warm or self.cold
        assert case is not None
        return case

    @property
    def cases(self) -> list[CaseRecord]:
        """Each way in which it was asked."""
        return [case for case in (self.warm, self.cold) if case is not None]


@dataclass(frozen=True, slots=True)
class Held:
    """A conversation that a test held."""

    label: str
    """What its measurements are called."""
    turns: tuple[Turn, ...]
    """Those that were measured, by their numbers."""

    @property
    def first(self) -> CaseRecord:
        """The first turn's case: it has what is known of the process."""
        return self.turns[0].shown

    @property
    def name(self) -> str:
        """Its test, and what the test calls it."""
        return f"{self.first.nodeid.partition('::')[2]}: {self.label}"

    @property
    def title(self) -> str:
        """``test_rag[tiny]: rag, placement=inline, 1×3 rounds, 96.1 MiB``."""
        case, protocol = self.first, self.first.protocol
        parts = [self.name + (f" ({case.outcome})" if case.outcome != "passed" else "")]
        if protocol.conversation not in (None, self.label):
            parts.append(str(protocol.conversation))
        if protocol.placement is not None:
            parts.append(f"placement={protocol.placement}")
        if protocol.history not in (None, "live"):
            parts.append(f"history={protocol.history}")
        parts.append(f"{rows.rounds(*(one for turn in self.turns for one in turn.cases))} rounds")
        parts += [
            f"{units.cell(summary.median, summary.unit)}{of}"
            for metric, of in (("peak_rss", ""), ("peak_vram", " VRAM"))
            if (summary := case.metrics.get(metric)) is not None and summary.median
        ]
        return ", ".join(parts)

    @property
    def missing(self) -> list[int]:
        """The turns that were not measured."""
        there = {turn.number for turn in self.turns}
        return [number for number in range(1, (self.first.protocol.turns or 0) + 1) if number not in there]


@dataclass(frozen=True, slots=True)
class TurnColumn:
    """One column: its head, its cell for a turn, and that for the whole conversation."""

    head: str
    cell: Callable[[Turn], str]
    whole: Callable[[Held], str] = lambda _: ""


def held(cases: Iterable[CaseRecord]) -> list[Held]:
    """The conversations whose turns *cases* are, in the order in which each began."""
    found: dict[tuple[str, str], dict[int, dict[bool, CaseRecord]]] = {}
    for case in cases:
        label, _, rest = case.measurement.rpartition(" turn ")
        # The base side of pairs is a conversation of its own.
        label += BASE_SUFFIX if rest.endswith(BASE_SUFFIX) else ""
        turns = found.setdefault((case.nodeid, label), {})
        turns.setdefault(case.protocol.turn or 0, {})[bool(case.protocol.prefix_cache)] = case
    return [
        Held(label, tuple(Turn(n, ways.get(True), ways.get(False)) for n, ways in sorted(turns.items())))
        for (_, label), turns in found.items()
    ]


def columns(conversations: Sequence[Held], *, wide: bool, extra: Sequence[str] = ()) -> list[TurnColumn]:
    """The columns that *conversations* need.

    Those of metrics are as their rows say. What a cache had stands where it was asked for it.
    """
    turns = [turn for one in conversations for turn in one.turns]
    chosen = [
        TurnColumn("turn", lambda turn: str(turn.number), lambda _: WHOLE),
        TurnColumn("prompt tokens", lambda turn: _prompt(turn) or units.UNKNOWN, _prompt_of_all),
    ]
    if any(turn.shown.protocol.think_time for turn in turns):
        chosen.append(TurnColumn("think time", lambda turn: units.seconds(turn.shown.protocol.think_time)))
    if any(turn.warm is not None for turn in turns):
        chosen.append(TurnColumn("cached/ possible", _cached, _cached_of_all))
        chosen.append(
            TurnColumn("hit rate", lambda turn: _hit_rate([turn]), lambda one: _hit_rate(one.turns))
        )
    shown = [turn.shown for turn in turns]
    for column in [*rows.metric_columns("turns", shown, wide=wide), *rows.requested(extra)]:
        chosen += _of_ways(column, turns)
    if any(_marks(turn) for turn in turns):
        chosen.append(TurnColumn("marks", _marks))
    return chosen


def blocks(cases: Sequence[CaseRecord], *, wide: bool, extra: Sequence[str] = ()) -> Blocks:
    """What stands in the table of the conversations whose turns *cases* are."""
    conversations = sorted(held(cases), key=lambda one: one.first.file)
    chosen = columns(conversations, wide=wide, extra=extra)
    found = []
    for one in conversations:
        lines = [Row(tuple(column.cell(turn) for column in chosen), _style(turn)) for turn in one.turns]
        lines.append(Row(tuple(column.whole(one) for column in chosen), "bold"))
        failed = "red" if one.first.outcome != "passed" else "cyan"
        found.append(Block(one.first.file, one.title, tuple(lines), failed))
    return Blocks(
        tuple(column.head for column in chosen),
        tuple(found),
        tuple(_legend(conversations, [cell for one in found for row in one.rows for cell in row.cells])),
    )


def _of_ways(column: rows.Column, turns: Sequence[Turn]) -> list[TurnColumn]:
    """The column of a metric; one for each way in which *turns* were asked, where it has both."""
    if not column.both:
        return [TurnColumn(column.head, lambda turn: column.cell(turn.shown))]

    def of(case: CaseRecord | None) -> str:
        return units.UNKNOWN if case is None else column.cell(case)

    found = []
    if any(turn.cold is not None for turn in turns):
        found.append(TurnColumn(f"{column.head} cold", lambda turn: of(turn.cold)))
    if any(turn.warm is not None for turn in turns):
        found.append(TurnColumn(f"{column.head} warm", lambda turn: of(turn.warm)))
    return found


def _style(turn: Turn) -> str:
    if turn.shown.outcome != "passed":
        return "red"
    return "yellow" if _marks(turn) else ""


# --- Cells -------------------------------------------------------------------------------------


def _prompt(turn: Turn) -> str:
    known = [one.prompt_tokens for case in turn.cases for one in case.rounds if one.prompt_tokens is not None]
    return rows.span(known) if known else ""


def _prompt_of_all(one: Held) -> str:
    return _sum(map(_prompt, one.turns))


def _cached(turn: Turn) -> str:
    """``688/688``: what the cache had, of what it could have had; ``512-688/688`` where rounds differ."""
    had, could = (_tokens(turn.shown, metric) for metric in ("cached_tokens", "cached_possible"))
    if not had:
        had = units.UNKNOWN + (UNKNOWN_MARK if _untold(turn.shown) else "")
    return f"{had}/{could or units.UNKNOWN}"


def _cached_of_all(one: Held) -> str:
    had, could = (
        _sum(_tokens(turn.shown, metric) for turn in one.turns)
        for metric in ("cached_tokens", "cached_possible")
    )
    return f"{had}/{could}"


def _tokens(case: CaseRecord, metric: str) -> str:
    known = [value for one in case.rounds if (value := one.value(metric)) is not None]
    return rows.span(known) if known else ""


def _sum(texts: Iterable[str]) -> str:
    """Of counts; not known where one of them is not, or is not the same in all rounds."""
    known = list(texts)
    return str(sum(map(int, known))) if all(text.isdigit() for text in known) else units.UNKNOWN


def _hit_rate(turns: Iterable[Turn]) -> str:
    """Cached tokens over prompt tokens, both summed over the (warm) rounds; not known if one is not."""
    rounds = [one for turn in turns for one in turn.shown.rounds if one.counted]
    known = [cached for one in rounds if (cached := one.value("cached_tokens")) is not None]
    prompts = sum(one.prompt_tokens or 0 for one in rounds)
    complete = len(known) == len(rounds) and all(one.prompt_tokens for one in rounds)
    return units.percent(sum(known) / prompts) if complete and prompts else units.UNKNOWN


def _marks(turn: Turn) -> str:
    found = [INVALID_MARK] if _wrong(turn) else []
    return " ".join([*found, *filter(None, [rows.disturbance(*turn.cases)])])


# --- What the marks mean -----------------------------------------------------------------------


def _legend(conversations: Sequence[Held], cells: Sequence[str]) -> list[str]:
    cases = [case for one in conversations for turn in one.turns for case in turn.cases]
    lines = rows.legend_of_medians(cells)
    unknown = [why for one in conversations for turn in one.turns for why in _untold(turn.shown)]
    lines += [f"{UNKNOWN_MARK} not known: {why}" for why in dict.fromkeys(unknown)]
    for one in conversations:
        for turn in one.turns:
            lines += [f"{INVALID_MARK} {one.name}, turn {turn.number}: {why}" for why in _wrong(turn)]
        if one.missing:
            lines.append(f"{one.name}: not measured: turn {', '.join(map(str, one.missing))}")
    return lines + rows.legend_of_unknown(cases) + rows.legend_of_disturbance(cases)


def _untold(case: CaseRecord) -> list[str]:
    """Why it is not known what the cache had, each reason once."""
    found = (one.cache.unknown for one in case.rounds if one.cache is not None)
    return list(dict.fromkeys(why for why in found if why is not None))


def _wrong(turn: Turn) -> list[str]:
    """Why its figures cannot be right, each reason once."""
    found = [one.invalid for case in turn.cases for one in case.rounds if one.invalid is not None]
    facts = [one.turn for case in turn.cases for one in case.rounds if one.turn is not None]
    if any(one.same_output is False and not one.tie for one in facts):
        found.append("with a warm cache it generated something else than with an empty one")
    return list(dict.fromkeys(found))
