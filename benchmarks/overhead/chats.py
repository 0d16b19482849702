"""What does a turn of a conversation cost through the plugin, beside a bare loop with the same cache?"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import replace

from engines import LARGE, Bare, NoProgress, bench, check_same
from pairs import SETTLE, Bound, Measured, NotMeasuredError, Row

from pytest_llmbench.measure.same_output import SameOutput
from pytest_llmbench.measure.talk import ChatBench, Talk, Telling
from pytest_llmbench.measure.turns import ChatPlan, ChatRun
from pytest_llmbench.models.spec import ResolvedModel
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Made, Turn

_SETTINGS = ("n_ctx", "n_batch", "n_ubatch", "n_threads", "n_threads_batch", "n_gpu_layers")
_TURNS, _ASKED, _ANSWERED = 5, 128, 16
_SAID = Conversation(name="talk", turns=(Turn(user=Made(_ASKED)),) * _TURNS)
_ASK = "<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
"""What the template of the embedded models makes of a question; an answer before it ends first."""


def _held(rounds: int, seed: int) -> tuple[list[float], list[tuple[float, float]]]:
    """The ratios of a pair of fresh processes, of each turn but the first, and both sides' seconds."""
    coin = random.Random(seed)
    taken: list[tuple[float, float]] = []
    with bench("llamacpp", LARGE, "f16", _ANSWERED) as ours:
        model = ours.plan.engine.model
        assert isinstance(model, ResolvedModel)
        chat = ChatPlan(replace(ours.plan, prompt=None), _SAID, same_output=False)
        tell = Telling(NoProgress(), "talk", _TURNS)
        held = ChatBench(chat, ours, ChatRun.of(chat, "talk"), SameOutput("talk"), tell)
        setup = {"path": str(model.path), **{name: ours.record.engine[name] for name in _SETTINGS}}
        with Bare("llamacpp-chat", setup) as bare:
            # The first conversation warms both sides up.
            for number in range(rounds + 1):
                talk = held.talk(number + 1)
                for turn in range(1, _TURNS + 1):
                    text = held.chat.conversation.turns[turn - 1].user
                    part = ("" if turn == 1 else "<|im_end|>\n") + _ASK.format(text=text)
                    time.sleep(SETTLE)
                    if ours_first := coin.random() < 0.5:
                        first = _asked(held, talk, turn)
                        time.sleep(SETTLE)
                    seconds, output_hash = bare.ask(part, _ANSWERED, begins=turn == 1)
                    if not ours_first:
                        time.sleep(SETTLE)
                        first = _asked(held, talk, turn)
                    check_same(output_hash, ours.record.rounds[-1])
                    if number and turn > 1:
                        taken.append((first, seconds))
    return [one / other for one, other in taken], taken


def _asked(held: ChatBench, talk: Talk, turn: int) -> float:
    """Seconds to the first token of a turn, as the metric table has it."""
    (way,) = held.chat.ways(turn)
    measured, _, _ = held.one(talk, turn, way)
    first = measured.value("ttft")
    if first is None:
        msg = "a turn has no first token"
        raise NotMeasuredError(msg)
    return first


def _measure(processes: int) -> Measured:
    values, sides = [], []
    for number in range(processes):
        found, taken = _held(3, number)
        values.append(statistics.median(found))
        sides += taken
    return Measured(
        values,
        {
            "ours, s": statistics.median(ours for ours, _ in sides),
            "bare, s": statistics.median(bare for _, bare in sides),
        },
    )


ROWS = (
    Row(
        "chat-turn",
        "TTFT of a turn through `llm_chat` / a bare loop that keeps the same cache, llama.cpp, llama-82m",
        Bound(at_most=1.02),
        8,
        _measure,
    ),
)
