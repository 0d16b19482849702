"""Can a person see in a browser how far a matrix is, what it measured, and which configuration to take?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")

from pytest_llmbench.results.index.build import Index
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.state import Service
from tests.fakes.a_matrix import write_matrix
from tests.pages.conftest import Watched, violations


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the pages of a store with a matrix answer; nothing is measured."""
    import socket

    import uvicorn

    from pytest_llmbench.service.app import create_app

    service = Service(Configuration(store=tmp_path_factory.mktemp("matrix") / "store"))
    write_matrix(service.store, done=0.8, failed=5)
    Index(service.store, service.database).update()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        server = uvicorn.Server(uvicorn.Config(create_app(service), log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


def test_a_map_is_drawn_over_the_axes_that_are_chosen(watched: Watched) -> None:
    page = watched.open("/ui/matrix")
    page.get_by_role("link", name="nightly").click()
    page.locator(".chart svg").first.wait_for()
    page.get_by_label("Across").select_option("quantization")
    page.locator("select[name='only.load']").select_option("c8")
    page.locator("section[aria-labelledby=map]").get_by_role("button", name="Show").click()
    page.wait_for_url("**across=quantization**only.load=c8**")
    page.locator(".chart svg").first.wait_for()
    page.get_by_text("Numbers of this chart").click()
    heads = page.locator("figure thead th").all_inner_texts()
    assert heads == ["model", "f16", "q4_0", "q8_0"]


def test_what_failed_is_one_click_away(watched: Watched) -> None:
    page = watched.open("/ui/matrix/nightly", java_script_enabled=False)
    page.get_by_role("link", name="5 failed").click()
    page.wait_for_url("**state=failed*")
    rows = page.locator("section[aria-labelledby=cells] tbody tr")
    assert rows.count() == 5
    assert "CUDA out of memory" in rows.first.inner_text()


def test_a_recommendation_is_asked_for_by_the_form_and_leads_to_what_was_measured(watched: Watched) -> None:
    page = watched.open("/")
    page.get_by_role("link", name="Which one to take").click()
    page.get_by_label("Use case").select_option("chatbot")
    page.get_by_label("First token").fill("p95<200ms")
    page.get_by_label("Budget").fill("20/h")
    page.get_by_text("What matters", exact=True).click()
    page.locator("input[name='weight.cost']").fill("2")
    page.locator("input[name='weight.ttft']").fill("1")
    page.get_by_role("button", name="Recommend").click()
    page.wait_for_url("**use=chatbot**weight.cost=2**")
    page.locator(".chart svg").first.wait_for()
    # What was asked stands in the form again.
    assert page.get_by_label("First token").input_value() == "p95<200ms"
    assert page.locator("input[name='weight.cost']").is_visible()
    assert "by cost 67%, ttft 33%" in page.locator("main").inner_text()
    page.locator("section[aria-labelledby=ranking] tbody a").first.click()
    page.wait_for_url("**/ui/cases/**")


def test_without_javascript_a_limit_that_is_not_one_is_said_and_kept(watched: Watched) -> None:
    page = watched.open("/ui/recommend", java_script_enabled=False)
    page.get_by_label("First token").fill("fast")
    page.get_by_role("button", name="Recommend").click()
    assert "'fast' is not a limit" in page.get_by_role("alert").inner_text()
    assert page.get_by_label("First token").input_value() == "fast"
    # The browser itself says on the console that the answer is 422.
    watched.wrong = [text for text in watched.wrong if "422" not in text]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_its_pages_are_fit_for_everybody(watched: Watched, theme: str, width: int) -> None:
    page: Any = watched.open("/ui/matrix", viewport={"width": width, "height": 800}, color_scheme=theme)
    found = {"/ui/matrix": violations(page)}
    for path in ("/ui/matrix/nightly", "/ui/recommend?use=chatbot&weight.cost=1&slo.ttft=p95%3C200ms"):
        page.goto(watched.address + path)
        page.locator(".chart svg").first.wait_for()
        found[path] = violations(page)
    assert {path: wrong for path, wrong in found.items() if wrong} == {}
