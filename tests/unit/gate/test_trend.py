"""How did a metric of a case go over months, and where did its level change?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

pytest.importorskip("ruptures")

from pytest_llmbench.gate.past import Past
from pytest_llmbench.gate.trend import regressions, trends

ONE = Past(
    session="",
    started="",
    commit=None,
    commit_time=None,
    key=("test_x", "default"),
    machine="m",
    engine="llama-cpp-python 1",
    weights="sha256:a",
    work="w",
    prompts=frozenset({"p"}),
    failed=False,
    left_out=None,
    value=1.0,
    processes=3,
)


def _line(values: Sequence[float], **others: object) -> list[Past]:
    found = []
    for day, value in enumerate(values, start=1):
        session, started = f"202601{day:02}T000000Z-0a1b2c3d", f"2026-01-{day:02}T00:00:00Z"
        found.append(replace(ONE, session=session, started=started, value=value, **others))  # type: ignore[arg-type]
    return found


def _noisy(level: float, sessions: int) -> list[float]:
    return [level * (1 + 0.004 * (-1) ** n) for n in range(sessions)]


def test_a_step_is_one_change_point_and_the_worse_direction_is_a_regression() -> None:
    (line,) = trends(_line(_noisy(1.0, 8) + _noisy(1.2, 8)), "ttft")
    (point,) = line.changes
    assert point.past.started == "2026-01-09T00:00:00Z"
    assert point.change == pytest.approx(0.2, abs=0.01)
    assert regressions([line]) == [(line, point)]
    assert regressions([line], improved=True) == []


def test_where_more_is_better_a_rise_is_an_improvement() -> None:
    found = trends(_line(_noisy(1.0, 8) + _noisy(1.2, 8)), "decode_throughput")
    assert regressions(found) == []
    assert len(regressions(found, improved=True)) == 1


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("engine", "llama-cpp-python 2", "llama-cpp-python 1 -> llama-cpp-python 2"),
        ("weights", "sha256:b", "other weights"),
        ("work", "v", "other settings"),
        ("prompts", frozenset({"q"}), "other prompts"),
    ],
)
def test_what_changed_breaks_the_line_and_is_no_change_point(field: str, value: object, why: str) -> None:
    line = _line(_noisy(1.0, 8) + _noisy(1.2, 8))
    line[8:] = [replace(past, **{field: value}) for past in line[8:]]  # type: ignore[arg-type]
    (found,) = trends(line, "ttft")
    assert [point.broken for point in found.points if point.broken] == [why]
    assert found.points[8].broken == why
    assert found.changes == []


def test_each_machine_has_a_line_of_its_own() -> None:
    mixed = [*_line(_noisy(1.0, 6)), *_line(_noisy(2.0, 6), machine="n")]
    assert [(line.machine, len(line.points)) for line in trends(mixed, "ttft")] == [("m", 6), ("n", 6)]


def test_the_order_is_that_of_commits_where_all_are_known() -> None:
    line = _line([1.0, 2.0, 3.0])
    times = ["2026-01-03T00:00:00+00:00", "2026-01-02T00:00:00+02:00", "2026-01-01T00:00:00Z"]
    line = [replace(past, commit_time=time) for past, time in zip(line, times, strict=True)]
    assert [point.value for point in trends(line, "ttft")[0].points] == [3.0, 2.0, 1.0]
    line[1] = replace(line[1], commit_time=None)
    assert [point.value for point in trends(line, "ttft")[0].points] == [1.0, 2.0, 3.0]


def test_a_spoiled_session_is_no_point_and_is_told() -> None:
    line = _line([1.0, 9.0, 1.0])
    line[1] = replace(line[1], left_out="all rounds were disturbed")
    (found,) = trends(line, "ttft")
    assert [point.value for point in found.points] == [1.0, 1.0]
    assert found.left_out == (f"{line[1].session}: all rounds were disturbed",)
