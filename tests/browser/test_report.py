"""Does a report work in a real browser without a network?"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.report.charts.model import Axis, Band, Chart, Column, Line, Series
from pytest_llmbench.report.page import html
from pytest_llmbench.report.page.html import html_report
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.records import ResultsDocument
from tests.browser.conftest import AXE, Opened
from tests.waiting import until

DOCUMENTS = Path(__file__).parents[1] / "unit" / "results" / "documents"
DRAWN = "html[data-charts=drawn]"
SECONDS, RATE = Axis(label="TTFT", unit="s"), Axis(label="throughput", unit="tokens/s")
MODELS = Axis(label="model", kind="category", categories=("tiny q8_0", "tiny </script><b>"))
NUMBERS = {"columns": (Column(head="case"), Column(head="TTFT", unit="s")), "rows": (("a", 0.004),)}


def _chart(name: str, x: Axis, y: Axis, *series: Series, **more: Any) -> Chart:
    return Chart(
        id=name, title=f"All of {name}", question="Is it drawn?", x=x, y=y, series=series, **NUMBERS, **more
    )


CHARTS = [
    _chart(
        "lines",
        SECONDS,
        RATE,
        Series(name="a", points=((0.001, 10.0), (0.002, None), (0.003, 30.0))),
        Series(name="b", points=((0.001, 5.0), (0.004, 9.0)), shape="step", style="dashed"),
        bands=(Band(start=0.001, end=0.002, label="disturbed", role="disturbed"),),
        lines=(Line(value=50.0, label="allowed", role="threshold"),),
    ),
    _chart(
        "long",
        SECONDS,
        RATE,
        Series(name="many", points=tuple((0.001 * n, float(n % 7)) for n in range(1, 301))),
    ),
    _chart(
        "points",
        Axis(label="concurrency", kind="log"),
        RATE,
        Series(name="a", points=((1, 2.0), (2, 3.0)), shape="scatter"),
    ),
    _chart("bars", MODELS, RATE, Series(name="a", points=((0, 2.0), (1, 3.0)), shape="bar"), across=True),
    _chart(
        "pairs",
        MODELS,
        Axis(label="change", unit="share"),
        Series(name="change", points=((0, 0.02, -0.01, 0.05), (1, 0.1, None, 0.2)), shape="interval"),
        lines=(Line(value=0.05, label="allowed", role="threshold"),),
        across=True,
    ),
    _chart(
        "heat",
        MODELS,
        Axis(label="depth", kind="category", categories=("0", "4096")),
        Series(name="TTFT", points=((0, 0, 0.1), (1, 0, 0.2), (0, 1, None), (1, 1, 0.4)), shape="heat"),
        z=SECONDS,
    ),
    _chart(
        "time",
        Axis(label="time", kind="time"),
        SECONDS,
        Series(name="a", points=((1.79e9, 0.1), (1.7901e9, 0.2))),
    ),
    Chart(id="none", title="Power", question="How much?", x=SECONDS, y=RATE, missing="no sensor was read"),
]


def _document(name: str = "engine") -> ResultsDocument:
    return read_document(DOCUMENTS / f"{name}-1.0.json")


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(html_report([_document()]))
    return path


@pytest.fixture
def charted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report with a chart of each shape."""
    monkeypatch.setattr(html, "charts_of", lambda _: CHARTS)
    path = tmp_path / "charts.html"
    path.write_text(html_report([_document()]))
    return path


def test_what_is_drawn_are_the_points_of_each_chart(opened: Opened, charted: Path) -> None:
    page = opened(charted)
    page.locator(DRAWN).wait_for()
    for chart in CHARTS:
        if chart.missing is not None:
            continue
        place = page.locator(f'[data-chart="{chart.id}"]')
        expected = sum(series.drawn for series in chart.series)
        assert place.get_attribute("data-drawn") == str(expected), chart.id
        assert place.get_attribute("data-series") == str(len(chart.series))
        assert place.locator("svg path").count() > 0
    assert page.locator("#no-picture dt").all_inner_texts() == ["Power"]
    assert page.locator("#no-picture dd").all_inner_texts() == ["no sensor was read."]
    assert page.locator('[data-chart="lines"] svg').text_content().count("allowed") == 1


