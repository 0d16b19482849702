"""Is a conversation held on a server as it is in a process of ours, and is its cache told truly?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

CHAT = """
import pytest
from pytest_llmbench import Conversation, Turn

TALK = Conversation(name="talk", turns=(Turn(user="one two three"), Turn(user="four"), Turn(user="five six")))

@pytest.mark.llm(rounds=2, warmup_rounds=0, max_new_tokens=4, cache="{cache}")
def test_talk(llm_chat):
    run = llm_chat.run(TALK)
    assert run.turn(2).ttft.n == 2
"""
ON_CHAT = "--llm-option=server.endpoint=chat"


def test_a_conversation_is_held_on_a_server_with_what_it_answered_in_it(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(CHAT.format(cache="warm"))
    with fake_server(seconds_per_token=0.0) as server:
        run(f"--llm-base-url={server.url}", ON_CHAT, backend=None).assert_outcomes(passed=1)
        bodies = server.bodies
    roles = [[one["role"] for one in body["messages"]] for body in bodies]
    talk = [["user"], ["user", "assistant", "user"], ["user", "assistant", "user", "assistant", "user"]]
    assert roles == talk * 2
    assert bodies[1]["messages"][1]["content"] == "word0 word1 word2 word3 "
    # It may keep what it was asked: each time that the conversation is held has words of its own.
    first = [body["messages"][0]["content"].removesuffix(" one two three") for body in bodies]
    assert first[0] == first[1] == first[2] != first[3]
    assert first[3] == first[4] == first[5]
    cases = {case["measurement"]: case for case in document()["cases"]}
    assert list(cases) == ["talk turn 1", "talk turn 2", "talk turn 3"]
    for case in cases.values():
        for one in case["processes"][0]["rounds"]:
            assert one["cache"]["unknown"] == "the server does not say how many tokens its cache had"
            assert one["turn"]["same_output"] is None
            assert "cached_tokens" not in one["values"]


def test_all_turns_are_asked_warm_before_any_is_asked_cold_where_a_cold_one_has_words_of_its_own(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(CHAT.format(cache="paired"))
    with fake_server(seconds_per_token=0.0) as server:
        run(f"--llm-base-url={server.url}", ON_CHAT, backend=None).assert_outcomes(passed=1)
        asked = [(len(body["messages"]), body["messages"][0]["content"]) for body in server.bodies]
    assert [turn for turn, _ in asked] == [1, 3, 5, 3, 5] * 2
    warm, cold = [said for _, said in asked[:3]], [said for _, said in asked[3:5]]
    assert len(set(warm)) == 1
    assert len({*warm, *cold}) == 3
    turns = {case["measurement"]: case for case in document()["cases"]}
    assert list(turns) == [
        "talk turn 1",
        "talk turn 2",
        "talk turn 2 cold",
        "talk turn 3",
        "talk turn 3 cold",
    ]
    assert turns["talk turn 2"]["metrics"]["cache_speedup"]["n"] == 2


def test_a_round_that_was_to_be_cold_and_was_not_is_told_once(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(CHAT.format(cache="cold"))
    with fake_server(seconds_per_token=0.0) as server:
        server.cached = lambda body: 2 * (len(body["messages"]) // 2)
        result = run(f"--llm-base-url={server.url}", ON_CHAT, backend=None)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*rounds that were to be cold had a part of their prompt from the cache*"])
    first, second, third = (case["processes"][0]["rounds"] for case in document()["cases"])
    assert [one["values"]["cached_tokens"] for one in (*first, *second, *third)] == [0, 0, 2, 2, 4, 4]
    assert all(one["cache"]["cold"] and one["cache"]["source"] == "usage" for one in (*second, *third))


def test_a_conversation_needs_the_chat_endpoint(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(CHAT.format(cache="warm"))
    with fake_server() as server:
        result = run(f"--llm-base-url={server.url}", backend=None)
        assert server.bodies == []
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*conversations need the chat endpoint: --llm-option server.endpoint=chat"])


def test_turns_that_a_test_makes_up_are_not_asked_both_ways_where_cold_ones_have_words_of_their_own(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(
        """
        def test_talk(llm_chat):
            llm_chat.turn("one", max_new_tokens=4, cache="paired")
            llm_chat.turn("two", max_new_tokens=4, cache="paired")
        """
    )
    with fake_server(seconds_per_token=0.0) as server:
        result = run(f"--llm-base-url={server.url}", ON_CHAT, backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*on this server, cache=paired is for whole conversations*"])
