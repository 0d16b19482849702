"""What can a test ask in a conversation, and what becomes of it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.bench.chat import LLMChat
from pytest_llmbench.bench.runtime import Runtime
from pytest_llmbench.errors import EngineError, LLMBenchWarning, UsageError
from pytest_llmbench.measure.loop import EnginePool
from pytest_llmbench.measure.same_output import OutputDiffersError
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Made, Turn
from tests.fakes.llmbench_fake import backend

TALK = Conversation(name="talk", turns=(Turn(user="one"), Turn(user="two")))


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    registry = Registry()
    registry.register(backend)
    with Runtime(registry, monitor_rate=0) as runtime:
        yield runtime


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Each engine that is asked for."""
    found: list[object] = []
    acquire = EnginePool.acquire

    def counted(self: EnginePool, *args: Any) -> Any:
        found.append(self)
        return acquire(self, *args)

    monkeypatch.setattr(EnginePool, "acquire", counted)
    return found


def chats(runtime: Runtime, **settings: object) -> Iterator[LLMChat]:
    held = {"max_new_tokens": 4, "rounds": 2, "isolation": "none", **settings}
    return LLMChat.each(runtime, models="tiny", backends="fake", **held)


@pytest.fixture
def chat(runtime: Runtime) -> LLMChat:
    return next(chats(runtime))


def labels(chat: LLMChat) -> list[str]:
    return [run.label for run in chat.runs]


def test_a_conversation_is_held_and_each_turn_is_a_case(chat: LLMChat) -> None:
    run = chat.run(TALK)
    assert labels(chat) == ["talk turn 1", "talk turn 2"]
    assert run.turn(2).ttft.n == 2
    assert chat.chats == [run]
    assert chat.run(TALK, label="again", rounds=1, cache="paired").turn(2, "cold").ttft.n == 1
    assert labels(chat)[2:] == ["again turn 1", "again turn 2", "again turn 2 cold"]


def test_two_conversations_of_one_name_need_labels(chat: LLMChat) -> None:
    chat.run(TALK)
    with pytest.raises(UsageError, match="a conversation 'talk' already"):
        chat.run(TALK)
    assert len(labels(chat)) == 2


def test_a_conversation_without_turns_is_refused(chat: LLMChat) -> None:
    with pytest.raises(UsageError, match="conversation empty: a conversation has 1 to 1,000 turns"):
        chat.run(Conversation(name="empty", turns=()))


def test_impossible_hits_are_warned_of(chat: LLMChat) -> None:
    said = Conversation(name="talk", turns=(Turn(user="one"), Turn(user="!overclaims")))
    with pytest.warns(LLMBenchWarning, match="talk turn 2: .*are said to have come from the cache"):
        chat.run(said)


# -- turn by turn --------------------------------------------------------------------------------


def test_turns_go_on_with_what_was_said_in_one_engine(chat: LLMChat, loaded: list[object]) -> None:
    first = chat.turn("one")
    second = chat.turn("two", max_new_tokens=6)
    assert (first.text, second.text) == ("abcd", "abcdef")
    assert first.cached_tokens == 0
    assert second.cached_tokens == second.cached_possible == first.round.timeline.prompt_tokens + 3
    assert second.ttft is not None
    assert labels(chat) == ["chat turn 1", "chat turn 2"]
    assert [run.protocol["max_new_tokens"] for run in chat.runs] == [4, 6]
    assert [run.protocol["turns"] for run in chat.runs] == [None, None]
    chat.finish()
    chat.finish()
    assert len(loaded) == 1
    assert [r.turn.same_output for r in chat.chats[0].turn(2).rounds if r.turn is not None] == [True]


def test_a_conversation_that_is_reset_is_held_once_more_in_the_same_cases(
    chat: LLMChat, loaded: list[object]
) -> None:
    for _ in range(3):
        chat.reset()
        chat.turn("one")
        chat.turn("two")
    chat.finish()
    (run,) = chat.chats
    assert [len(of.rounds) for of in run] == [3, 3]
    assert [len(of.processes) for of in run] == [1, 1]
    assert [one.turn.repetition for one in run.turn(2).rounds if one.turn is not None] == [1, 2, 3]
    assert len(loaded) == 1


