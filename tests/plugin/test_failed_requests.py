"""Does a level of which requests failed fail its test, and is no figure shown as good beside it?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

LEVEL = """
import pytest

@pytest.mark.llm(concurrency=[2], requests=8, prompt_length=20, max_new_tokens=4, warmup_requests=0,
                 slo={"ttft": 10})
def test_load(llm_load):
    run = llm_load.measure()
    assert run.failed == 2
"""


def test_a_level_of_which_requests_failed_fails_its_test_with_kinds_and_an_example(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(test_a=LEVEL)
    with fake_server(fail_every=4) as server:
        result = run(f"--llm-base-url={server.url}", "--junitxml=junit.xml", backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "2 of 8 requests failed; 1% may fail",
            "*2 HTTP 503",
            "*overloaded*",
            "*failures=*--llm-max-failures*",
            "*x test_load*: 2 of 8 requests failed: the others ran under less load*",
            "FAILED *::test_load[[]server-c2] - 2 of 8 requests failed*",
        ]
    )
    # Throughput and goodput are marked.
    assert [len(marks) for line in result.outlines if (marks := re.findall(r"\dx ", line))] == [2]
    (failure,) = ElementTree.parse(bench.path / "junit.xml").getroot()[0].iter("failure")
    assert (failure.get("message") or "").startswith("2 of 8 requests failed; 1% may fail")
    (case,) = document()["cases"]
    assert (case["outcome"], len(case["processes"][0]["rounds"])) == ("failed", 6)


@pytest.mark.parametrize(
    ("where", "status"),
    [("--llm-max-failures=25%", 0), ("--llm-max-failures=1", 1), ("ini", 0), ("marker", 0)],
)
def test_how_many_may_fail_is_set_where_every_setting_is(
    bench: pytest.Pytester, run: Run, where: str, status: int
) -> None:
    bench.makepyfile(test_a=LEVEL.replace("slo=", "failures=2, slo=") if where == "marker" else LEVEL)
    if where == "ini":
        bench.makeini("[pytest]\nllm_failures = 30%")
    with fake_server(fail_every=4) as server:
        options = [where] if where.startswith("--") else []
        assert run(f"--llm-base-url={server.url}", *options, backend=None).ret == status


def test_a_users_own_assert_comes_first(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(test_a=LEVEL.replace("== 2", "== 0"))
    with fake_server(fail_every=4) as server:
        result = run(f"--llm-base-url={server.url}", backend=None)
    result.stdout.fnmatch_lines(["FAILED *- *assert 2 == 0*"])
    result.stdout.no_fnmatch_line("*1% may fail*")


def test_requests_that_a_level_by_the_clock_cuts_off_have_not_failed(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(test_a=LEVEL.replace("requests=8", "duration=0.2").replace("== 2", "== 0"))
    with fake_server(seconds_per_token=0.02) as server:
        run(f"--llm-base-url={server.url}", "--llm-max-failures=0", backend=None).assert_outcomes(passed=1)


def test_a_level_of_which_requests_failed_is_invalid_beside_a_baseline_and_fails(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(test_a=LEVEL.replace("assert run.failed == 2", "pass"))
    with fake_server() as server:
        run(f"--llm-base-url={server.url}", "--llm-save=main", backend=None).assert_outcomes(passed=1)
    with fake_server(fail_every=4) as server:
        result = run(f"--llm-base-url={server.url}", "--llm-compare=main", backend=None)
    result.assert_outcomes(failed=1)
    (case,) = document()["cases"]
    assert (case["outcome"], case["verdict"]) == ("failed", "invalid")


def test_it_fails_in_a_worker_of_xdist_too(bench: pytest.Pytester, run: Run) -> None:
    pytest.importorskip("xdist")
    bench.makepyfile(test_a=LEVEL)
    with fake_server(fail_every=4) as server:
        result = run(f"--llm-base-url={server.url}", "-n1", backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*x test_load*: 2 of 8 requests failed*"])
