"""Is it known what a benchmark would ask, and why where it is not?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.bench.listing import IN_THE_TEST, Lister
from pytest_llmbench.cases.case import Case
from pytest_llmbench.cases.room import Space
from pytest_llmbench.cases.target import EngineTarget, ServerTarget
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.settings.case import CaseSettings
from pytest_llmbench.settings.suite_rows import Asked
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Turn
from pytest_llmbench.workloads.tasks import task_of
from tests.fakes import llmbench_fake

FAKE = EngineTarget(llmbench_fake.backend)
TINY = ModelSpec("tiny")


@pytest.fixture
def lister(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lister]:

    monkeypatch.setattr("pytest_llmbench.bench.listing.kept_place", lambda spec, form: Path())
    lister = Lister(Registry(), Space(), sys.executable)
    yield lister
    lister.close()


def listed(lister: Lister, target: Any, asked: Asked | None, fixture: Any = "llm_model", **more: Any) -> Any:
    held = CaseSettings(**{"max_new_tokens": 4, **more})
    return lister.listed(fixture, Case(target, TINY), held, asked)


def test_made_and_written_prompts_have_their_tokens(lister: Lister) -> None:
    made = listed(lister, FAKE, Asked(prompt_tokens=100), depth=10)
    assert (made.prompts, made.answers, made.context) == ((110,), (4,), 114)
    assert made.memory.cache == 114 * 6144
    written = listed(lister, FAKE, Asked(prompt="Hello"), depth=10)
    assert (written.prompts, written.context, written.unknown) == ((16,), 20, None)
    task = listed(lister, FAKE, Asked(task="summarization"), seed=1)
    assert task.prompts == (1 + len(task_of("summarization", 1).prompt),)
    made = listed(lister, FAKE, Asked(task="summarization", prompt_tokens=50))
    assert made.prompts == (50,)


def test_turns_of_a_conversation_have_what_was_said_before(lister: Lister) -> None:
    turns = (Turn(user="Hello", answer="Hello!"), Turn(user="And then?", max_new_tokens=9))
    talk = Conversation(name="c", turns=turns)
    found = listed(lister, FAKE, Asked(conversation=talk), "llm_chat")
    assert found.answers == (4, 9)
    first, second = found.prompts
    assert second == first + 4 + len("<user>And then?<assistant>")
    # Under load a conversation has the answers that it gives.
    under_load = listed(lister, FAKE, Asked(conversation=talk), "llm_load")
    assert under_load.prompts == (first, second + 2)
    assert found.context == second + 9


def test_what_only_the_test_or_the_server_knows_is_not_known(
    lister: Lister, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listed(lister, FAKE, None).unknown == IN_THE_TEST
    runs = ServerTarget(base_url="http://h/v1")
    assert listed(lister, runs, Asked(prompt="Hello")).unknown == "the server has the tokenizer"
    monkeypatch.setattr("pytest_llmbench.bench.listing.kept_place", lambda spec, form: None)
    assert listed(lister, FAKE, Asked(prompt="Hello")).unknown == "the model's files are not here yet"


def test_a_tokenizer_that_fails_is_told_of_every_prompt(lister: Lister) -> None:
    broken = EngineTarget(Registry().get("llamacpp"))
    pytest.importorskip("llama_cpp")
    first, second = (listed(lister, broken, Asked(prompt=text)).unknown for text in "ab")
    assert first == second
    assert "llama.cpp cannot load" in first


def test_requests_under_load_are_of_middle_lengths(lister: Lister) -> None:
    starts = ServerTarget(engine="vllm")
    made = listed(lister, starts, Asked(), "llm_load", prompt_length="uniform:10:30", output_length="5")
    assert (made.prompts, made.answers, made.context) == ((20,), (5,), 25)
    other = listed(lister, starts, Asked(), "llm_load", dataset="a.jsonl")
    assert (other.prompts, other.unknown) == (None, "its data set has them")
