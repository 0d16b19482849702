"""How did a metric of a case go over months, on each machine, and where did its level change?

A line is of one case on one machine. Where the engine, the weights or the work changed it breaks, and is
never drawn through; change points are looked for between breaks. For looking back, not for gating.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.history import MIN_SESSIONS, changes_of
from pytest_llmbench.gate.matching import Key
from pytest_llmbench.gate.past import Past
from pytest_llmbench.metrics.table import METRICS

if TYPE_CHECKING:
    from pytest_llmbench.results.index.connection import Database

MOST = 100_000
"""Values that one question takes from the index."""


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One session of a line."""

    past: Past
    value: float
    """In the metric's unit."""
    broken: str | None = None
    """Why the line begins anew here; None where it goes on."""
    change: float | None = None
    """At a change point: how much the level rose from the one before; 0.05 is 5%."""

    def worse(self, metric: str) -> bool | None:
        """Whether the level got worse here; None where it did not change."""
        if self.change is None:
            return None
        return (self.change > 0) == (METRICS[metric].better == "lower")


@dataclass(frozen=True, slots=True)
class Trend:
    """One case on one machine."""

    key: Key
    machine: str | None
    metric: str
    points: tuple[TrendPoint, ...]
    left_out: tuple[str, ...] = ()
    """Sessions that measured the case and do not count, with the reason."""

    @property
    def changes(self) -> list[TrendPoint]:
        """Where its level changed."""
        return [point for point in self.points if point.change is not None]


def trends(pasts: Iterable[Past], metric: str) -> list[Trend]:
    """The lines of every case, in the order of commits where all of a line are known, else of sessions.

    :raises UsageError: without the extra ``history``, where there are sessions enough to look for
        change points.
    """
    lines: dict[tuple[Key, str | None], list[Past]] = {}
    left_out: dict[tuple[Key, str | None], list[str]] = {}
    for past in sorted(pasts, key=lambda one: one.session):
        place = (past.key, past.machine)
        if past.left_out is not None:
            left_out.setdefault(place, []).append(f"{past.session}: {past.left_out}")
        elif past.value is not None:
            lines.setdefault(place, []).append(past)
    found = []
    for place in dict.fromkeys((*lines, *left_out)):
        points = _points(_ordered(lines.get(place, [])))
        found.append(Trend(*place, metric, points, tuple(left_out.get(place, ()))))
    return found


def regressions(found: Iterable[Trend], *, improved: bool = False) -> list[tuple[Trend, TrendPoint]]:
    """Where levels got worse, or better, the newest first."""
    told = [(one, point) for one in found for point in one.changes if point.worse(one.metric) is not improved]
    return sorted(told, key=lambda pair: pair[1].past.started, reverse=True)


def pasts_of_index(database: Database, text: str, metric: str, since: datetime | None = None) -> list[Past]:
    """What the index says of *metric* of every case with *text* in its id, or of this measurement.

    :raises UsageError: if there are more values than can be looked at.
    :raises ResultsError: if the database does not answer.
    """
    from sqlalchemy import func, or_, select

    from pytest_llmbench.results.index.tables import cases, metrics, sessions

    row = METRICS[metric]
    spoiled = cases.c.spoiled_cpu if row.clock == "cpu" else cases.c.spoiled
    asked = (
        select(cases, sessions, metrics.c.level, metrics.c.processes, spoiled.label("why"))
        .join(sessions, sessions.c.id == cases.c.session_id)
        .outerjoin(
            metrics,
            (metrics.c.case_id == cases.c.id)
            & (metrics.c.started == cases.c.started)
            & (metrics.c.name == metric),
        )
        # One that ended before it was measured is told of.
        .where(or_(metrics.c.name.is_not(None), cases.c.left_out.is_not(None)))
        .limit(MOST + 1)
    )
    if text:
        place = func.instr if database.dialect == "sqlite" else func.strpos
        asked = asked.where(or_(place(cases.c.nodeid, text) > 0, cases.c.measurement == text))
    if since is not None:
        asked = asked.where(cases.c.started >= since)
    with database.reading() as connection:
        rows = connection.execute(asked).mappings().all()
    if len(rows) > MOST:
        msg = f"the index has more than {MOST} values of {metric} for this; name a case, or a later time"
        raise UsageError(msg)
    return [
        Past(
            session=one[cases.c.session_id],
            started=one[sessions.c.started].isoformat().replace("+00:00", "Z"),
            commit=_short(one[sessions.c.commit_id], one[sessions.c.dirty]),
            commit_time=None if (at := one[sessions.c.commit_time]) is None else at.isoformat(),
            key=(one[cases.c.nodeid], one[cases.c.measurement]),
            machine=one[sessions.c.machine],
            engine=one[cases.c.engine_version],
            weights=one[cases.c.weights],
            work=one[cases.c.work],
            prompts=None if (told := one[cases.c.prompts]) is None else frozenset(told),
            failed=one[cases.c.outcome] == "failed",
            left_out=(None if row.exact else one["why"]) or one[cases.c.left_out],
            value=one[metrics.c.level],
            processes=one[metrics.c.processes] or 0,
        )
        for one in rows
    ]


def _ordered(line: list[Past]) -> list[Past]:
    if all(past.commit_time is not None for past in line):
        return sorted(line, key=lambda one: (datetime.fromisoformat(one.commit_time or ""), one.session))
    return line


def _points(line: Sequence[Past]) -> tuple[TrendPoint, ...]:
    stretches: list[tuple[str | None, list[Past]]] = []
    for past in line:
        why = _why_broken(stretches[-1][1][-1], past) if stretches else None
        if not stretches or why is not None:
            stretches.append((why, []))
        stretches[-1][1].append(past)
    points = []
    for why, stretch in stretches:
        values = [past.value or 0.0 for past in stretch]
        changes = changes_of(values) if len(values) >= MIN_SESSIONS else {}
        for index, (past, value) in enumerate(zip(stretch, values, strict=True)):
            points.append(TrendPoint(past, value, why if index == 0 else None, changes.get(index)))
    return tuple(points)


def _why_broken(before: Past, now: Past) -> str | None:
    """Why no line goes from one to the next; None if it does."""
    if before.engine != now.engine:
        return f"{before.engine or 'an unknown engine'} -> {now.engine or 'an unknown engine'}"
    if before.weights != now.weights:
        return "other weights"
    if before.work != now.work:
        return "other settings"
    if not before.compares(now):
        return "other prompts" if now.machine is not None else "the machine is not known"
    return None


def _short(commit: str | None, dirty: bool | None) -> str | None:
    return None if commit is None else f"{commit[:9]}{'+' if dirty else ''}"
