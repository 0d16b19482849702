"""Does a badge say what was measured, how it was judged, and when it no longer holds?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.report import badge as badges
from pytest_llmbench.report.badge import Badge, badge
from pytest_llmbench.results.records import CaseRecord, Header, Session
from pytest_llmbench.results.verdict import Verdict
from pytest_llmbench.times import read_iso

MakeCase = Callable[..., CaseRecord]
STARTED = "2026-01-02T03:04:05Z"
DAY = 86400.0


def header(started: str = STARTED) -> Header:
    return Header(session=Session(id="20260102T030405Z-0a1b2c3d", started=started))


def made(case: CaseRecord | None, age: float = DAY, metric: str = "ttft", **more: str) -> Badge:
    return badge(header(), case, metric, now=read_iso(STARTED) + age, **more)


def test_it_has_the_median_and_the_verdict(make_case: MakeCase) -> None:
    found = made(make_case(verdict="pass"))
    assert found.json() == {
        "schemaVersion": 1,
        "label": "tiny q8_0 TTFT",
        "message": "12.3 ms, pass",
        "color": "#4c1",
    }


def test_every_verdict_has_a_color_of_its_own(make_case: MakeCase) -> None:
    colors = {verdict: made(make_case(verdict=verdict)).color for verdict in Verdict}
    assert len(set(colors.values())) == len(Verdict)
    assert badges._GRAY not in colors.values()


def test_without_a_comparison_it_says_the_number_alone(make_case: MakeCase) -> None:
    assert made(make_case()).message == "12.3 ms"


@pytest.mark.parametrize(
    ("age", "said"), [(31 * DAY, "12.3 ms, 31 d old"), (400 * DAY, "12.3 ms, 400 d old")]
)
def test_what_is_older_than_allowed_is_gray_and_says_how_old(
    make_case: MakeCase, age: float, said: str
) -> None:
    found = made(make_case(verdict="pass"), age)
    assert (found.message, found.color) == (said, badges._GRAY)
    assert badge(header(), make_case(), max_age=30, now=read_iso(STARTED) + 40).message == "12.3 ms, 40 s old"


@pytest.mark.parametrize("started", ["yesterday", "2027-01-01T00:00:00Z", ""])
def test_a_date_that_cannot_be_is_gray(make_case: MakeCase, started: str) -> None:
    found = badge(header(started), make_case(verdict="pass"), now=read_iso(STARTED))
    assert (found.message, found.color) == ("12.3 ms, of unknown age", badges._GRAY)


def test_what_is_not_known_is_gray(make_case: MakeCase) -> None:
    assert (made(None).message, made(None).color) == ("unknown", badges._GRAY)
    found = made(make_case(), metric="energy")
    assert (found.message, found.color) == ("not measured", badges._GRAY)


@pytest.mark.parametrize(
    ("outcome", "color"), [("failed", badges._RED), ("error", badges._RED), ("skipped", badges._GRAY)]
)
def test_a_test_that_did_not_pass_is_never_shown_as_one_that_did(
    make_case: MakeCase, outcome: str, color: str
) -> None:
    found = made(make_case(verdict="pass", outcome=outcome))
    assert (found.message, found.color) == (f"12.3 ms, {outcome}", color)


def test_a_regression_says_fail(make_case: MakeCase) -> None:
    assert made(make_case(verdict="fail", outcome="failed")).message == "12.3 ms, fail"


def test_a_verdict_of_a_later_version_is_gray(make_case: MakeCase) -> None:
    assert made(make_case(verdict="perhaps")).color == badges._GRAY


def test_an_unknown_metric_is_refused(make_case: MakeCase) -> None:
    with pytest.raises(UsageError, match="did you mean 'ttft'"):
        made(make_case(), metric="tttf")


def test_the_picture_is_xml_whatever_the_names_are(make_case: MakeCase) -> None:
    case = make_case(verdict="pass")
    case.model.alias = "<script>alert('&')</script>\x1b\n{{ color }} 模型"
    root = ElementTree.fromstring(made(case).svg())
    texts = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "<script>alert('&')</script>\\x1b {{ color }} 模型 q8_0 TTFT"
    assert texts[1] == "12.3 ms, pass"
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert root.get("aria-label") == f"{texts[0]}: {texts[1]}"


def test_a_long_label_is_cut_and_a_secret_in_it_is_masked(make_case: MakeCase) -> None:
    found = made(make_case(), label="https://me:hunter2hunter2@host/" + "x" * 500)
    assert len(found.label) == 81
    assert "hunter2" not in found.svg()


def test_without_its_library_the_extra_is_named(make_case: MakeCase, monkeypatch: pytest.MonkeyPatch) -> None:
    badges._template.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r"pytest-llmbench\[report\]"):
        made(make_case()).svg()
