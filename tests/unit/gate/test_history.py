"""Is a change of level found where it happened, and none where there is only noise?"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.history import MIN_SESSIONS, Series, change_points, check_metric
from pytest_llmbench.gate.history import history as history_of
from pytest_llmbench.gate.past import pasts_of


def history(sessions: Sequence[Any], text: str, metric: str) -> list[Series]:
    return history_of(pasts_of(sessions, text, metric), metric)


def noisy(levels: list[float], seed: int = 1) -> list[float]:
    draw = random.Random(seed)
    return [level * (1 + draw.gauss(0, 0.02)) for level in levels]


def test_a_step_is_found_where_it_is() -> None:
    pytest.importorskip("ruptures")
    assert change_points(noisy([1.0] * 8 + [1.2] * 8)) == [8]
    assert change_points(noisy([1.0] * 8 + [1.2] * 8 + [0.9] * 8)) == [8, 16]


def test_noise_has_few_steps() -> None:
    pytest.importorskip("ruptures")
    found = [change_points(noisy([1.0] * 20, seed)) for seed in range(100)]
    assert sum(map(bool, found)) <= 15


def test_equal_values_have_no_step() -> None:
    pytest.importorskip("ruptures")
    assert change_points([1.0] * 10) == []


def test_few_sessions_are_not_searched() -> None:
    assert change_points([1.0] * (MIN_SESSIONS - 1)) == []


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(UsageError, match=r"pytest-llmbench\[history\]"):
        change_points([1.0] * MIN_SESSIONS)


def test_a_case_has_one_series_for_each_way_it_was_measured(a_session: Any) -> None:
    sessions = [a_session(1), a_session(2, machine="machine-b"), a_session(3), a_session(4, version="9.9")]
    series = history(sessions, "test_x", "tpot")
    assert [(one.machine, len(one.points)) for one in series] == [("machine-a", 3), ("machine-b", 1)]
    assert [one.past.engine for one in series[0].points] == ["llama-cpp-python 0.3.36"] * 2 + [
        "llama-cpp-python 9.9"
    ]


def test_the_change_at_a_step_is_between_the_levels(a_session: Any) -> None:
    pytest.importorskip("ruptures")
    sessions = [a_session(day, slow=1.0 if day <= 5 else 1.5) for day in range(1, 11)]
    (series,) = history(sessions, "test_x", "tpot")
    changes = {int(one.past.session[6:8]): one.change for one in series.points if one.change is not None}
    assert changes == {6: pytest.approx(0.5, abs=0.05)}


def test_disturbed_and_failed_sessions_are_left_out_and_told(a_session: Any) -> None:
    sessions = [a_session(1), a_session(2, disturbed=10), a_session(3, outcome="failed")]
    (series,) = history(sessions, "test_x", "tpot")
    assert len(series.points) == 1
    assert [one.partition(": ")[2] for one in series.left_out] == [
        "10 of 15 rounds were disturbed (foreign_cpu)",
        "it failed",
    ]


def test_a_case_of_which_every_session_was_left_out_says_so(a_session: Any) -> None:
    (series,) = history([a_session(2, disturbed=10)], "test_x", "tpot")
    assert series.points == ()
    assert len(series.left_out) == 1


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'tpot'"):
        check_metric("tpo")
