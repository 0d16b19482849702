"""Do suites run on a real engine?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.models.listing import build
from tests.fakes.runs_of_others import BASELINE, MODELS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

SUITE = """
version: 1
models: {small: {model: tiny, quantization: q4_0}}
defaults: {models: [tiny], rounds: 2, warmup_rounds: 0, max_new_tokens: 4}
cases:
  - name: answer
    models: small
    tags: [quick]
    messages: [{role: user, content: What is a benchmark?}]
  - name: grid
    sweep:
      parameters:
        prompt_tokens: 16-64*2
        quantizations: [f16, q8_0]
      exclude: [{prompt_tokens: 64, quantizations: f16}]
"""


def measured(pytester: pytest.Pytester, *args: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--llm-json=out.json", *args)
    return result, json.loads((pytester.path / "out.json").read_text())


def test_what_a_suite_says_is_measured(pytester: pytest.Pytester) -> None:
    (pytester.path / "s.llm.yaml").write_text(SUITE)
    result, document = measured(pytester, "--llm-backend=llamacpp", "--strict-markers")
    result.assert_outcomes(passed=6)
    said = {}
    for case in document["cases"]:
        rounds = [one for process in case["processes"] for one in process["rounds"]]
        assert len(rounds) == 2
        (tokens,) = {one["prompt_tokens"] for one in rounds}
        assert {one["output_tokens"] for one in rounds} == {4}
        said[case["nodeid"].partition("::")[2]] = (tokens, case["model"]["quantization"])
    chat = said.pop("answer[llamacpp-small-q4_0]")
    assert chat[1] == "q4_0"
    assert chat[0] > 4
    assert said == {
        f"grid[llamacpp-tiny-{quantization}-prompt_tokens:{tokens}]": (tokens, quantization)
        for quantization, lengths in (("f16", (16, 32)), ("q8_0", (16, 32, 64)))
        for tokens in lengths
    }


@pytest.mark.parametrize("backend", ["llamacpp", "transformers"])
def test_the_shipped_suite_runs(
    pytester: pytest.Pytester, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(BENCHMARKS / "latency.llm.yaml", pytester.path)
    monkeypatch.setenv("LATENCY_ROUNDS", "1")
    result, document = measured(pytester, f"--llm-backend={backend}", "--llm-max-new-tokens=2")
    result.assert_outcomes(passed=4)
    assert [case["params"] for case in document["cases"]] == [
        {},
        *({"prompt_tokens": str(tokens)} for tokens in (32, 256, 2048)),
    ]


@pytest.mark.parametrize("backend", ["llamacpp", "transformers"])
def test_the_shipped_suites_of_scenarios_run_in_one_command(
    pytester: pytest.Pytester, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("chatbot.llm.yaml", "rag.llm.yaml", "long-context.llm.yaml")
    for name in names:
        shutil.copy(BENCHMARKS / name, pytester.path)
    monkeypatch.setenv("LONG_DEPTHS", "64-128*2")
    monkeypatch.setenv("LONG_ROUNDS", "1")
    chosen = "questions or placement:inline or order or depth or whole"
    options = (f"--llm-backend={backend}", "--llm-warmup-rounds=0", "--llm-monitor-rate=0")
    result, document = measured(pytester, *names, "--strict-markers", "-k", chosen, *options)
    result.assert_outcomes(passed=7, deselected=3)
    rounds = [one for case in document["cases"] for process in case["processes"] for one in process["rounds"]]
    assert not [one["invalid"] for one in rounds if one.get("invalid")]
    warm = {
        (one["turn"]["conversation"], one["turn"]["turn"]): one
        for one in rounds
        if one.get("turn") and one["turn"]["cache"] == "warm" and one["turn"]["turn"] > 1
    }
    assert len(warm) == 4 + 5 + 5
    for one in warm.values():
        assert one["values"]["cached_tokens"] == one["values"]["cached_possible"]
        assert one["turn"]["same_output"] or one["turn"]["tie"]
    # The document stays in the fourth turn, and is gone in the fifth.
    stays, leaves = (warm["rag", turn]["values"]["cached_tokens"] for turn in (4, 5))
    assert stays > 512 > leaves


@pytest.fixture
def cached(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache in which a model of that name lies: ours, with random weights."""
    cache = pytester.path / "hub"
    repository = cache / "models--Qwen--Qwen3-4B"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(build("tiny", None, "hf").path, repository / "snapshots" / commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    return cache


@pytest.mark.parametrize("named", [False, True])
def test_other_programs_files_run_as_they_stand(pytester: pytest.Pytester, cached: Path, named: bool) -> None:
    runs = pytester.path / "configs" / "runs"
    runs.mkdir(parents=True)
    (runs / "baseline.yaml").write_text(BASELINE)
    models = pytester.path / ("elsewhere.yaml" if named else "configs/models.yaml")
    models.write_text(MODELS)
    result, document = measured(
        pytester, "configs/runs/baseline.yaml", *(["--llm-models-file=elsewhere.yaml"] if named else [])
    )
    result.assert_outcomes(passed=1)
    (case,) = document["cases"]
    assert case["nodeid"] == "configs/runs/baseline.yaml::Who-are-you-32[transformers-qwen3_4b-f16]"
    (process,) = case["processes"]
    assert [one["output_tokens"] for one in process["rounds"]] == [32] * 5
    assert case["protocol"]["warmup_rounds"] == 2
    assert process["engine"]["dtype"] == "float16"


def test_a_model_of_local_files_that_is_not_there_is_the_failure_of_its_case(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(pytester.path / "empty"))
    (pytester.path / "baseline.yaml").write_text(BASELINE)
    (pytester.path / "models.yaml").write_text(MODELS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "baseline.yaml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Qwen/Qwen3-4B is not complete in the hub's cache*local_files_only*"])
