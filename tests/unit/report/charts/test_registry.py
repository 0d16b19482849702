"""Does each kind of chart give one, whatever there is to draw?"""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmbench.report.charts.registry import CHARTS, charts_of
from pytest_llmbench.results.records import ResultsDocument

MakeSession = Callable[..., ResultsDocument]


def test_a_document_without_cases_has_charts_that_say_what_is_missing(a_session: MakeSession) -> None:
    charts = charts_of([a_session(cases=[])])
    assert len(charts) >= len(CHARTS)
    assert all(chart.missing for chart in charts)


def test_no_document_is_as_one_without_cases() -> None:
    assert all(chart.missing for chart in charts_of([]))


def test_charts_have_ids_of_their_own_that_may_be_names_of_files(a_session: MakeSession) -> None:
    ids = [chart.id for chart in charts_of([a_session()])]
    assert len(set(ids)) == len(ids)
    assert all(name.replace("-", "").isalnum() and name.isascii() for name in ids)
