"""Does a session write the report that it is asked for, and lose nothing where it cannot?"""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Run

TEST = """
    def test_speed(llm_model):
        llm_model.measure("hello", rounds=2, max_new_tokens=4)
        assert {fine}
"""


@pytest.mark.parametrize("fine", [True, False])
def test_a_report_is_written_also_when_a_test_fails(bench: pytest.Pytester, run: Run, fine: bool) -> None:
    bench.makepyfile(TEST.format(fine=fine))
    result = run("--llm-report=out.html")
    result.assert_outcomes(passed=int(fine), failed=int(not fine))
    result.stdout.fnmatch_lines(["Results: report: *out.html"])
    assert f'<span class="chip {"passed" if fine else "failed"}">' in (bench.path / "out.html").read_text()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("out.txt", "has to end in .html, .pdf or .md"),
        ("no/out.html", "cannot be written: there is no folder"),
        (".", "is a folder"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_measured(
    bench: pytest.Pytester, run: Run, name: str, why: str
) -> None:
    bench.makepyfile(TEST.format(fine=True))
    result = run(f"--llm-report={name}")
    result.stderr.fnmatch_lines([f"*--llm-report*{why}*"])
    assert not list(bench.path.glob("**/results/*.json"))


def test_a_report_that_cannot_be_made_loses_nothing(
    bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(TEST.format(fine=True))

    def fail(_: object) -> None:
        raise ZeroDivisionError("here")

    monkeypatch.setattr("pytest_llmbench.report.page.html.charts_of", fail)
    result = run("--llm-report=out.html")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["Results: --llm-report: *ZeroDivisionError*llmbench report *"])
    assert len(list(bench.path.glob("**/results/*.json"))) == 1
