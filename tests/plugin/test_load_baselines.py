"""Is a load level compared with stored ones, wherever its server listens?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

LEVEL = """
import pytest

@pytest.mark.llm(concurrency=[2], requests=8, prompt_length=20, max_new_tokens=4, processes=3)
@pytest.mark.parametrize("size", [20, 30])
def test_load(llm_load, size):
    llm_load.measure(prompt_length=size)
"""
ASKED = """
import pytest

@pytest.mark.llm(rounds=3, processes=1, max_new_tokens=4)
def test_model(llm_model):
    llm_model.measure("Name a river.")

def test_server(llm_server):
    assert llm_server.base_url
"""
COMPARE = ("--llm-compare=main", "--llm-gate=tpot", "--llm-inconclusive=pass", "--llm-missing=fail")


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


def test_a_load_level_is_judged_against_the_same_server_on_another_port(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(LEVEL)
    with fake_server(seconds_per_token=0.004) as one, fake_server(seconds_per_token=0.03) as other:
        run(f"--llm-base-url={one.url}", "--llm-save=main", backend=None).assert_outcomes(passed=2)
        assert [case["params"] for case in document()["cases"]] == [{"size": "20"}, {"size": "30"}]
        run(f"--llm-base-url={other.url}", *COMPARE, backend=None)
    for case in document()["cases"]:
        assert case["verdict"] in ("fail", "inconclusive")
        (judged,) = case["judgments"]
        # Servers take their time at least; how much more depends on the machine.
        assert 0.003 < judged["base"] < judged["now"]
        assert judged["now"] > 0.02


def test_one_request_at_a_time_is_judged_on_another_port_too(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(ASKED)
    with fake_server(seconds_per_token=0.004) as one, fake_server(seconds_per_token=0.004) as other:
        run(f"--llm-base-url={one.url}", "--llm-save=main", backend=None).assert_outcomes(passed=2)
        run(f"--llm-base-url={other.url}", *COMPARE, backend=None).assert_outcomes(passed=2)
    (case,) = document()["cases"]
    assert case["params"] == {}
    assert case["judgments"][0]["base"] is not None


def test_another_model_of_a_server_that_runs_is_not_compared(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(ASKED)
    with fake_server("small") as one, fake_server("large") as other:
        run(f"--llm-base-url={one.url}", "--llm-save=main", backend=None)
        result = run(f"--llm-base-url={other.url}", *COMPARE, backend=None)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*other weights: small → large*"])


def test_of_servers_side_by_side_the_one_of_another_address_is_compared_and_none_is_missing(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(ASKED)
    with fake_server() as stays, fake_server() as gone, fake_server() as comes:
        run(f"--llm-base-url={stays.url}", f"--llm-base-url={gone.url}", "--llm-save=main", backend=None)
        # Alone, it has no address in its test's id; of two that went nobody knows which it was.
        result = run(f"--llm-base-url={comes.url}", *COMPARE, backend=None)
        result.assert_outcomes(failed=1, passed=1)
        bench.path.joinpath(".llmbench/baselines/main").rename(bench.path / "both")
        run(f"--llm-base-url={gone.url}", "--llm-save=main", backend=None)
        result = run(
            f"--llm-base-url={stays.url}", "--llm-base-url=http://127.0.0.1:9/v1", *COMPARE, backend=None
        )
    assert document()["cases"][0]["judgments"][0]["base"] is not None
    result.stdout.no_fnmatch_line("*missing:*")