def test_marks_in_the_picture_are_as_many_as_points(opened: Opened, charted: Path) -> None:
    page = opened(charted)
    page.locator(DRAWN).wait_for()
    color = page.evaluate(
        "JSON.parse(document.querySelector('#charts-data').textContent).palette.light.colors[0]"
    )
    for name, marks in (("points", 2), ("bars", 2)):
        filled = page.locator(f'[data-chart="{name}"] svg path[fill="{color}"]')
        assert filled.count() == marks, name


def test_a_series_is_turned_off_and_on_in_the_legend(opened: Opened, charted: Path) -> None:
    page = opened(charted)
    page.locator(DRAWN).wait_for()
    button = page.locator("#figure-lines .legend button").first
    marks = page.locator('[data-chart="lines"] svg path')
    before = marks.count()
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    # It is drawn with the browser's next picture.
    until(lambda: marks.count() < before)
    button.click()
    until(lambda: marks.count() == before)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_read_it_on_any_screen(opened: Opened, charted: Path, scheme: str, width: int) -> None:
    page = opened(charted, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.locator(DRAWN).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.add_script_tag(content=AXE.read_text())
    found = page.evaluate("axe.run()")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []


def test_order_and_filters_stand_in_the_address_and_come_back_from_it(opened: Opened, report: Path) -> None:
    page = opened(report)
    rows = page.locator("#cases tbody tr:visible td:first-child")
    page.get_by_role("button", name="TTFT", exact=True).click()
    page.get_by_role("button", name="TTFT", exact=True).click()
    falling = rows.all_inner_texts()
    page.get_by_label("Backend").select_option("llamacpp")
    page.get_by_label("Search").fill("second")
    assert rows.all_inner_texts() == ["llamacpp, second"]
    assert page.locator("[data-shown]").inner_text() == "1 of 4 shown"
    page.locator("#machine").scroll_into_view_if_needed()
    query = page.evaluate("location.search")
    assert "cases.sort=-TTFT" in query
    again = opened(report, query)
    assert again.locator("#cases tbody tr:visible td:first-child").all_inner_texts() == ["llamacpp, second"]
    again.get_by_role("button", name="Clear").click()
    again.get_by_text("4 shown", exact=True).wait_for()
    assert again.locator("#cases tbody tr:visible td:first-child").all_inner_texts() == falling


def test_open_sections_stand_in_the_address(opened: Opened, report: Path) -> None:
    page = opened(report)
    page.locator(DRAWN).wait_for()
    page.get_by_text("The numbers behind it").first.click()
    page.wait_for_url("**open=table-*")
    again = opened(report, page.evaluate("location.search"))
    assert again.locator("figure details[open]").count() == 1


def test_the_switch_turns_dark_on_and_the_charts_with_it(opened: Opened, report: Path) -> None:
    page = opened(report, color_scheme="light")
    page.locator(DRAWN).wait_for()
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 17, 21)"
    page.locator(".chart svg path[stroke='#56b4e9']").first.wait_for(state="attached")


def test_without_javascript_the_tables_are_there(opened: Opened, report: Path) -> None:
    page = opened(report, java_script_enabled=False)
    assert page.locator("#cases tbody tr").count() == 4
    assert page.locator("form.filters:visible").count() == 0
    assert page.get_by_text("The charts need JavaScript").is_visible()


def test_what_documents_say_is_text_and_never_html(opened: Opened, tmp_path: Path) -> None:
    document = _document()
    bad = '</script><img src=x onerror="document.title=1"><!--\x1b[2J\u202e'
    case = document.cases[0]
    case.nodeid = f"tests/test_x.py::test[{bad}]"
    case.outcome, case.error, case.model.name = "failed", bad, bad
    document.session.host = bad
    path = tmp_path / "bad.html"
    path.write_text(html_report([document], [bad]))
    assert "\x1b" not in path.read_text()
    assert "\u202e" not in path.read_text()
    page = opened(path)
    page.locator(DRAWN).wait_for()
    assert page.locator("img").count() == 0
    assert "onerror" in page.locator(".problem").inner_text()
    assert page.title().startswith("LLM benchmarks")


def test_printed_it_has_the_texts_of_its_charts(opened: Opened, charted: Path, tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("there is no pdftotext: install poppler-utils")
    page = opened(charted)
    page.locator(DRAWN).wait_for()
    page.pdf(path=tmp_path / "report.pdf")
    text = subprocess.run(
        ["pdftotext", tmp_path / "report.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    for words in ("Verdicts", "All of lines", "throughput (tokens/s)", "TTFT (ms)", "decode_throughput"):
        assert words in text
