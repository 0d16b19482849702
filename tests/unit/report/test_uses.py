"""Is what a report advises what the catalog answers, with what is not known?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmbench.catalog.ask import Ask
from pytest_llmbench.catalog.documents import catalog_of
from pytest_llmbench.catalog.recommend import recommend
from pytest_llmbench.report import uses as module
from pytest_llmbench.report.uses import SHOWN, advice, markdown
from pytest_llmbench.results.records import ResultsDocument
from tests.fakes.a_matrix import a_result, cells


@pytest.fixture(scope="module")
def documents() -> list[ResultsDocument]:
    """Those of a matrix: three kinds of hardware, three models and quantizations, two loads."""
    return [a_result(cell, place, "m") for place, cell in enumerate(cells(engines=("vllm",)))]


@pytest.mark.parametrize("place", range(len(SHOWN)))
def test_it_is_what_the_catalog_answers(documents: list[ResultsDocument], place: int) -> None:
    found = advice(documents)[place]
    answer = recommend(catalog_of(documents), Ask(use=SHOWN[place], top=3))
    assert found.use == SHOWN[place]
    assert [one.label for one in found.entries] == [one.configuration.label for one in answer.ranked]
    assert [one.why for one in found.entries] == [one.why for one in answer.ranked]
    assert f"{answer.meeting} of 54 configurations of chat meet them" in found.asked
    # What a use weighs and nobody measured is said.
    assert any("was not measured" in note for note in found.notes)


def test_limits_that_nothing_meets_say_what_would_do(documents: list[ResultsDocument]) -> None:
    slow = [document.model_copy(deep=True) for document in documents]
    for document in slow:
        for metric in document.cases[0].metrics.values():
            metric.p95 = 100 * (metric.p95 or 1)
            metric.median *= 100
    chatbot = advice(slow)[0]
    assert chatbot.entries == ()
    assert "beyond it" in str(chatbot.nothing)
    assert "None is advised" in markdown([chatbot])


def test_one_configuration_is_no_choice(
    documents: list[ResultsDocument], a_session: Callable[..., Any]
) -> None:
    assert advice(documents[:1]) == []
    assert advice([a_session(1), a_session(2)]) == []
    assert advice([]) == []


def test_more_than_a_report_can_weigh_is_left_to_the_index(
    documents: list[ResultsDocument], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CASES", 53)
    assert advice(documents) == []


def test_markdown_has_a_list_for_each_use(documents: list[ResultsDocument]) -> None:
    text = markdown(advice(documents))
    assert text.startswith("## Advice by use case\n")
    assert text.count("\n1. **") == len(SHOWN)
    assert "q4\\_0" in text


def test_the_page_has_it_and_nothing_of_it_where_there_is_no_choice(
    documents: list[ResultsDocument], a_session: Callable[..., Any]
) -> None:
    from pytest_llmbench.report.page.html import html_report

    page = html_report(documents)
    assert '<section class="card" id="advice"' in page
    assert page.count("<h3>Chatbot</h3>") == 1
    assert 'id="advice"' not in html_report([a_session(1)])
