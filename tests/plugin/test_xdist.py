"""Do xdist's workers make one session, and is what cannot be measured in parallel refused?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.plugin.conftest import Run

pytest.importorskip("xdist")

BENCH = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_speed(llm_model, n):
    llm_model.measure("a", rounds=n)
"""


def test_one_worker_makes_one_document(
    bench: pytest.Pytester, run: Run, document: Callable[[], dict[str, Any]]
) -> None:
    bench.makepyfile(BENCH)
    result = run("-n1")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*LLM benchmarks*", "Results: out.json"])
    assert len(document()["cases"]) == 2
    assert len(list((bench.path / ".llmbench" / "results").glob("*.json"))) == 1
    assert list((bench.path / ".llmbench" / "journal").iterdir()) == []


def test_more_workers_than_devices_are_refused_with_the_reason(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH)
    result = run("-n2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (result.stderr if result.stderr.lines else result.stdout).fnmatch_lines(
        ["*more xdist workers than devices: 2 workers on one device*use -n 1*"]
    )


def test_other_tests_still_run_in_parallel(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile("def test_a(): pass\ndef test_b(): pass")
    run("-n2").assert_outcomes(passed=2)


def test_disabled_benchmarks_may_run_in_parallel(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH)
    run("-n2", "--llm-disable").assert_outcomes(passed=2)


def test_without_xdist_nothing_is_missing(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH)
    run("-p", "no:xdist").assert_outcomes(passed=2)
