"""Do suites run on a real engine?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

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
