"""Which cells does a load level have, whatever draws the table?

A row is a level; a test's levels make a sweep, in which the knee is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.gate.failures import kinds
from pytest_llmbench.measure.level import knee
from pytest_llmbench.measure.run import too_many_failed
from pytest_llmbench.metrics import units
from pytest_llmbench.report.rows import (
    UNSUPPORTED_MARK,
    Column,
    disturbance,
    grouped,
    hidden_tokens,
    legend_of_disturbance,
    legend_of_unknown,
    metric_columns,
)
from pytest_llmbench.results.records import label_of

if TYPE_CHECKING:
    from pytest_llmbench.measure.facts import Level
    from pytest_llmbench.results.records import CaseRecord

KNEE_MARK = "^"
SATURATED_MARK = "s"
UNTOLD_MARK = "s?"
INVALID_MARK = "x"
LoadKind = Literal["concurrency", "rate", "conversations"]
"""Requests at once, requests a second, or conversations at once."""


def columns(cases: Sequence[CaseRecord], *, wide: bool) -> list[Column]:
    """The columns that the load levels *cases* need.

    *wide* adds confidence intervals, more percentiles, and what the client itself did.
    """
    knees = {case.key for group in sweeps(cases) if (case := knee_of(group)) is not None}

    marks = {
        "system_throughput": lambda case: (KNEE_MARK if case.key in knees else "") + _marks(case),
        "goodput": lambda case: INVALID_MARK if _told(case, INVALID_MARK) else "",
    }
    chosen = metric_columns("levels", cases, wide=wide, marks=marks)
    if wide:
        if any(case.protocol.request_rate for case in cases):
            chosen.append(Column("send lag p99", _send_lag))
        chosen.append(Column("client CPU", _client_cpu))
    if any(_tokens_per_chunk(case) not in (None, 1.0) for case in cases):
        chosen.append(Column("tok/ chunk", lambda case: f"{_tokens_per_chunk(case) or 0:.2f}"))
    chosen += hidden_tokens(cases)
    chosen.append(Column("ok", lambda case: str(sum(len(p.rounds) for p in case.processes))))
    chosen.append(Column("fail", lambda case: str(sum(len(p.failures) for p in case.processes))))
    if any(disturbance(case) for case in cases):
        chosen.append(Column("dist.", disturbance))
    return chosen


def legend(cases: Sequence[CaseRecord], *, wide: bool) -> list[str]:
    """One line for each mark that the cells of *cases* have, and what failed or is not valid."""
    cells = [column.cell(case) for column in columns(cases, wide=wide) for case in cases]
    lines = []
    if any(KNEE_MARK in cell for cell in cells):
        lines.append(f"{KNEE_MARK} knee: more load raises latency from here on more than throughput")
    if any("±" in cell for cell in cells):
        lines.append("± half the 95% confidence interval over the value")
    if any(cell.endswith(UNSUPPORTED_MARK) for cell in cells):
        lines.append(f"{UNSUPPORTED_MARK} too few values for this percentile: none lies beyond it")
    for mark in _EXPLAINED:
        lines += [f"{mark} {_name(case)}: {text}" for case in cases if (text := _told(case, mark))]
    for case in cases:
        if failed := _failures(case):
            lines.append(f"{_name(case)}: failed: {failed}")
    return lines + legend_of_unknown(cases) + legend_of_disturbance(cases)


def sweeps(cases: Sequence[CaseRecord]) -> list[list[CaseRecord]]:
    """The levels of each test on each server and model, by rising load."""
    found: dict[tuple[object, ...], list[tuple[float, CaseRecord]]] = {}
    for group in grouped(cases):
        for case in group.cases:
            if (found_load := load_of(case)) is None:
                continue
            kind, load = found_load
            # Of conversations, the limit of their requests belongs to the server's load too.
            limit = case.protocol.concurrency if kind == "conversations" else None
            # Of the id, what names the server and the model stands before the level's own part.
            place = (
                group.file,
                group.function,
                case.nodeid.rpartition("-")[0],
                case.measurement,
                kind,
                limit,
            )
            found.setdefault(place, []).append((load, case))
    return [[case for _, case in sorted(levels, key=lambda one: one[0])] for levels in found.values()]


def load_of(case: CaseRecord) -> tuple[LoadKind, float] | None:
    """What of *case* was its load, and how much of it; None of what is not a load level."""
    protocol = case.protocol
    if protocol.conversations is not None:
        return "conversations", float(protocol.conversations)
    if protocol.request_rate:
        return "rate", protocol.request_rate
    return None if not protocol.concurrency else ("concurrency", float(protocol.concurrency))


def knee_of(levels: Sequence[CaseRecord]) -> CaseRecord | None:
    """The level of a sweep from which on more load raises latency more than throughput; None without one."""
    if any(_answered_few(case) for case in levels):
        return None  # A server that refuses is quick and seems to have no knee, or one where it began.
    points = [
        (case.metrics["system_throughput"].median, case.metrics["e2e_latency"].median)
        for case in levels
        if "system_throughput" in case.metrics and "e2e_latency" in case.metrics
    ]
    index = knee(points) if len(points) == len(levels) else None
    return None if index is None else levels[index]


def _loads(case: CaseRecord) -> list[Level]:
    return [process.load for process in case.processes if process.load is not None]


def _worst(case: CaseRecord, of: Callable[[Level], float | None]) -> float | None:
    known = [value for load in _loads(case) if (value := of(load)) is not None]
    return max(known, default=None)


def _tokens_per_chunk(case: CaseRecord) -> float | None:
    value = _worst(case, lambda load: load.tokens_per_chunk)
    return None if value is None else round(value, 2)


def _client_cpu(case: CaseRecord) -> str:
    return units.percent(_worst(case, lambda load: load.client_cpu))


def _send_lag(case: CaseRecord) -> str:
    lags = [load.send_lag["p99"] for load in _loads(case) if load.send_lag]
    return units.seconds(max(lags)) if lags else units.UNKNOWN


def _marks(case: CaseRecord) -> str:
    return "".join(mark for mark in _EXPLAINED if _told(case, mark))


def _told(case: CaseRecord, mark: str) -> str | None:
    """Why a case has *mark*; None if it has not."""
    if mark == INVALID_MARK and (why := _answered_few(case)) is not None:
        return why
    return next((why for load in _loads(case) if (why := _EXPLAINED[mark](case, load))), None)


def told_of(case: CaseRecord) -> str | None:
    """Why a level was saturated, is not known not to be, or is not valid, in words; None if nothing is."""
    found = [why for mark in _EXPLAINED if (why := _told(case, mark)) is not None]
    return "; ".join(found) or None


def _untold(case: CaseRecord, load: Level) -> str | None:
    """Why it is not known whether the server kept up, though requests came when they came."""
    if load.saturated is not None or case.protocol.arrivals is None:
        return None
    return f"it is not known whether it was saturated: {load.saturation}"


_EXPLAINED: dict[str, Callable[[CaseRecord, Level], str | None]] = {
    SATURATED_MARK: lambda _, load: load.saturation if load.saturated else None,
    UNTOLD_MARK: _untold,
    INVALID_MARK: lambda _, load: load.invalid,
}
"""To each mark of a level: why it has the mark; None if it has not."""


def _answered_few(case: CaseRecord) -> str | None:
    """Why what was answered shows nothing of a server under this load, if too much failed."""
    for process in case.processes:
        failed, answered = len(process.failures), len(process.rounds)
        if too_many_failed(failed, answered):
            return f"{failed} of {failed + answered} requests failed: the others ran under less load"
    return None


def _failures(case: CaseRecord) -> str:
    return kinds([failure for process in case.processes for failure in process.failures])


def _name(case: CaseRecord) -> str:
    name = case.nodeid.partition("::")[2]
    return label_of(name, case.measurement)
