"""Can a person start a benchmark in a browser, see it run, and look at what was measured?"""

from __future__ import annotations

from typing import Any

import pytest

from tests.pages.conftest import Watched, violations

PATIENCE = 90_000
"""ms: a page asks every ten seconds while something is measured."""


def start(watched: Watched, *, rounds: int, tokens: int = 8, **options: Any) -> Any:
    page = watched.open("/", **options)
    page.get_by_text("More settings").click()
    page.get_by_label("Tokens to generate").fill(str(tokens))
    page.get_by_label("Rounds").fill(str(rounds))
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/ui/jobs/*")
    return page


@pytest.fixture(scope="module")
def measured(browser: Any, address: str) -> None:
    """Two sessions of one case, each started by the form and seen to its end without loading a page again."""
    watched = Watched(browser, address)
    for _ in range(2):
        page = start(watched, rounds=3)
        page.get_by_role("link", name="See the result").wait_for(timeout=PATIENCE)
    watched.close()
    assert watched.wrong == []


@pytest.mark.usefixtures("measured")
def test_the_result_of_a_job_is_seen(watched: Watched) -> None:
    page = watched.open("/ui/jobs")
    page.locator("tbody a").first.click()
    assert page.locator(".now .chip").inner_text() == "done"
    page.get_by_role("link", name="See the result").click()
    page.locator("tbody th a").first.click()
    page.locator(".chart svg").first.wait_for()
    assert page.get_by_role("heading", name="Samples").is_visible()
    assert page.locator("section[aria-labelledby=samples] tbody tr").count() == 3


@pytest.mark.usefixtures("measured")
def test_two_sessions_are_compared_at_an_address_that_can_be_sent_to_others(watched: Watched) -> None:
    page = watched.open("/ui/compare")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/ui/compare/*..*")
    assert page.get_by_role("cell", name="ttft", exact=True).is_visible()
    page.get_by_label("Show").select_option("regressed")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**show=regressed")


@pytest.mark.usefixtures("measured")
def test_a_trend_has_both_sessions(watched: Watched) -> None:
    page = watched.open("/ui/trends")
    page.locator("ul.plain a").first.click()
    page.locator(".chart svg").first.wait_for()
    page.get_by_text("Numbers of this chart").click()
    assert page.locator("figure tbody tr").count() == 2


@pytest.mark.usefixtures("measured")
def test_a_job_that_runs_is_cancelled(watched: Watched) -> None:
    page = start(watched, rounds=5000, tokens=64)
    page.get_by_text("running").first.wait_for(timeout=PATIENCE)
    assert violations(page) == []
    page.get_by_role("button", name="Cancel this job").click()
    page.locator(".now .chip.cancelled").wait_for(timeout=PATIENCE)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_every_page_is_fit_for_everybody(watched: Watched, theme: str, width: int) -> None:
    page = watched.open("/", viewport={"width": width, "height": 800}, color_scheme=theme)
    found = {"/": violations(page)}
    for path in (
        "/ui/jobs",
        "/ui/results",
        "/ui/compare",
        "/ui/trends?case=text",
        "/ui/leaderboard",
        "/ui/pareto",
    ):
        page.goto(watched.address + path)
        found[path] = violations(page)
    for path, link in (("/ui/jobs", "tbody a"), ("/ui/results", "tbody th a"), ("/ui/results", "tbody td a")):
        page.goto(watched.address + path)
        page.locator(link).first.click()
        found[page.url] = violations(page)
    page.goto(watched.address + "/ui/compare")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/ui/compare/*..*")
    found[page.url] = violations(page)
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


@pytest.mark.usefixtures("measured")
def test_without_javascript_a_benchmark_is_started_and_its_result_read(watched: Watched) -> None:
    page = start(watched, rounds=1, java_script_enabled=False)
    assert page.get_by_role("link", name="Load this page again").count() == 1
    page.get_by_role("link", name="See the result").wait_for(timeout=PATIENCE)
    page.get_by_role("link", name="Results").click()
    page.get_by_label("Backend").select_option("llamacpp")
    page.get_by_role("button", name="Show").click()
    page.locator("tbody th a").first.click()
    assert page.get_by_role("heading", name="Metrics").is_visible()
    page.get_by_text("Numbers of this chart").first.click()
    assert page.locator("figure table").first.is_visible()


def test_a_form_that_is_not_valid_says_so_beside_the_field(watched: Watched) -> None:
    page = watched.open("/", java_script_enabled=False)
    page.get_by_text("More settings").click()
    page.get_by_label("Rounds").fill("many")
    page.get_by_label("Prompt").fill("What I typed")
    page.get_by_role("button", name="Start", exact=True).click()
    assert page.get_by_label("Rounds").input_value() == "many"
    assert page.get_by_label("Prompt").input_value() == "What I typed"
    assert "is not a whole number" in page.locator("#rounds-problem").inner_text()
    # The browser itself says on the console that the answer is 422.
    watched.wrong = [text for text in watched.wrong if "422" not in text]
