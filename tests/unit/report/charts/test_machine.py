"""Are rounds drawn when they were, and the disturbed ones shaded?"""

from __future__ import annotations

from typing import Any

from pytest_llmbench.report.charts.machine import MOST_BANDS, MOST_ROUNDS, machine
from pytest_llmbench.results.records import HardwareRecord
from pytest_llmbench.times import iso, read_iso
from tests.fakes.llmbench_levels import a_hardware_summary


def timed(document: Any, every: float = 1.0) -> Any:
    begun = read_iso(document.session.started)
    for number, one in enumerate(r for case in document.cases for r in case.rounds):
        one.started = iso(begun + number * every, "microseconds")
    return document


def test_disturbed_rounds_are_shaded(a_session: Any) -> None:
    document = timed(a_session(disturbed=2))
    chart = machine([document])[0]
    assert {series.name: len(series.points) for series in chart.series} == {"undisturbed": 13, "disturbed": 2}
    (band,) = chart.bands
    last = document.cases[0].rounds[1]
    assert (band.start, band.end, band.label) == (0.0, 1.0 + last.done, "foreign_cpu")


def test_what_the_sampler_read_is_a_level_for_each_process(a_session: Any) -> None:
    document = timed(a_session(processes=2))
    for process in document.cases[0].processes:
        read = a_hardware_summary(duration=3.0, values={"foreign_cpu": {"mean": 0.5, "max": 1.0}})
        process.hardware = HardwareRecord.model_validate(read, from_attributes=True)
    _, chart = machine([document])
    assert chart.id == "machine-cpu"
    (series,) = chart.series
    assert series.points == ((0.0, 0.5), (3.0, 0.5), (3.0, None), (5.0, 0.5), (8.0, 0.5), (8.0, None))
    assert chart.rows == (("others", 2, 0.5, 1.0),)


def test_many_rounds_are_bounded_and_that_is_said(a_session: Any) -> None:
    document = timed(a_session(processes=4, rounds=400))
    for number, one in enumerate(document.cases[0].rounds):
        one.disturbance = ["foreign_cpu"] if number % 2 else []
    chart = machine([document])[0]
    assert [len(series.points) for series in chart.series] == [MOST_ROUNDS, MOST_ROUNDS]
    assert len(chart.bands) == MOST_BANDS
    assert "Of 800 disturbed rounds 300 are drawn" in (chart.note or "")


def test_rounds_without_a_time_are_said_to_be_missing(a_session: Any) -> None:
    document = a_session()
    for one in document.cases[0].rounds:
        one.started = None
    (chart,) = machine([document])
    assert chart.missing is not None
