"""Is the base side's server what --llm-ab says, and is refused what it cannot be?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.bench.base_server import base_server
from pytest_llmbench.bench.serving import Asked
from pytest_llmbench.cases.selection import CaseParam, Selector, ServerChoice
from pytest_llmbench.errors import LLMBenchError, UsageError
from pytest_llmbench.gate.ab import parse_base_side
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.servers.openai import OpenAIBackend
from pytest_llmbench.settings.sources import Precedence

URL = "http://127.0.0.1:8000/v1"
OTHER = "http://127.0.0.1:9000/v1"


def base_of(ab: str, *, engine: str | None = None, **spec: Any) -> tuple[Asked, Asked]:
    """The servers of both sides, (base, now)."""
    backend = OpenAIBackend()
    choice = ServerChoice(base_url=URL, alone=False) if engine is None else ServerChoice(engine=engine)
    case = CaseParam(backend, ModelSpec(spec.pop("name", "tiny"), **spec), choice)
    now = Asked(choice, case.spec, option_values(backend, {"retries": 2}), "/new/python")
    selector = Selector(Registry(), Precedence(), None)
    return base_server(case, now, parse_base_side(ab), selector), now


def test_a_server_that_is_started_has_another_interpreter_and_other_variables() -> None:
    base, now = base_of("python=/old/python env.A=1 env.B=2", engine="vllm")
    assert (base.python, now.python) == ("/old/python", "/new/python")
    assert base.environment == {"A": "1", "B": "2"}
    assert (base.choice, base.spec, base.options) == (now.choice, now.spec, now.options)
    assert base.key != now.key


def test_a_server_that_is_started_has_another_model_or_quantization() -> None:
    base, _ = base_of("model=synthetic/llama-82m", engine="llamacpp-server", quantization="q8_0")
    assert (base.spec.name, base.spec.quantization) == ("synthetic/llama-82m", "q8_0")
    base, _ = base_of("quantization=q4_0", engine="llamacpp-server", quantization="q8_0")
    assert (base.spec.name, base.spec.quantization) == ("tiny", "q4_0")


def test_options_of_the_base_side_come_over_those_of_the_case() -> None:
    base, _ = base_of("openai.arguments=--enforce-eager", engine="vllm")
    assert (base.options["arguments"], base.options["retries"]) == ("--enforce-eager", 2)


def test_another_server_that_runs_is_asked_with_the_options_of_the_case() -> None:
    base, _ = base_of(f"base_url={OTHER} model=other")
    assert (base.choice.base_url, base.spec.name, base.options["retries"]) == (OTHER, "other", 2)
    assert not base.starts
    base, _ = base_of(f"base_url={OTHER}", engine="vllm")
    assert not base.starts


def test_one_server_that_runs_can_be_asked_for_two_models() -> None:
    base, now = base_of("model=adapter")
    assert base.choice == now.choice
    assert (base.spec.name, now.spec.name) == ("adapter", "tiny")


def test_sides_that_are_the_same_server_share_it() -> None:
    base, now = base_of("openai.retries=2")
    assert base.key == now.key


@pytest.mark.parametrize("key", ["python=x", "env.A=1", "quantization=q8_0", "openai.arguments=--x"])
def test_what_is_of_a_start_is_refused_for_a_server_that_runs(key: str) -> None:
    name = key.partition("=")[0]
    with pytest.raises(UsageError, match=f"{name} cannot be set, because {URL} runs already: .*base_url="):
        base_of(key)
    with pytest.raises(UsageError, match=f"{name} cannot be set, because {OTHER} runs already: leave it out"):
        base_of(f"base_url={OTHER} {key}", engine="vllm")


@pytest.mark.parametrize(
    ("ab", "engine", "message"),
    [
        ("python=x", "docker:vllm", "docker:vllm is not run by an interpreter .* openai.image=IMAGE"),
        ("python=x", "llama-server", "llama-server is not run by an interpreter .* base_url="),
        ("openai.image=x", "vllm", "vllm is started without a container; serve docker:vllm"),
        ("quantization=q8_0", "vllm", "vllm takes a model as it is: quantization 'q8_0' is not made"),
        ("quantization=q9", "llamacpp-server", "llamacpp-server has no quantization 'q9'"),
        ("model=tinny", "vllm", "tinny.*tiny"),
        ("openai.argumens=x", "vllm", "has no option 'argumens'; did you mean 'arguments'"),
        ("llamacpp.n_threads=1", "vllm", "llamacpp.n_threads does not change: give base_url="),
    ],
)
def test_what_a_server_that_is_started_cannot_have_is_refused(ab: str, engine: str, message: str) -> None:
    with pytest.raises(LLMBenchError, match=message):
        base_of(ab, engine=engine)
