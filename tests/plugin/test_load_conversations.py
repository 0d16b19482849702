"""Is a load of conversations held as the test asked, and is every turn of it kept?"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.openai_server import FakeServer, fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]


def one_level(text: str = "conversations=3", call: str = "", before: str = "") -> str:
    return f"""
import pytest
from pytest_llmbench import Conversation, Turn
{before}
@pytest.mark.llm(requests=12, max_new_tokens=4, {text})
def test_load(llm_load):
    run = llm_load.measure({call})
"""


TALK = """
TALK = Conversation(name="talk", system="Be brief.", turns=tuple(
    Turn(user=f"question {n}", answer=f"answer {n}", think_time=0.01 * (n > 1)) for n in (1, 2, 3)
))
"""


def against(server: FakeServer, run: Run, *options: str) -> pytest.RunResult:
    return run(f"--llm-base-url={server.url}", "--llm-option=server.endpoint=chat", *options, backend=None)


def asked(server: FakeServer) -> list[list[str]]:
    """What was sent with tokens to generate, but for what was sent ahead."""
    return [[m["content"] for m in body["messages"]] for body in server.bodies if body["max_tokens"] > 1]


def test_each_turn_of_a_given_conversation_is_a_round(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(one_level(call="conversation=TALK", before=TALK))
    with fake_server() as server:
        server.cached = lambda body: 8 * (len(body["messages"]) // 2 - 1)
        against(server, run).assert_outcomes(passed=1)
        sent = asked(server)
    (case,) = document()["cases"]
    assert case["name"] == "test_load[server-conv3]"
    protocol = case["protocol"]
    assert (protocol["conversations"], protocol["concurrency"], protocol["history"]) == (3, None, "recorded")
    assert protocol["prompts"].startswith("sha256:")
    (process,) = case["processes"]
    load = process["load"]
    # The first three begin at the first, second and third turn, and are not measured.
    assert (load["sent"], load["history"], load["abandoned"]) == (12, "recorded", 0)
    assert 0 < load["in_flight"] <= load["conversations_in_flight"] <= 3.01
    turns: dict[int, list[int]] = {}
    for one in process["rounds"]:
        turns.setdefault(one["request"]["conversation"], []).append(one["request"]["turn"])
        assert one["values"]["cached_tokens"] == 8 * (one["request"]["turn"] - 1)
        assert one["cache"]["source"] == "usage"
    assert turns == {number: [1, 2, 3] for number in range(4, 8)}
    assert len(sent) == 6 + 12
    # Each conversation begins with words of its own, and has the recorded answers.
    heads = {texts[0] for texts in sent}
    assert len(heads) == 7
    assert all(head.endswith("Be brief.") for head in heads)
    third = ["question 1", "answer 1", "question 2", "answer 2", "question 3"]
    assert sum(texts[1:] == third for texts in sent) == 7


def test_made_conversations_have_the_lengths_that_were_asked_for(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    text = "conversations=2, concurrency=1, turns='uniform:2:3', prompt_length=20, think_time=0.005"
    bench.makepyfile(one_level(text))
    with fake_server() as server:
        against(server, run).assert_outcomes(passed=1)
        sent = asked(server)
    (case,) = document()["cases"]
    assert case["name"] == "test_load[server-conv2c1]"
    protocol = case["protocol"]
    assert (protocol["conversations"], protocol["concurrency"]) == (2, 1)
    assert (protocol["made_turns"], protocol["think_time"], protocol["prompts"]) == (
        "uniform:2:3",
        0.005,
        None,
    )
    assert case["processes"][0]["load"]["in_flight"] <= 1.01
    assert {len(texts) for texts in sent} <= {1, 3, 5}
    # What a person says has twenty tokens, which are words here, and three words more to begin with.
    assert {len(texts[0].split()) for texts in sent} == {23}


def test_live_answers_are_the_servers_own(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(one_level(call="conversation=TALK, history='live'", before=TALK))
    with fake_server() as server:
        against(server, run).assert_outcomes(passed=1)
        sent = asked(server)
    (process,) = document()["cases"][0]["processes"]
    assert process["load"]["history"] == "live"
    said = {text for texts in sent for text in texts[2::2]}
    # A conversation that begins at its third turn has the recorded answers of those before it.
    assert said == {"word0 word1 word2 word3 ", "answer 1", "answer 2"}


def test_a_data_set_of_conversations_is_held_with_its_answers(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    said = [("human", "One?"), ("gpt", "1."), ("human", "Two?"), ("gpt", "2.")]
    entry = {"conversations": [{"from": who, "value": what} for who, what in said]}
    (bench.path / "talks.json").write_text(json.dumps([entry]))
    bench.makepyfile(one_level("conversations=2, dataset='talks.json'"))
    with fake_server() as server:
        against(server, run).assert_outcomes(passed=1)
        assert {tuple(texts[1:]) for texts in asked(server)} == {(), ("1.", "Two?")}


def test_a_failed_turn_ends_its_conversation_and_is_counted(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(one_level("conversations=1, failures='90%'", "conversation=TALK", TALK))
    # The first request is sent ahead, then the third turn of the warm-up fails, and two first turns.
    with fake_server(fail_every=4) as server:
        against(server, run)
    (process,) = document()["cases"][0]["processes"]
    load = process["load"]
    assert load["failed"] == {"status": 2}
    assert (load["sent"], load["successful"], load["abandoned"]) == (8, 6, 4)
    asked_of = [(one["request"]["conversation"], one["request"]["turn"]) for one in process["failures"]]
    assert asked_of == [(3, 1), (5, 1)]


@pytest.mark.parametrize(
    ("text", "call", "said"),
    [
        ("conversations=2", "'hello'", "*a prompt is one request: give measure(conversation=...)*"),
        ("request_rate=50", "conversation=TALK", "*conversations are held in a closed loop*"),
    ],
)
def test_what_cannot_be_held_is_said_in_one_line(
    bench: pytest.Pytester, run: Run, text: str, call: str, said: str
) -> None:
    bench.makepyfile(one_level(text, call, TALK))
    with fake_server() as server:
        result = against(server, run)
        assert asked(server) == []
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([said])


def test_a_server_without_a_chat_endpoint_is_not_asked(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(one_level(call="conversation=TALK", before=TALK))
    with fake_server() as server:
        result = run(f"--llm-base-url={server.url}", backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*chat messages need the chat endpoint: --llm-option server.endpoint=chat*"])


def test_levels_of_conversations_are_judged_in_pairs(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(one_level("conversations=2, turns=2, prompt_length=20"))
    with fake_server(seconds_per_token=0.004) as base, fake_server(seconds_per_token=0.03) as slow:
        ab = (f"--llm-ab=base_url={base.url}", "--llm-gate=tpot", "--llm-budget=7")
        against(slow, run, *ab).assert_outcomes(failed=1)
        lengths = [sorted(map(len, asked(server))) for server in (base, slow)]
    now, before = document()["cases"]
    assert now["verdict"] == "fail"
    assert now["protocol"]["conversations"] == before["protocol"]["conversations"] == 2
    # Both sides held the same.
    assert lengths[0] == lengths[1]


def test_a_level_of_conversations_may_last_for_a_time(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    text = "conversations=2, turns=2, prompt_length=20, think_time=0.01, duration=0.5"
    bench.makepyfile(one_level(text).replace("requests=12, ", ""))
    with fake_server() as server:
        against(server, run).assert_outcomes(passed=1)
    (process,) = document()["cases"][0]["processes"]
    assert process["load"]["successful"] == len(process["rounds"]) > 0
    # What the time cut off was not given up.
    assert (process["load"]["abandoned"], process["failures"]) == (0, [])