def test_another_turn_than_before_is_refused_and_the_conversation_goes_on(chat: LLMChat) -> None:
    chat.turn("one")
    chat.turn("two")
    chat.reset()
    chat.turn("one")
    with pytest.raises(UsageError, match=r"turn 2 of the conversation 'chat' was another.*what is said"):
        chat.turn("three")
    with pytest.raises(UsageError, match=r"was another .*\(max_new_tokens\)"):
        chat.turn("two", max_new_tokens=5)
    chat.turn("two")
    assert chat.chats[0].turn(2).ttft.n == 2


def test_a_name_or_a_system_prompt_begins_another_conversation(chat: LLMChat, loaded: list[object]) -> None:
    chat.turn("one")
    chat.reset("formal", system="Be formal.")
    formal = chat.turn("one")
    chat.reset(system="Be brief.")
    chat.turn("one")
    chat.turn("two")
    assert labels(chat) == ["chat turn 1", "formal turn 1", "chat 2 turn 1", "chat 2 turn 2"]
    assert formal.cached_tokens == 0
    assert formal.round.timeline.prompt_tokens > chat.runs[0].rounds[0].timeline.prompt_tokens
    assert len(loaded) == 3
    with pytest.raises(UsageError, match="a conversation 'formal' already"):
        chat.reset("formal")


def test_turns_and_whole_conversations_do_not_share_an_engine(chat: LLMChat) -> None:
    chat.turn("one")
    chat.run(TALK)
    chat.turn("one")
    assert labels(chat) == ["chat turn 1", "talk turn 1", "talk turn 2", "chat 2 turn 1"]


def test_a_turn_can_be_asked_both_ways(runtime: Runtime) -> None:
    chat = next(chats(runtime, cache="paired"))
    assert chat.turn("one").cache_speedup is None
    second = chat.turn("two")
    assert second.cached_tokens is not None
    assert second.cached_tokens > 0
    assert second.cache_speedup is not None
    assert labels(chat) == ["chat turn 1", "chat turn 2", "chat turn 2 cold"]


def test_documents_come_and_go(chat: LLMChat) -> None:
    alone = chat.turn("one").round.timeline.prompt_tokens
    there = chat.turn("two", documents={"a": "x" * 50}).round.timeline.prompt_tokens
    gone = chat.turn("three", remove=["a"]).round.timeline.prompt_tokens
    assert there > alone + 50
    assert gone < there
    with pytest.raises(UsageError, match="of documents there are none"):
        chat.turn("four", remove=["a"])
    with pytest.raises(UsageError, match="a document 'a' already"):
        chat.turn("four", documents={"a": "y"})
    with pytest.raises(UsageError, match=r"what is said is 4; .*Made\(tokens=N\)"):
        chat.turn(4)  # type: ignore[arg-type]
    chat.turn("four")
    assert labels(chat) == [f"chat turn {n}" for n in (1, 2, 3, 4)]


def test_made_texts_of_turns_are_different(chat: LLMChat, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (chat.turn(Made(20)).round.timeline for _ in range(2))
    assert second.prompt_tokens == 2 * first.prompt_tokens - 1 + 4
    assert chat._open is not None
    said = [turn.user for turn in chat._open.chat.conversation.turns]
    assert said[0] != said[1]


def test_an_answer_that_a_warm_cache_changed_fails_when_the_test_is_over(chat: LLMChat) -> None:
    chat.turn("one")
    assert chat.turn("two !differs").text == "ab##"
    with pytest.raises(OutputDiffersError, match="turn 2 from its token 3 on"):
        chat.finish()
    chat.finish()
    assert chat.chats[0].kept == 2


def test_it_can_be_let_pass(runtime: Runtime) -> None:
    chat = next(chats(runtime, same_output=False))
    chat.turn("one")
    chat.turn("two !differs")
    chat.finish()


def test_a_turn_that_fails_ends_the_conversation_and_keeps_it(runtime: Runtime, loaded: list[object]) -> None:
    chat = next(chats(runtime, isolation="test"))
    chat.turn("one")
    with pytest.raises(EngineError, match="tensor of the wrong shape"):
        chat.turn("two !raise")
    assert chat.chats[0].kept == 1
    assert chat.chats[0].turn(1).processes[0].load_time is not None
    chat.turn("one")
    chat.finish()
    assert labels(chat) == ["chat turn 1", "chat turn 2", "chat 2 turn 1"]
