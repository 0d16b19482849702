"""Does a case say by metric which of its values count, and what was wrong with the others?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.gate.history import Series, history
from pytest_llmbench.gate.past import pasts_of
from pytest_llmbench.results.measured import Measured
from tests.fakes.llmbench_levels import a_load_record
from tests.unit.conftest import CpuSession


def measured(document: Any) -> Measured:
    return Measured(document.cases[0], document)


def test_rounds_beside_load_count_for_cpu_times_alone(a_cpu_session: CpuSession) -> None:
    one = measured(a_cpu_session(1, crowded=1.0))
    why = "15 of 15 rounds were disturbed (cpu_pressure, foreign_cpu)"
    assert (one.spoiled, one.spoiled_for("tpot")) == (why, why)
    assert one.remedy_for("tpot") == ": measure again on a quieter machine"
    assert one.spoiled_for("cpu_time_per_token") is None
    assert one.spoiled_for("peak_rss") is None
    assert [len(values) for values in one.values("cpu_time_per_token")] == [5, 5, 5]
    assert one.values("tpot") == []
    assert [len(values) for values in one.values("tpot", disturbed=True)] == [5, 5, 5]
    assert (one.dropped_for("tpot"), one.dropped_for("cpu_time_per_token"), one.dropped_for("load_time")) == (
        3,
        0,
        0,
    )
    assert one.disturbed("tpot") == {"cpu_pressure": 3, "foreign_cpu": 3}
    assert one.disturbed("cpu_time_per_token") == {}
    assert one.only_cpu_time


def test_they_do_not_count_for_cpu_times_that_do_not_compare(a_cpu_session: CpuSession) -> None:
    told = "not comparable beside other load: 4 threads"
    one = measured(a_cpu_session(1, crowded=1.0, told=told))
    assert one.incomparable == told
    assert one.spoiled_for("cpu_time_per_token") == one.spoiled
    assert not one.only_cpu_time


def test_a_process_that_does_not_compare_keeps_its_disturbed_rounds_out(a_cpu_session: CpuSession) -> None:
    document = a_cpu_session(1, crowded=1.0, processes=6)
    # Documents share what is the same in many processes.
    first = document.cases[0].processes[0]
    first.engine = {**first.engine, "cpu_time": "not comparable: a GPU does the work"}
    one = measured(document)
    assert one.spoiled_for("cpu_time_per_token") is None
    assert (len(one.values("cpu_time_per_token")), one.dropped_for("cpu_time_per_token")) == (5, 1)


@pytest.mark.parametrize("code", ["swap", "throttled", "a_code_of_tomorrow"])
def test_what_slows_the_cpu_counts_against_cpu_times(a_cpu_session: CpuSession, code: str) -> None:
    document = a_cpu_session(1)
    for r in document.cases[0].rounds[:4]:
        r.disturbance = [code, "foreign_cpu"]
    one = measured(document)
    assert one.spoiled_for("cpu_time_per_token") == f"4 of 15 rounds were disturbed ({code})"
    both = ", ".join(sorted(["foreign_cpu", code]))
    assert one.spoiled_for("tpot") == f"4 of 15 rounds were disturbed ({both})"
    assert one.held_up("cpu_time_per_token")


def test_what_was_not_watched_counts_against_cpu_times(a_cpu_session: CpuSession) -> None:
    document = a_cpu_session(1)
    for process in document.cases[0].processes:
        process.watch_lost = True
        for r in process.rounds:
            r.disturbance = None
    one = measured(document)
    assert "not watched" in (one.spoiled_for("cpu_time_per_token") or "")
    assert one.remedy_for("cpu_time_per_token") == ": measure again"
    assert one.crowd == {}


def test_a_load_that_its_own_client_spoiled_is_not_the_load_of_others(a_cpu_session: CpuSession) -> None:
    document = a_cpu_session(1)
    document.cases[0].processes[0].load = a_load_record(invalid="the client was busy")
    one = measured(document)
    assert one.spoiled_for("cpu_time_per_token") == one.spoiled == "the client was busy"
    assert not one.held_up("tpot")
    assert not one.only_cpu_time
    assert one.remedy_for("tpot") == ""


def test_a_session_ran_beside_load_if_more_than_a_fifth_of_its_rounds_did(a_cpu_session: CpuSession) -> None:
    assert measured(a_cpu_session(1)).crowd == {}
    assert measured(a_cpu_session(1, crowded=0.2)).crowd == {}
    assert measured(a_cpu_session(1, crowded=0.3)).crowd == {"cpu_pressure": 4, "foreign_cpu": 4}


def test_the_history_of_a_cpu_time_has_the_sessions_that_ran_beside_load(a_cpu_session: CpuSession) -> None:
    documents = [a_cpu_session(day, crowded=1.0) for day in (1, 2)]

    def followed(metric: str) -> Series:
        (series,) = history(pasts_of(documents, "test_x", metric), metric)
        return series

    cpu, wall = followed("cpu_time_per_token"), followed("tpot")
    assert (len(cpu.points), cpu.left_out) == (2, ())
    assert (len(wall.points), len(wall.left_out)) == (0, 2)


def test_a_value_of_a_whole_level_stands_for_its_rounds(a_session: Any) -> None:
    document = a_session(1, disturbed=15)
    for process in document.cases[0].processes:
        process.values["cpu_time_per_token"] = 0.02
    assert measured(document).values("cpu_time_per_token", disturbed=True) == [[0.02]] * 3
