"""Does a whole session work on each real engine?"""

from __future__ import annotations

import json
import sys
from typing import Any

import psutil
import pytest

BENCH = """
import pytest

@pytest.mark.llm(models=["tiny"], max_new_tokens=16, processes=2, rounds=3)
def test_answer(llm_model, hw_monitor):
    run = llm_model.measure([{"role": "user", "content": "What is a benchmark?"}])
    assert run.ttft.n == 6
    assert run.decode_throughput.median > 0
    assert run.prefill_throughput.median > 0
    assert hw_monitor.peak_rss > 2**20

@pytest.mark.llm(models=["tiny"], max_new_tokens=2, rounds=2)
@pytest.mark.parametrize("tokens", [32, 200])
def test_prompt(llm_model, tokens):
    run = llm_model.measure(prompt_tokens=tokens)
    assert {r.timeline.prompt_tokens for r in run} == {tokens}
"""

BACKENDS = ["llamacpp", "transformers"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def measured(pytester: pytest.Pytester, *args: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--llm-json=out.json", *args)
    return result, json.loads((pytester.path / "out.json").read_text())


def test_a_session_measures_and_keeps_everything(pytester: pytest.Pytester, backend: str) -> None:
    pytester.makepyfile(BENCH)
    result, document = measured(pytester, f"--llm-backend={backend}")
    result.assert_outcomes(passed=3)
    answer, *prompts = document["cases"]
    assert answer["model"]["backend"] == backend
    assert answer["model"]["parameters"] > 0
    rounds = [r for p in answer["processes"] for r in p["rounds"]]
    assert {r["output_tokens"] for r in rounds} == {16}
    assert len({r["output_hash"] for r in rounds}) == 1
    assert len({r["prompt_hash"] for r in rounds}) == 1
    for r in rounds:
        values = r["values"]
        assert r["tokenized"] <= r["prefilled"] <= values["ttft"] <= values["e2e_latency"] <= r["done"]
        assert r["token_times"] == sorted(r["token_times"])
        assert 0 < values["prefill_cpu_time"] <= values["cpu_time_per_token"] * r["output_tokens"]
    for process in answer["processes"]:
        assert process["values"]["load_time"] > 0
        assert process["values"]["peak_rss"] > answer["model"]["size"]
        assert process["versions"]
        assert isinstance(process["engine"]["n_threads"], int)
        assert isinstance(process["engine"]["on_gpu"], bool)
        assert process["hardware"]["values"]
    assert {c["params"]["tokens"] for c in prompts} == {"32", "200"}
    # What has ended has no command line; whoever started it has not asked how it ended.
    alive = [c for c in psutil.Process().children(recursive=True) if c.status() != psutil.STATUS_ZOMBIE]
    assert [c for c in alive if "llmbench" in " ".join(c.cmdline())] == []


def test_sampling_with_a_seed_repeats_itself(pytester: pytest.Pytester, backend: str) -> None:
    pytester.makepyfile(
        """
        def test_seeds(llm_model):
            settings = dict(max_new_tokens=12, temperature=1.0, rounds=2, warmup_rounds=0)
            one = llm_model.measure("Once upon a time", seed=1, **settings)
            same = llm_model.measure("Once upon a time", seed=1, **settings)
            other = llm_model.measure("Once upon a time", seed=2, **settings)
            hashes = [{r.timeline.output_hash for r in run} for run in (one, same, other)]
            assert hashes[0] == hashes[1] != hashes[2]
            assert len(hashes[0]) == 1
        """
    )
    measured(pytester, f"--llm-backend={backend}")[0].assert_outcomes(passed=1)


def test_a_prompt_beyond_the_context_names_the_option_to_raise(
    pytester: pytest.Pytester, backend: str
) -> None:
    pytester.makepyfile(
        """
        def test_long(llm_model):
            llm_model.measure("word " * 200, rounds=1)
        """
    )
    result, _ = measured(pytester, f"--llm-backend={backend}", f"--llm-option={backend}.n_ctx=128")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E*{backend}.n_ctx*"])


def test_a_truncated_model_file_is_told_and_the_rest_goes_on(pytester: pytest.Pytester) -> None:
    from pytest_llmbench.models.resolve import resolve
    from pytest_llmbench.models.spec import ModelSpec

    whole = resolve(ModelSpec("tiny", "q8_0"), "gguf").path.read_bytes()
    (pytester.path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    (pytester.path / "text.gguf").write_text("this is no model")
    pytester.makepyfile(
        """
        def test_speed(llm_model): llm_model.measure("a", rounds=1)
        """
    )
    result, document = measured(
        pytester,
        "--llm-backend=llamacpp",
        "--llm-model=./cut.gguf",
        "--llm-model=./text.gguf",
        "--llm-model=tiny",
    )
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(["E*cut.gguf*truncated*", "E*text.gguf*"])
    assert [case["outcome"] for case in document["cases"]][-1] == "passed"
    assert "Traceback" not in result.stdout.str()


def test_the_one_token_cross_check_runs_on_a_real_engine(pytester: pytest.Pytester, backend: str) -> None:
    pytester.makepyfile(
        """
        def test_both(llm_model):
            estimate = llm_model.two_pass("Hello there", max_new_tokens=16, rounds=3)
            assert estimate.ttft > 0
            assert estimate.full.tpot.median > 0
        """
    )
    measured(pytester, f"--llm-backend={backend}")[0].assert_outcomes(passed=1)


def test_pytest_benchmark_and_our_document_count_the_same_rounds(
    pytester: pytest.Pytester, backend: str
) -> None:
    pytester.makepyfile(
        "def test_speed(benchmark, llm_model): benchmark(llm_model.generate, 'Hello', max_new_tokens=4)"
    )
    _, document = measured(
        pytester,
        f"--llm-backend={backend}",
        "--benchmark-json=bench.json",
        "--benchmark-min-rounds=3",
        "--benchmark-max-time=0.01",
    )
    (entry,) = json.loads((pytester.path / "bench.json").read_text())["benchmarks"]
    (case,) = document["cases"]
    stats = entry["stats"]
    assert stats["rounds"] * stats["iterations"] == sum(len(p["rounds"]) for p in case["processes"])
    assert entry["extra_info"]["tpot"] == case["metrics"]["tpot"]["median"]


def test_a_script_without_pytest_measures_and_compares(
    pytester: pytest.Pytester, pytestconfig: pytest.Config, backend: str
) -> None:
    script = pytestconfig.rootpath / "examples" / "programmatic.py"
    command = [sys.executable, str(script), "--backend", backend, "--processes", "1"]
    assert pytester.run(*command, "before.json").ret == 0
    result = pytester.run(*command, "now.json", "--base", "before.json")
    before, now = (json.loads((pytester.path / name).read_text()) for name in ("before.json", "now.json"))
    (case,) = now["cases"]
    assert case["compared_with"] == [before["session"]["id"]]
    assert (result.ret == 1) == (case["verdict"] == "fail")
    assert len(case["processes"][0]["rounds"]) == 3
