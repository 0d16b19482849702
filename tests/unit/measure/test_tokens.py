"""Are tokens counted in a process of their own, by the tokenizer that is named?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmbench.errors import EngineError, LLMBenchError
from pytest_llmbench.measure.engine import Prompt
from pytest_llmbench.measure.tokens import TokenCounter, TokenizerSpec
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Made, Turn

FAKE = "tests.fakes.llmbench_fake:backend"
OPTIONS = {"context": 4096, "seconds_per_token": 0.0, "load": ""}


@pytest.fixture
def counter() -> Iterator[TokenCounter]:
    counter = TokenCounter(TokenizerSpec(FAKE, ModelSpec("tiny"), Path(), OPTIONS))
    yield counter
    counter.close()


def test_a_text_and_a_chat_are_counted(counter: TokenCounter) -> None:
    assert counter.count(Prompt(text="Hello")) == 6
    assert counter.count(Prompt(messages=({"role": "user", "content": "Hello"},))) == 1 + len(
        "<user>Hello<assistant>"
    )


def test_turns_have_all_that_was_said_before_them(counter: TokenCounter) -> None:
    turns = (Turn(user="aa", answer="bbb"), Turn(user=Made(50)))
    live = Conversation(name="c", turns=turns)
    first = 1 + len("<user>aa<assistant>")
    # Made texts have the tokens of their own beginning too.
    second = first + len("<user>") + 49 + len("<assistant>")
    assert counter.turns(live, [5, 5]) == [first, second + 5]
    recorded = Conversation(name="c", turns=turns, history="recorded")
    assert counter.turns(recorded, [5, 5]) == [first, second + 3]


def test_what_cannot_be_counted_is_an_error_and_the_next_is_counted(counter: TokenCounter) -> None:
    with pytest.raises(LLMBenchError):
        counter.turns(Conversation(name="c", turns=(Turn(user=Made(1)),)), [5])
    assert counter.count(Prompt(text="Hello")) == 6


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("tests.unit.measure.test_tokens:NOTHING", "cannot be imported|is not a backend"),
        ("tests.unit.measure.test_tokens:WITHOUT", "cannot count tokens without the weights"),
    ],
)
def test_a_backend_that_cannot_count_says_so(backend: str, message: str) -> None:
    with pytest.raises((EngineError, LLMBenchError), match=message):
        TokenCounter(TokenizerSpec(backend, ModelSpec("tiny"), Path(), OPTIONS))


class _Without:
    """A backend that has everything but a vocabulary of its own."""

    name = "without"
    extra = ""
    form = "hf"
    quantizations = ()
    options = ()
    modules = ()

    def availability(self) -> None: ...

    def versions(self) -> None: ...

    def load(self) -> None: ...


WITHOUT = _Without()
NOTHING = 1
