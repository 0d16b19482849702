"""Does a real server find in its cache what it can, and does it say so, turn by turn?"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

TALK = """
import pytest
from pytest_llmbench import Conversation, Made, Turn

def rag(history, placement="system"):
    ask = [Turn(user=Made(24), answer=Made(12)) for _ in range(6)]
    came = Turn(user=Made(24), answer=Made(12), add=("report",))
    went = Turn(user=Made(24), remove=("report",))
    turns = (ask[0], came, ask[2], ask[3], went, ask[5])
    return Conversation(name="rag", system="You answer questions about documents.", history=history,
                        placement=placement, documents={"report": Made(512)}, turns=turns)
"""
VLLM = os.environ.get("LLMBENCH_VLLM_PYTHON")
ON_A_CPU = "--dtype bfloat16 --enforce-eager --max-model-len 4096 --block-size 32"
ON_CHAT = "--llm-option=server.endpoint=chat"
BLOCK = 32


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of a session that starts vLLM."""
    if VLLM is None:
        pytest.skip("LLMBENCH_VLLM_PYTHON names no interpreter that has vLLM: tox run -e vllm,serving")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    return ["--llm-serve=vllm", f"--llm-python={VLLM}", f"--llm-option=server.arguments={ON_A_CPU}"]


def cases(pytester: pytest.Pytester, *args: str, passed: int = 1) -> dict[str, list[dict[str, Any]]]:
    """The rounds that a session measured, by measurement."""
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--llm-json=out.json", *args)
    result.assert_outcomes(passed=passed)
    found = json.loads((pytester.path / "out.json").read_text())["cases"]
    return {
        case["measurement"]: [one for process in case["processes"] for one in process["rounds"]]
        for case in found
    }


def test_vllm_finds_every_whole_block_that_it_can_and_no_other(
    pytester: pytest.Pytester, vllm: list[str]
) -> None:
    pytester.makepyfile(
        TALK
        + """
@pytest.mark.llm(models=["tiny"], rounds=2, warmup_rounds=1, max_new_tokens=12, cache="paired")
@pytest.mark.parametrize("placement", ["system", "inline", "last"])
def test_rag(llm_chat, placement):
    run = llm_chat.run(rag("recorded", placement), label=placement)
    assert run.cache_hit_rate > 0

@pytest.mark.llm(models=["tiny"], rounds=2, warmup_rounds=1, max_new_tokens=12, cache="warm")
def test_live(llm_chat):
    llm_chat.run(rag("live"), label="live")
"""
    )
    found = cases(pytester, *vllm, ON_CHAT, passed=4)
    for name, rounds in found.items():
        for one in rounds:
            values, turn = one["values"], one["turn"]
            assert one["invalid"] is None, name
            assert one["cache"]["source"] == "usage"
            assert values["cached_tokens"] % BLOCK == 0
            if turn["cache"] == "cold":
                assert (values["cached_tokens"], values["cached_possible"]) == (0, 0), name
                continue
            assert turn["same_output"] is True, name
            assert values["cached_tokens"] == values["cached_possible"], name
    hits = {name: rounds[0]["values"]["cached_tokens"] for name, rounds in found.items()}
    # A document in the system prompt is found while it stays there, and before the last question it is not.
    assert hits["system turn 3"] > 512 > hits["system turn 5"]
    assert hits["last turn 3"] < 512
    assert hits["live turn 3"] > 512


SILENT = """
import pytest

@pytest.mark.llm(models=["tiny"], rounds=2, warmup_rounds=0, max_new_tokens=8)
def test_depth(llm_model):
    llm_model.measure(prompt_tokens=40, depth=300, label="deep")

@pytest.mark.llm(models=["tiny"], rounds=2, warmup_rounds=1, max_new_tokens=8, prefix_cache=True)
def test_again(llm_model):
    llm_model.measure(prompt_tokens=300, label="again")
"""


def test_what_vllm_does_not_say_its_counters_do(pytester: pytest.Pytester, vllm: list[str]) -> None:
    pytester.makepyfile(SILENT)
    silent = f"--llm-option=server.arguments={ON_A_CPU} --no-enable-prompt-tokens-details"
    found = cases(pytester, *vllm, silent, passed=2)
    for one in found["deep"]:
        assert one["invalid"] is None
        assert one["cache"]["source"] == "counters"
        depth = one["cache"]["depth"]
        assert abs(depth - 300) < 8
        # All but what does not fill a block, and not a token of the prompt behind it.
        assert one["values"]["cached_tokens"] == one["values"]["cached_possible"] == depth // BLOCK * BLOCK
        assert abs(one["prompt_tokens"] - depth - 40) < 8
    for one in found["again"]:
        assert (one["cache"]["source"], one["values"]["cached_tokens"]) == ("counters", 288)


def test_a_server_that_says_nothing_of_its_cache_is_asked_all_the_same(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        TALK
        + """
@pytest.mark.llm(models=["tiny"], rounds=2, warmup_rounds=0, max_new_tokens=8, cache="paired")
def test_rag(llm_chat):
    run = llm_chat.run(rag("live"), label="rag")
    assert run.turn(3).cache_speedup.n == 2
"""
    )
    found = cases(pytester, "--llm-serve=llamacpp-server", ON_CHAT)
    for name in ("rag turn 2", "rag turn 3", "rag turn 3 cold", "rag turn 6"):
        for one in found[name]:
            assert one["cache"]["unknown"] == "the server does not say how many tokens its cache had"
            assert one["cache"]["source"] is None
            assert not {"cached_tokens", "cached_possible"} & one["values"].keys()
            # A cold prompt has words of its own, and so another answer.
            assert one["turn"]["same_output"] is None


def test_vllm_under_a_load_of_conversations_has_what_was_said_before_in_its_cache(
    pytester: pytest.Pytester, vllm: list[str]
) -> None:
    pytester.makepyfile(
        """
import pytest

@pytest.mark.llm(models=["tiny"], conversations=4, concurrency=2, turns=3, requests=24, think_time=0.05,
                 prompt_length=100, max_new_tokens=12)
@pytest.mark.parametrize("history", ["recorded", "live"])
def test_talks(llm_load, history):
    run = llm_load.measure(history=history, label=history)
    assert run.failed == 0
"""
    )
    found = cases(pytester, *vllm, ON_CHAT, passed=2)
    for name, rounds in found.items():
        assert len(rounds) == 24
        for one in rounds:
            values, asked = one["values"], one["request"]
            assert (one["invalid"], one["cache"]["source"]) == (None, "usage"), name
            assert values["cached_tokens"] % BLOCK == 0
            if asked["turn"] == 1:
                # What begins a conversation is its own.
                assert values["cached_tokens"] < 2 * BLOCK, name
            else:
                # At least what the person said in the turns before.
                assert values["cached_tokens"] > (asked["turn"] - 1) * 100 - 2 * BLOCK, name
            assert values["cached_tokens"] < one["prompt_tokens"]
