"""Is a limit judged in every session, with nothing to compare with?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from pytest_llmbench.hardware.monitor import HardwareMonitor
from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

# The fake takes 6 ms a token and 20 MiB; a limit of 1 ms or 1 MiB is one that no machine keeps.
SLOW = "--llm-option=fake.seconds_per_token=0.006"


def bench_with(thresholds: str = "{}", call: str = "llm_model.measure('hello')") -> str:
    return f"""
import pytest

@pytest.mark.llm(rounds=5, max_new_tokens=8, thresholds={thresholds})
def test_speed(llm_model):
    {call}
"""


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    (case,) = [case for case in document["cases"] if not case["measurement"].endswith("@base")]
    return {
        one["details"]["written"]: one["verdict"] for one in case["judgments"] if "written" in one["details"]
    }


def test_a_limit_of_the_marker_fails_its_test_everywhere(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(test_a=bench_with('{"ttft": "<1ms"}'))
    result = run(SLOW, "--junitxml=junit.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "ttft * ms, limit <1ms",
            "*LLM limits*",
            "*ttft*<1ms*fail*",
            "1 case: 1 fail",
            "FAILED *- ttft * ms, *",
        ]
    )
    (failure,) = ElementTree.parse(bench.path / "junit.xml").getroot()[0].iter("failure")
    assert (failure.get("message") or "").startswith("ttft ")
    (case,) = document()["cases"]
    assert (case["outcome"], case["verdict"]) == ("failed", "fail")
    assert (case["error"] or "").startswith("ttft ")
    assert verdicts(document()) == {"<1ms": "fail"}


@pytest.mark.parametrize("where", ["option", "ini"])
def test_a_limit_for_all_cases_is_judged(
    bench: pytest.Pytester, run: Run, document: Document, where: str
) -> None:
    bench.makepyfile(test_a=bench_with())
    options = (
        ["--llm-threshold=tpot:<1ms,<2ms", "--llm-threshold=peak_rss:<1MiB"] if where == "option" else []
    )
    if where == "ini":
        bench.makeini("[pytest]\nllm_threshold =\n  tpot:<2ms\n  peak_rss:<1MiB\n")
    run(SLOW, *options).assert_outcomes(failed=1)
    # Of two limits of a metric, the later holds.
    assert verdicts(document()) == {"<2ms": "fail", "<1MiB": "fail"}


def test_a_limit_that_is_kept_passes_and_says_so(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(test_a=bench_with('{"ttft": ["5%", "<10s"], "peak_rss": "<100GiB"}'))
    result = run(SLOW)
    result.assert_outcomes(passed=1, warnings=0)
    result.stdout.fnmatch_lines(["*LLM limits*", "1 case: 1 pass"])
    assert document()["cases"][0]["verdict"] == "pass"


def test_the_limit_of_a_percentile_is_judged(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(test_a=bench_with('{"itl.p95": "<1ms", "ttft.p99": "<10s"}'))
    result = run(SLOW)
    result.assert_outcomes(failed=1)
    assert verdicts(document()) == {"<1ms": "fail", "<10s": "inconclusive"}


def test_a_limit_of_a_metric_that_was_not_measured_is_told(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(test_a=bench_with('{"goodput": ">1"}'))
    result = run(SLOW)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*test_a.py:3: LLMBenchWarning: invalid: goodput", "*it was not measured*"])
    run(SLOW, "--llm-inconclusive=fail").assert_outcomes(failed=1)


def test_a_relative_threshold_without_a_base_side_judges_nothing(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(test_a=bench_with('{"ttft": "5%"}'))
    result = run(SLOW, "--llm-threshold=tpot:2%")
    result.assert_outcomes(passed=1, warnings=0)
    result.stdout.no_fnmatch_line("*LLM limits*")
    assert document()["cases"][0]["verdict"] is None


def test_a_disturbed_run_is_held_to_no_limit_of_its_times(
    bench: pytest.Pytester, run: Run, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HardwareMonitor, "disturbance", lambda self, start, end: ("foreign_cpu",))
    bench.makepyfile(test_a=bench_with('{"ttft": "<1ms"}'))
    result = run(SLOW, monitor=True)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*5 of 5 rounds were disturbed (foreign_cpu)*"])
    assert document()["cases"][0]["verdict"] == "invalid"


def test_a_limit_is_judged_in_pairs_too_and_of_what_has_no_base_side(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    ab = (
        "--llm-ab=fake.seconds_per_token=0.006",
        "--llm-budget=2",
        "--llm-inconclusive=pass",
        "--llm-gate=tpot",
    )
    bench.makepyfile(test_a=bench_with('{"ttft": "<1ms"}'))
    run(SLOW, *ab).assert_outcomes(failed=1)
    assert verdicts(document()) == {"<1ms": "fail"}
    bench.makepyfile(test_a=bench_with('{"ttft": "<1ms"}', "[llm_model.generate('a') for _ in range(6)]"))
    run(SLOW, *ab).assert_outcomes(failed=1)
    assert verdicts(document()) == {"<1ms": "fail"}


def test_a_disabled_benchmark_is_held_to_no_limit(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(test_a=bench_with('{"ttft": "<1ms"}'))
    run(SLOW, "--llm-disable").assert_outcomes(passed=1)


def test_a_worker_of_xdist_judges_its_limits(bench: pytest.Pytester, run: Run, document: Document) -> None:
    pytest.importorskip("xdist")
    bench.makepyfile(test_a=bench_with('{"ttft": "<1ms"}'))
    result = run(SLOW, "-n1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*FAILED *- ttft * ms, *"])
    assert verdicts(document()) == {"<1ms": "fail"}


def test_limits_of_a_load_level_are_judged(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(
        test_a="import pytest\n"
        "@pytest.mark.llm(concurrency=[2], requests=30, prompt_length=20, max_new_tokens=4, processes=2,\n"
        "    thresholds={'tpot': '<1ms', 'request_throughput': '>1e6', 'e2e_latency.p95': '<1ms'})\n"
        "def test_load(llm_load):\n    llm_load.measure()\n"
    )
    with fake_server(seconds_per_token=0.01) as server:
        run(f"--llm-base-url={server.url}", backend=None).assert_outcomes(failed=1)
    (case,) = document()["cases"]
    assert {one["metric"]: one["verdict"] for one in case["judgments"]} == {
        "tpot": "fail",
        "request_throughput": "fail",
        "e2e_latency": "fail",
    }


def test_two_limits_that_are_not_kept_are_one_short_first_line(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(test_a=bench_with('{"ttft": "<1ms", "tpot": "<1ms", "peak_rss": "<1MiB"}'))
    result = run(SLOW)
    (line,) = [line for line in result.outlines if line.startswith("ttft ") and "limit" in line]
    assert len(line) <= 80
    assert line.endswith("; 1 more")
    result.stdout.no_fnmatch_line("*gating.py*")
