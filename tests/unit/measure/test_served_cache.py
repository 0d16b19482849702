"""Does a request to a server find what it is to find, and is what it can have found counted apart?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.measure.engine import CacheUse, Generation, Prompt
from pytest_llmbench.measure.served import ServedEngine
from pytest_llmbench.workloads.messages import Message
from tests.fakes.openai_server import fake_server
from tests.fakes.prompt_cache import LLAMA, UNKNOWN, VLLM, CachingServer

PARAMS = GenerationParams(max_new_tokens=4)
Made = Callable[..., tuple[CachingServer, ServedEngine]]


@pytest.fixture
def made() -> Iterator[Made]:
    """A server that keeps what it is asked, and a client of it."""
    engines: list[ServedEngine] = []
    with fake_server(seconds_per_token=0.0) as answering:

        def make(*args: Any, **how: Any) -> tuple[CachingServer, ServedEngine]:
            server = CachingServer(answering, *args, **how)
            engines.append(ServedEngine(server, 60))
            return server, engines[-1]

        yield make
        for engine in engines:
            engine.close()


def said(*texts: str) -> Prompt:
    """A chat: what a person says and what was answered, by turns."""
    roles = ("user", "assistant")
    return Prompt(messages=tuple(Message(role=roles[n % 2], content=text) for n, text in enumerate(texts)))


ONE = said("one two three")
TWO = said("one two three", "word0 word1 word2 word3", "four five")
OTHER = said("one two six", "word0", "four")


def ask(engine: ServedEngine, prompt: Prompt, *, cold: bool = False, begins: bool = False) -> CacheUse:
    engine.prepare(cold=cold, begins=begins)
    return use_of(engine, engine.generate(prompt, PARAMS))


def use_of(engine: ServedEngine, generation: Generation) -> CacheUse:
    use = engine.reuse(generation)
    assert use is not None
    assert engine.reuse(generation) is None
    return use


@pytest.mark.parametrize("row", [VLLM, LLAMA])
def test_a_turn_finds_the_turn_before_and_nothing_of_another_time(made: Made, row: Any) -> None:
    server, engine = made(row)
    for _ in range(2):
        first = ask(engine, ONE, cold=True, begins=True)
        assert (first.tokens, first.possible, first.source) == (0, 0, "usage")
        second = ask(engine, TWO)
        # The prompt, and of the four tokens of the answer all but the last.
        assert (second.tokens, second.possible, second.break_at) == (6, 6, None)
        left = ask(engine, OTHER)
        assert (left.tokens, left.possible) == (2, 2)
        assert left.break_at == 2
    assert server.had == [0, 6, 2] * 2


@pytest.mark.parametrize("row", [VLLM, LLAMA])
def test_a_cold_turn_finds_nothing_and_takes_nothing_from_the_next_warm_one(made: Made, row: Any) -> None:
    server, engine = made(row)
    ask(engine, ONE, cold=True, begins=True)
    cold = ask(engine, ONE, cold=True)
    assert (cold.tokens, cold.possible, cold.break_at) == (0, 0, None)
    warm = ask(engine, TWO)
    assert (warm.tokens, warm.possible) == (6, 6)
    assert server.had == [0, 0, 6]


def test_what_keeps_requests_apart_is_said_as_the_server_knows_it(made: Made) -> None:
    server, engine = made(VLLM)
    ask(engine, ONE, cold=True, begins=True)
    ask(engine, ONE, cold=True)
    ask(engine, TWO)
    first, cold, warm = (body["cache_salt"] for body in server.bodies)
    assert first == warm != cold
    assert all("cache_prompt" not in body for body in server.bodies)

    server, engine = made(LLAMA)
    ask(engine, ONE, cold=True)
    ask(engine, ONE, cold=True, begins=True)
    ask(engine, TWO)
    told = [(body.get("cache_prompt"), body.get("id_slot")) for body in server.bodies]
    # Only a conversation needs a slot of its own.
    assert told == [(False, None), (False, 0), (True, 0)]


def test_a_turn_may_find_any_turn_before_it_where_all_are_kept(made: Made) -> None:
    _, engine = made(VLLM)
    ask(engine, ONE, cold=True, begins=True)
    ask(engine, OTHER)
    again = ask(engine, TWO)
    assert (again.tokens, again.possible) == (6, 6)
    _, engine = made(LLAMA)
    ask(engine, ONE, cold=True, begins=True)
    ask(engine, OTHER)
    again = ask(engine, TWO)
    assert (again.tokens, again.possible) == (2, 2)


def test_what_can_be_had_is_in_whole_blocks(made: Made) -> None:
    _, engine = made(VLLM, block=4)
    ask(engine, ONE, cold=True, begins=True)
    use = ask(engine, TWO)
    assert (use.tokens, use.possible, use.block) == (4, 4, 4)


def test_an_answer_that_does_not_stand_in_the_next_prompt_cannot_be_found(made: Made) -> None:
    _, engine = made(VLLM)
    ask(engine, ONE, cold=True, begins=True)
    use = ask(engine, said("one two three", "another answer", "four"))
    assert (use.tokens, use.possible) == (3, 3)


def test_the_ids_of_an_answer_are_learned_where_nothing_is_timed(made: Made) -> None:
    server, engine = made(VLLM, odd="word1")
    ask(engine, ONE, cold=True, begins=True)
    # All of the text may be there, as far as is known.
    use = ask(engine, TWO)
    assert (use.tokens, use.possible) == (4, 6)
    assert not any("return_token_ids" in body for body in server.bodies)
    engine.prepare(cold=True, begins=True, timed=False)
    engine.generate(ONE, PARAMS)
    assert server.bodies[-1]["return_token_ids"] is True
    ask(engine, ONE, cold=True, begins=True)
    use = ask(engine, TWO)
    assert "return_token_ids" not in server.bodies[-1]
    assert (use.tokens, use.possible, use.break_at) == (4, 4, 4)


def test_counters_tell_where_answers_do_not(made: Made) -> None:
    _, engine = made(VLLM, tells=False)
    assert ask(engine, ONE, cold=True, begins=True).source == "counters"
    use = ask(engine, TWO)
    assert (use.tokens, use.source, use.possible) == (6, "counters", 6)


def test_counters_that_others_moved_tell_nothing(made: Made) -> None:
    _, engine = made(VLLM, tells=False, others=5)
    use = ask(engine, ONE, cold=True, begins=True)
    assert (use.tokens, use.source) == (None, None)
    assert use.reason is not None
    assert "8 tokens while the prompt has 3: other requests were there" in use.reason
    assert "unless it is started with --details" in use.reason


def test_what_is_not_told_is_not_known_and_not_0(made: Made) -> None:
    _, engine = made(LLAMA, tells=False)
    ask(engine, ONE, cold=True, begins=True)
    use = ask(engine, TWO)
    assert (use.tokens, use.possible) == (None, 6)
    assert use.reason == "the server does not say how many tokens its cache had"
    _, engine = made(VLLM, tells=False, off=True)
    assert ask(engine, ONE, cold=True, begins=True).reason == (
        "the server was started without a cache of prefixes"
    )


def test_ids_that_are_not_those_of_the_request_count_nothing(made: Made) -> None:
    server, engine = made(VLLM)
    ask(engine, ONE, cold=True, begins=True)
    server.server.prompt_tokens = 17
    assert ask(engine, TWO).possible is None
    server.server.prompt_tokens = None
    # What it left is not known either.
    assert ask(engine, TWO).possible is None
    ask(engine, ONE, cold=True, begins=True)
    assert ask(engine, TWO).possible == 6


def test_a_request_of_which_nobody_asked_what_it_found_leaves_what_is_not_known(made: Made) -> None:
    _, engine = made(VLLM)
    engine.prepare(cold=True, begins=True)
    engine.generate(ONE, PARAMS)
    assert ask(engine, TWO).possible is None


def test_a_server_that_does_not_obey_shows_it(made: Made) -> None:
    _, engine = made(VLLM, obeys=False)
    ask(engine, ONE, cold=True, begins=True)
    cold = ask(engine, ONE, cold=True)
    # It had some all the same, and what else it has is not known.
    assert (cold.tokens, cold.possible) == (2, None)


def test_a_server_of_which_nothing_is_known_gets_words_of_its_own_with_each_cold_prompt(made: Made) -> None:
    server, engine = made(UNKNOWN)
    assert engine.own_words
    ask(engine, ONE, cold=True, begins=True)
    warm, cold = ask(engine, TWO), ask(engine, TWO, cold=True)
    first, second, third = (
        body["messages"][0]["content"].removesuffix(" one two three") for body in server.bodies
    )
    assert first == second != third
    # Three words of its own came before.
    assert server.had == [0, 9, 0]
    assert (warm.tokens, warm.possible) == (9, None)
    assert (cold.tokens, cold.possible) == (0, None)


def test_words_of_its_own_are_no_part_of_what_a_prompt_is_known_by(made: Made) -> None:
    """A baseline has to have the same prompt, and these words are others in each session."""
    server, engine = made(UNKNOWN)
    known = []
    for prompt in (ONE, ONE, TWO):
        engine.prepare(cold=True, begins=True)
        known.append(engine.generate(prompt, PARAMS))
        assert known[-1].own_words
    assert server.bodies[0] != server.bodies[1]
    hashes = [one.timeline.prompt_hash for one in known]
    assert hashes[0] == hashes[1] != hashes[2]
    _, other = made(VLLM)
    other.prepare(cold=True, begins=True)
    salted = other.generate(ONE, PARAMS)
    assert (salted.own_words, salted.timeline.prompt_hash) == (False, hashes[0])


def test_a_server_that_refuses_the_key_gets_words_instead(made: Made) -> None:
    server, engine = made(VLLM)
    assert not engine.own_words
    server.server.refuses = ("cache_salt",)
    ask(engine, ONE, cold=True, begins=True)
    assert engine.own_words
    ask(engine, ONE, cold=True, begins=True)
    assert server.bodies[-1]["messages"][0]["content"].split()[3:] == ["one", "two", "three"]


def test_nothing_is_said_where_a_request_is_to_find_whatever_is_there(made: Made) -> None:
    server, engine = made(UNKNOWN)
    use = ask(engine, ONE)
    assert server.bodies[0]["messages"] == list(ONE.messages or ())
    assert not {"cache_salt", "cache_prompt", "id_slot"} & server.bodies[0].keys()
    assert (use.tokens, use.possible) == (0, None)
