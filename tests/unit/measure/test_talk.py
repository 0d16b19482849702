"""In which order are the turns of a conversation asked, and what does each find?"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.errors import EngineError, LLMBenchWarning
from pytest_llmbench.measure import loop
from pytest_llmbench.measure.engine import EngineSpec, Generation, LocalEngine, Prompt
from pytest_llmbench.measure.loop import EnginePool, Plan
from pytest_llmbench.measure.same_output import OutputDiffersError
from pytest_llmbench.measure.talk import Waiting, measure_chat
from pytest_llmbench.measure.turns import ChatPlan, ChatRun
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Made, Turn
from tests.unit.measure.test_loop import Watcher

FAKES = Path(__file__).parents[2] / "fakes"
Cache = Literal["cold", "warm", "paired"]


class Waits(Waiting):
    """Writes down how long it was to wait."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Told(Progress):
    """What a person would see."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def _show(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.syspath_prepend(FAKES)
    model = ResolvedModel(ModelSpec("tiny"), "hf", Path("nowhere"), "sha256:0", 1, "f16", 1)
    options = {"context": 4096, "seconds_per_token": 0.0, "load": ""}
    spec = EngineSpec("fake", "llmbench_fake:backend", model, options, python=sys.executable)
    params = GenerationParams(max_new_tokens=4)
    return Plan(spec, params, rounds=2, warmup_rounds=0, isolation="none", timeout=60)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool, tuple[tuple[int, ...], ...]]]:
    """Every prompt that an engine gets: its last message, whether the cache was emptied before, and answers
    by their ids."""
    found: list[tuple[str, bool, tuple[tuple[int, ...], ...]]] = []
    cold: list[bool] = []
    prepare, generate = LocalEngine.prepare, LocalEngine.generate

    def prepared(self: LocalEngine, **how: Any) -> None:
        cold.append(bool(how["cold"]))
        prepare(self, **how)

    def generated(self: LocalEngine, prompt: Prompt, *args: Any, **how: Any) -> Generation:
        assert prompt.messages is not None
        found.append((prompt.messages[-1]["content"], cold[-1], prompt.answers))
        return generate(self, prompt, *args, **how)

    monkeypatch.setattr(LocalEngine, "prepare", prepared)
    monkeypatch.setattr(LocalEngine, "generate", generated)
    return found


def chat(plan: Plan, *said: str, cache: Cache = "warm", **more: Any) -> ChatPlan:
    turns = tuple(Turn(user=text) for text in said or ("one", "two", "three"))
    return ChatPlan(plan, Conversation(name="c", turns=turns, **more), cache)


def held(chat: ChatPlan, **more: Any) -> ChatRun:
    run = ChatRun.of(chat, "c")
    measure_chat(chat, run, EnginePool(), more.pop("monitor", None), more.pop("progress", Progress()), **more)
    return run


def cached(run: ChatRun) -> list[list[float | None]]:
    return [[one.value("cached_tokens") for one in of.rounds] for of in run]


def test_each_turn_of_a_warm_conversation_finds_the_one_before(plan: Plan) -> None:
    run = held(chat(plan))
    # The prompt before, and three of the four tokens that were generated.
    first, second = (run.turn(turn).rounds[0].timeline.prompt_tokens + 3 for turn in (1, 2))
    assert first == 1 + len("<user>one<assistant>") + 3
    assert cached(run) == [[0, 0], [first] * 2, [second] * 2]
    for of in run:
        assert [one.value("cached_possible") for one in of.rounds] == [
            one.value("cached_tokens") for one in of.rounds
        ]
        assert all(one.turn is not None and one.turn.same_output is not False for one in of.rounds)
    assert [r.turn.same_output for r in run.turn(3).rounds if r.turn is not None] == [True, True]


def test_a_cold_conversation_empties_the_cache_before_each_turn(plan: Plan, asked: list[Any]) -> None:
    run = held(chat(plan, cache="cold"))
    assert cached(run) == [[0, 0]] * 3
    assert [(text, cold) for text, cold, _ in asked] == [("one", True), ("two", True), ("three", True)] * 2


def test_the_warm_output_is_compared_once_the_rounds_are_over(plan: Plan, asked: list[Any]) -> None:
    held(chat(replace(plan, processes=2)))
    once = [("one", True), ("two", False), ("three", False)]
    compared = [("two", True), ("three", True)]
    # Of the second process the same prompts are known.
    assert [(text, cold) for text, cold, _ in asked] == [*once, *once, *compared, *once, *once]


def test_nothing_is_compared_where_it_is_not_to_be_or_answers_are_drawn(plan: Plan, asked: list[Any]) -> None:
    held(replace(chat(replace(plan, rounds=1)), same_output=False))
    drawn = replace(plan, rounds=1, params=replace(plan.params, temperature=1.0))
    run = held(chat(drawn))
    assert len(asked) == 6
    assert [r.turn.same_output for r in run.turn(2).rounds if r.turn is not None] == [None]


def test_a_paired_conversation_asks_each_turn_warm_and_then_cold(plan: Plan, asked: list[Any]) -> None:
    run = held(chat(replace(plan, rounds=1), cache="paired"))
    assert [(text, cold) for text, cold, _ in asked] == [
        ("one", True),
        ("two", False),
        ("two", True),
        ("three", False),
        ("three", True),
    ]
    assert run.turn(3).cached_tokens.median == run.turn(2).rounds[0].timeline.prompt_tokens + 3
    assert run.turn(3, "cold").cached_tokens.median == 0
    assert run.turn(1).cache_speedup.n == 0
    for turn in (2, 3):
        cold, warm = run.turn(turn, "cold").rounds[0].ttft, run.turn(turn).rounds[0].ttft
        assert cold is not None
        assert warm is not None
        assert run.turn(turn).cache_speedup.median == cold / warm


def test_warm_ups_are_held_in_the_same_ways_and_are_not_kept(plan: Plan, asked: list[Any]) -> None:
    run = held(replace(chat(replace(plan, rounds=1, warmup_rounds=2), "one", "two"), same_output=False))
    assert [(text, cold) for text, cold, _ in asked] == [("one", True), ("two", False)] * 3
    assert run.kept == 2


def test_live_answers_stand_in_the_history_by_their_ids(plan: Plan, asked: list[Any]) -> None:
    held(chat(replace(plan, rounds=1), cache="cold"))
    answer = tuple(map(ord, "abcd"))
    assert [answers for _, _, answers in asked] == [(), (answer,), (answer, answer)]


def test_a_recorded_history_breaks_the_reuse_at_the_first_answer(plan: Plan, asked: list[Any]) -> None:
    turns = (Turn(user="one", answer="no"), Turn(user="two"))
    conversation = Conversation(name="c", turns=turns, history="recorded")
    run = held(ChatPlan(replace(plan, rounds=1), conversation))
    assert asked[1][2] == ()
    (one,) = run.turn(2).rounds
    assert one.cached_tokens == one.cached_possible == 1 + len("<user>one<assistant>")
    assert one.cache is not None
    assert one.cache.break_at == one.cached_tokens


def test_an_answer_that_ended_is_continued_without_the_token_that_ended_it(
    plan: Plan, asked: list[Any]
) -> None:
    ends = replace(plan, rounds=1, params=replace(plan.params, ignore_eos=False, max_new_tokens=9))
    run = held(chat(ends, "one !ends", "two"))
    assert run.turn(1).rounds[0].timeline.output_tokens == 4
    assert asked[1][2] == (tuple(map(ord, "abc")),)
    assert run.turn(2).cached_tokens.median == 1 + len("<user>one !ends<assistant>abc")


def test_a_conversation_of_one_turn_is_one_run(plan: Plan) -> None:
    run = held(chat(plan, "one", cache="paired"))
    assert cached(run) == [[0, 0]]
    assert run.cache_hit_rate == 0


def test_think_time_is_waited_before_each_way_of_every_turn_but_the_first(plan: Plan) -> None:
    turns = (Turn(user="one", think_time=50), Turn(user="two", think_time=70), Turn(user="three"))
    waits = Waits()
    conversation = Conversation(name="c", turns=turns)
    warm = replace(plan, rounds=1, warmup_rounds=1)
    run = held(ChatPlan(warm, conversation, "paired"), wait=waits)
    assert len(waits.seconds) == 2
    assert all(0 < seconds <= 70 for seconds in waits.seconds)
    # It is not part of any time.
    assert all(one.ttft is not None and one.ttft < 50 for one in run.turn(2).rounds)
    assert [one.turn.think_time for of in run for one in of.rounds if one.turn is not None] == [
        0,
        70,
        70,
        0,
        0,
    ]


def test_made_texts_are_the_same_in_each_process_and_others_for_each_turn(
    plan: Plan, asked: list[Any]
) -> None:
    turns = (Turn(user=Made(6)), Turn(user=Made(6, before="What is this?")))
    held(ChatPlan(replace(plan, rounds=1, processes=2), Conversation(name="c", turns=turns), "cold"))
    texts = [text for text, _, _ in asked]
    assert texts[:2] == texts[2:]
    assert texts[1].startswith("What is this?\n\n")
    assert texts[0] not in texts[1]


def test_what_was_measured_before_an_engine_fails_is_kept(plan: Plan) -> None:
    said = chat(replace(plan, warmup_rounds=0), "one", "two", "three !raise !after=5")
    run = ChatRun.of(said, "c")
    with pytest.raises(RuntimeError):
        measure_chat(said, run, EnginePool(), None, Progress())
    assert [len(of.rounds) for of in run] == [2, 2, 1]
    assert run.turn(1).processes[0].load_time is not None


def test_an_error_says_how_many_turns_are_kept(plan: Plan) -> None:
    said = chat(replace(plan, isolation="test", rounds=1), "one", "two !raise")
    run = ChatRun.of(said, "c")
    with pytest.raises(EngineError) as caught:
        measure_chat(said, run, EnginePool(), None, Progress())
    assert caught.value.__notes__[-1] == "1 measured turns are kept."


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_keeps_every_turn_that_was_over(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, how: type[BaseException]
) -> None:
    class Interrupts(Waiting):
        def __call__(self, seconds: float) -> None:
            raise how

    turns = (Turn(user="one"), Turn(user="two"), Turn(user="three", think_time=60))
    said = ChatPlan(plan, Conversation(name="c", turns=turns))
    run = ChatRun.of(said, "c")
    with pytest.raises(how):
        measure_chat(said, run, EnginePool(), None, Progress(), Interrupts())
    assert [len(of.rounds) for of in run] == [1, 1, 0]


def test_what_was_measured_is_kept_where_the_engine_cannot_be_given_back(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(self: object) -> None:
        raise OSError

    monkeypatch.setattr(loop.Bench, "close", close)
    said = chat(plan)
    run = ChatRun.of(said, "c")
    with pytest.raises(OSError):  # noqa: PT011  # it says nothing
        measure_chat(said, run, EnginePool(), None, Progress())
    assert run.kept == 6
    assert run.turn(1).processes[0].load_time is not None


@pytest.mark.parametrize("cache", ["warm", "paired"])
def test_a_warm_output_that_differs_fails_when_all_is_measured(plan: Plan, cache: Cache) -> None:
    said = chat(plan, "one", "two", "three !differs", cache=cache)
    run = ChatRun.of(said, "c")
    told = r"turn 3 from its token 3 on \(logits 1 apart, rounding up to 0.001\), turn 3 \(round 2\)"
    with pytest.raises(OutputDiffersError, match=told):
        measure_chat(said, run, EnginePool(), None, Progress())
    assert [len(of.rounds) for of in run] == [2] * len(run.runs)
    assert [r.turn.same_output for r in run.turn(3).rounds if r.turn is not None] == [False, False]
    assert [r.turn.same_output for r in run.turn(2).rounds if r.turn is not None] == [True, True]


def test_where_answers_differ_the_history_goes_on_with_what_the_cache_has(
    plan: Plan, asked: list[Any]
) -> None:
    said = chat(replace(plan, rounds=1), "one", "two !differs", "three", cache="paired")
    run = held(replace(said, same_output=False))
    # Turn 2 was abcd with a cold cache, and ab## with a warm one.
    assert asked[-1][2][1] == tuple(map(ord, "abcd"))
    (third,) = run.turn(3).rounds
    assert third.cached_tokens == third.cached_possible == run.turn(2).rounds[0].timeline.prompt_tokens + 3


@pytest.mark.parametrize("cache", ["warm", "paired"])
def test_a_tie_is_warned_of_and_the_conversation_goes_on_by_what_was_said_last(
    plan: Plan, asked: list[Any], cache: Cache
) -> None:
    with pytest.warns(LLMBenchWarning, match=r"2 warm turns had .*turn 2 from its token 3 on"):
        run = held(chat(replace(plan, rounds=1), "one", "two !ties", "three", cache=cache))
    facts = [one.turn for turn in (2, 3) for one in run.turn(turn).rounds]
    # The third has the words of the second before it.
    assert [(one.same_output, one.tie) for one in facts if one is not None] == [(False, True)] * 2
    (third,) = run.turn(3).rounds
    before = run.turn(2).rounds[0].timeline.prompt_tokens
    assert third.cached_tokens == third.cached_possible == before + 3


def test_hits_beyond_what_is_possible_make_the_round_invalid(plan: Plan) -> None:
    run = held(chat(plan, "one", "two !overclaims"))
    assert run.turn(1).invalid is None
    assert run.turn(2).invalid is not None
    assert "are said to have come from the cache (cut)" in run.turn(2).invalid
    assert run.turn(2).ttft.n == 0
    assert len(run.turn(2).rounds) == 2


def test_the_peak_of_memory_is_taken_before_output_is_compared(plan: Plan) -> None:
    class Peaks(Watcher):
        peaks = 0

        def peak_rss_of(self, pid: int) -> int | None:
            self.peaks += 1
            return self.peaks << 41

    watcher = Peaks()
    run = held(chat(replace(plan, isolation="test", rounds=1)), monitor=watcher)
    assert run.turn(1).peak_rss.median == 1 << 41
    assert watcher.peaks == 1
    assert [of.disturbance for of in run] == [("steal",)] * 3
    assert all(of.processes[0].hardware is not None for of in run)


def test_a_person_is_told_which_turn_is_asked(plan: Plan) -> None:
    told = Told()
    held(chat(replace(plan, rounds=1, warmup_rounds=1, processes=2), "one", "two"), progress=told)
    assert "fake tiny, turn 2/2: process 2/2, round 1/1" in told.lines
    assert "fake tiny, turn 1/2: process 1/2, warm-up round 1/1" in told.lines
    assert "fake tiny: comparing warm output with cold output" in told.lines
