"""When did a case get slower or faster, over many sessions?

For looking back, not for gating: a change point is seen some sessions after it happened.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_llmbench.errors import needs_extra
from pytest_llmbench.gate.matching import Key
from pytest_llmbench.gate.past import Past
from pytest_llmbench.metrics.table import METRICS

MIN_SESSIONS = 6
"""With fewer, change points are not looked for."""

_MIN_SEGMENT = 2
# Of the penalty of the Bayesian information criterion: noise of sessions that follow each other is
# alike, which shows steps that are none.
_CAUTION = 2.0


@dataclass(frozen=True, slots=True)
class Point:
    """One session's value of the metric."""

    past: Past
    value: float
    """The median of the processes' medians, in the metric's unit."""
    change: float | None = None
    """At a change point: how much the level rose (a latency: got slower) from the last to this one."""


@dataclass(frozen=True, slots=True)
class Series:
    """One case on one machine, measured in one way: the sessions that compare with each other."""

    key: Key
    machine: str | None
    metric: str
    points: tuple[Point, ...]
    """The oldest first; none where every session was left out."""
    left_out: tuple[str, ...] = ()
    """Sessions that measured the case and are not among the points, with the reason."""


def history(pasts: Iterable[Past], metric: str) -> list[Series]:
    """The series of every case, its change points marked.

    Sessions compare as for the gate, but for the engine's version: that is a reason for a change.
    Sessions in which the case failed or was disturbed are left out and reported; but not those in which
    the gate failed it, which was measured as well as any.

    :raises UsageError: without the extra ``history``, where there are sessions enough to look for
        change points.
    """
    found: dict[Key, list[list[Past]]] = {}
    left_out: dict[Key, list[str]] = {}
    for past in sorted(pasts, key=lambda one: one.session):
        groups = found.setdefault(past.key, [])
        if past.left_out is not None:
            left_out.setdefault(past.key, []).append(f"{past.session}: {past.left_out}")
        elif past.value is not None:
            group = next((one for one in groups if one[-1].compares(past)), None)
            if group is None:
                groups.append(group := [])
            group.append(past)
    series = []
    for key, groups in found.items():
        told = tuple(left_out.get(key, ()))
        if groups or told:
            series += [_series(key, metric, group, told) for group in groups or [[]]]
    return series


def change_points(values: Sequence[float]) -> list[int]:
    """Where the level of *values* changes: indices of the first value of each new level.

    An optimal segmentation of the logarithms by means (PELT: Killick, Fearnhead and Eckley 2012),
    penalised by ``2 * 2 * s**2 * log(n)``, with s from the differences of neighbors, which a
    change of level hardly touches. Empty for fewer than six values.

    :raises UsageError: without the extra ``history``.
    """
    if len(values) < MIN_SESSIONS:
        return []
    try:
        import numpy as np
        import ruptures
    except ImportError:
        raise needs_extra("change points", "ruptures", "history") from None
    logs = [math.log(value) for value in values]
    steps = [abs(after - before) for before, after in pairwise(logs)]
    # The median of |N(0, 2 s^2)| is 0.954 s; what is below 0.1% is of no interest.
    spread = max(statistics.median(steps) / 0.954, 1e-3)
    penalty = _CAUTION * 2 * spread**2 * math.log(len(logs))
    # With a linear kernel the cost is the same squared distance from the mean, and the search is in C.
    search = ruptures.KernelCPD(kernel="linear", min_size=_MIN_SEGMENT, jump=1)
    ends = search.fit_predict(np.array(logs).reshape(-1, 1), pen=penalty)
    return [int(end) for end in ends[:-1]]


def changes_of(values: Sequence[float]) -> dict[int, float]:
    """Where the level of *values* changes, and by how much of the level before: 0.05 is 5% up.

    :raises UsageError: as :func:`change_points`.
    """
    starts = change_points(values) if values and min(values) > 0 else []
    edges = [0, *starts, len(values)]
    levels = [statistics.median(values[a:b]) for a, b in pairwise(edges)]
    return {start: new / old - 1 for start, (old, new) in zip(starts, pairwise(levels), strict=True)}


def _series(key: Key, metric: str, group: Sequence[Past], left_out: tuple[str, ...]) -> Series:
    if not group:
        return Series(key, None, metric, (), left_out)
    values = [one.value for one in group if one.value is not None]
    changes = changes_of(values)
    points = tuple(
        Point(one, value, changes.get(index))
        for index, (one, value) in enumerate(zip(group, values, strict=True))
    )
    return Series(key, group[-1].machine, metric, points, left_out)


def check_metric(name: str) -> str:
    """*name*, if it is a metric.

    :raises UsageError: with the nearest one.
    """
    return METRICS.named(name).name
