"""Which cells does a turn of the conversations under load have, whatever draws the table?

Each level with conversations is a block: a row for each turn, over all its conversations. Turns are never
pooled: their prompts differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.metrics import units
from pytest_llmbench.metrics.summary import Summary
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.report.blocks import Block, Blocks, Row
from pytest_llmbench.report.rows import UNSUPPORTED_MARK, grouped
from pytest_llmbench.results.records import label_of

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord, RoundRecord

HEADS = ("turn", "requests", "TTFT p50", "TTFT p99", "cached/ prompt", "hit rate")


def blocks(cases: Sequence[CaseRecord]) -> Blocks | None:
    """What stands in the table of the turns of the levels *cases*; None where none has conversations."""
    found = []
    for group in grouped(cases):
        for case in group.cases:
            if turns := _by_turn(case):
                title = label_of(case.nodeid.partition("::")[2], case.measurement)
                lines = tuple(Row(_cells(number, rounds)) for number, rounds in sorted(turns.items()))
                found.append(Block(case.file, f"{title}: by turn", lines))
    if not found:
        return None
    cells = [cell for block in found for row in block.rows for cell in row.cells]
    few = f"{UNSUPPORTED_MARK} too few values for this percentile: none lies beyond it"
    marked = any(cell.endswith(UNSUPPORTED_MARK) for cell in cells)
    return Blocks(HEADS, tuple(found), (few,) if marked else ())


def _by_turn(case: CaseRecord) -> dict[int, list[RoundRecord]]:
    """The rounds of the window, by the turn of their conversation."""
    found: dict[int, list[RoundRecord]] = {}
    for one in case.rounds:
        if one.counted and one.request is not None and one.request.turn is not None:
            found.setdefault(one.request.turn, []).append(one)
    return found


def _cells(number: int, rounds: Sequence[RoundRecord]) -> tuple[str, ...]:
    times = [value for one in rounds if (value := one.value("ttft")) is not None]
    summary = Summary("ttft", tuple(times)).to_json() if times else None
    told = [_percentile(summary, name) for name in ("p50", "p99")]
    return (str(number), str(len(rounds)), *told, *_cached(rounds))


def _percentile(summary: Json | None, name: str) -> str:
    if summary is None:
        return units.UNKNOWN
    return units.seconds(summary[name]) + (UNSUPPORTED_MARK if name in summary["unsupported"] else "")


def _cached(rounds: Sequence[RoundRecord]) -> tuple[str, str]:
    """Cached tokens over prompt tokens, both summed over all requests of a turn; not known if one is not."""
    cached = [one.value("cached_tokens") for one in rounds]
    prompts = [one.prompt_tokens for one in rounds]
    known = [value for value in cached if value is not None]
    total = sum(tokens or 0 for tokens in prompts)
    if len(known) < len(rounds) or None in prompts or not total:
        return units.UNKNOWN, units.UNKNOWN
    return f"{sum(known):.10g}/{total}", units.percent(sum(known) / total)
