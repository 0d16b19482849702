"""Is a task asked of a real engine, in the length that was asked for?"""

from __future__ import annotations

import json
from typing import Any

import pytest

SUITE = """
version: 1
defaults: {models: [tiny], rounds: 1, warmup_rounds: 0, max_new_tokens: 4}
cases:
  - name: own
    sweep: {parameters: {task: [text-generation, summarization, question-answering]}}
  - name: long
    prompt_tokens: 200
    sweep: {parameters: {task: [text-generation, summarization, question-answering], seed: [0, 1]}}
  - name: lengths
    task: summarization
    sweep: {parameters: {prompt_tokens: [64, 100]}}
"""


def measured(pytester: pytest.Pytester, backend: str) -> dict[str, Any]:
    (pytester.path / "s.llm.yaml").write_text(SUITE)
    options = (f"--llm-backend={backend}", "--llm-monitor-rate=0", "--llm-json=out.json")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--llm-isolation=model", *options)
    result.assert_outcomes(passed=11)
    document: dict[str, Any] = json.loads((pytester.path / "out.json").read_text())
    return document


@pytest.mark.parametrize("backend", ["llamacpp", "transformers"])
def test_a_task_has_its_own_text_or_a_made_one_of_a_length(pytester: pytest.Pytester, backend: str) -> None:
    found = {}
    for case in measured(pytester, backend)["cases"]:
        ((one,),) = [process["rounds"] for process in case["processes"]]
        found[case["nodeid"].partition("::")[2]] = (case["protocol"]["task"], one["prompt_tokens"])
    names = ("text-generation", "summarization", "question-answering")
    for name in names:
        task, tokens = found.pop(f"own[{backend}-tiny-task:{name}]")
        assert task == name
        assert 15 < tokens < 450
        for seed in (0, 1):
            assert found.pop(f"long[{backend}-tiny-task:{name}-seed:{seed}]") == (name, 200)
    for tokens in (64, 100):
        assert found.pop(f"lengths[{backend}-tiny-prompt_tokens:{tokens}]") == ("summarization", tokens)
    assert not found
