"""Does a whole session under load work on each real server that it starts itself?"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from pytest_llmbench.models.spec import Form, ResolvedModel
from pytest_llmbench.servers.launch import Server, ServerSpec

Tiny = Callable[[str | None, Form], ResolvedModel]

BENCH = """
import pytest

@pytest.mark.llm(models=["tiny"], concurrency=[1, 3], requests=6, prompt_length=24, max_new_tokens=8)
def test_load(llm_load, llm_server):
    run = llm_load.measure()
    assert run.failed == 0
    assert run.system_throughput.median > 0
    assert llm_server.pid

@pytest.mark.llm(models=["tiny"], request_rate=[4], requests=6, prompt_length=24, max_new_tokens=8)
def test_rate(llm_load):
    assert llm_load.measure(slo={"e2e_latency": 60}).goodput.median > 0

@pytest.mark.llm(models=["tiny"], rounds=2, max_new_tokens=8)
def test_alone(llm_model):
    run = llm_model.measure("A benchmark is")
    assert run.ttft.n == 2
"""

VLLM = os.environ.get("LLMBENCH_VLLM_PYTHON")
VLLM_ON_A_CPU = "--dtype bfloat16 --enforce-eager --max-model-len 1024"
ENGINES = {
    "llamacpp-server": [],
    "transformers-serve": [],
    "vllm": [f"--llm-python={VLLM}", f"--llm-option=server.arguments={VLLM_ON_A_CPU}"],
}


def servers_running() -> list[str]:
    """The command lines of all servers that a test may have left."""
    words = ("llama_cpp.server", "vllm.entrypoints", "transformers.cli")
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if any(word in line for word in words):
            found.append(line)
    return found


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_session_starts_the_server_and_measures_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    if engine == "vllm" and VLLM is None:
        pytest.skip("LLMBENCH_VLLM_PYTHON names no interpreter that has vLLM: tox run -e vllm,serving")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    before = servers_running()
    pytester.makepyfile(BENCH)
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--llm-json=out.json", f"--llm-serve={engine}", *ENGINES[engine]
    )
    result.assert_outcomes(passed=4)
    assert servers_running() == before
    document: dict[str, Any] = json.loads((pytester.path / "out.json").read_text())
    cases = {case["name"]: case for case in document["cases"]}
    assert list(cases) == [
        f"test_load[{engine}-tiny-c1]",
        f"test_load[{engine}-tiny-c3]",
        f"test_rate[{engine}-tiny-r4]",
        f"test_alone[{engine}-tiny]",
    ]
    for case in cases.values():
        assert case["model"]["digest"].startswith("sha256:")
        (process,) = case["processes"]
        assert process["engine"]["server"] == engine
        assert process["versions"]
        assert process["values"]["peak_rss"] > 2**25
        assert case["metrics"]["cpu_time_per_token"]["min"] > 0
        assert process["engine"]["cpu_time"].startswith("not comparable beside other load: ")
        assert process["failures"] == []
        for r in process["rounds"]:
            assert 0 < r["values"]["ttft"] <= r["values"]["e2e_latency"] <= r["done"]
            assert r["token_times"] == sorted(r["token_times"])
    level, alone = (
        cases[f"{name}[{engine}-tiny{load}]"] for name, load in (("test_load", "-c3"), ("test_alone", ""))
    )
    assert level["metrics"]["cpu_time_per_token"]["n"] == 1
    assert level["processes"][0]["values"]["cpu_time_per_token"] > 0
    assert alone["metrics"]["cpu_time_per_token"]["n"] == 2
    load = level["processes"][0]["load"]
    assert load["successful"] == 6
    if engine == "vllm":
        counted = load["server_metrics"]
        assert counted["generation_tokens"] >= 6 * 8
        assert counted["prefix_cache_hits"] == 0
        assert load["token_sources"] == {"usage": 6}


def test_a_level_is_measured_in_pairs_on_servers_that_are_started_for_it(pytester: pytest.Pytester) -> None:
    before = servers_running()
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.llm(models=["tiny"], concurrency=[2], requests=8, prompt_length=24, max_new_tokens=8)
        def test_load(llm_load):
            assert llm_load.measure().failed == 0
        """
    )
    result = pytester.runpytest_subprocess(
        *("-p", "no:cacheprovider", "--llm-json=out.json", "--llm-serve=llamacpp-server"),
        *("--llm-ab=server.arguments='--n_threads 1'", "--llm-budget=1", "--llm-inconclusive=pass"),
    )
    result.assert_outcomes(passed=1)
    assert servers_running() == before
    now, base = json.loads((pytester.path / "out.json").read_text())["cases"]
    assert now["judgments"][0]["details"]["order"].startswith("a fresh server for each level")
    assert base["protocol"]["ab"] == {"server.arguments": "--n_threads 1"}
    for case in (now, base):
        (process,) = case["processes"]
        assert process["values"]["load_time"] > 0
        assert process["values"]["peak_rss"] > 2**25
        assert len(process["rounds"]) == 8
    assert "--n_threads" in base["processes"][0]["engine"]["command"]
    assert "--n_threads" not in now["processes"][0]["engine"]["command"]


def test_a_server_that_cannot_start_shows_its_log(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_load(llm_load): llm_load.measure()")
    result = pytester.runpytest_subprocess(
        "-p",
        "no:cacheprovider",
        "--llm-serve=llamacpp-server",
        "--llm-option=server.arguments=--no_such_argument 1",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*before it was ready*", "*last lines of its log*", "*no_such_argument*"])


def test_an_engine_that_is_not_installed_is_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_load(llm_load): llm_load.measure()")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--llm-serve=sglang")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*pip install sglang*"])


def test_a_container_without_docker_is_a_clear_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    pytester.makepyfile("def test_load(llm_load): llm_load.measure()")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--llm-serve=docker:vllm")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*[Dd]ocker*"])


def test_a_server_that_a_user_started_is_told_what_it_needs(pytester: pytest.Pytester, tiny: Tiny) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.llm(concurrency=[4], requests=12, prompt_length=24, max_new_tokens=48)
        def test_load(llm_load):
            llm_load.measure()
        """
    )
    # Its own default, which what we start it with overrules.
    spec = ServerSpec("llamacpp-server", tiny("f16", "gguf"), arguments=("--interrupt_requests", "true"))
    with Server(spec) as server:
        result = pytester.runpytest_subprocess(
            "-p", "no:cacheprovider", "--llm-monitor-rate=0", f"--llm-base-url={server.base_url}"
        )
    result.stdout.fnmatch_lines(
        [
            "*server-*c4: the server's command line has no --interrupt_requests false: without, it cuts *",
            "*requests failed: llamacpp-server cuts *, unless it is started with --interrupt_requests false",
        ]
    )
