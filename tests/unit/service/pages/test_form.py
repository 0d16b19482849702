"""Is what a person filled in kept, and what is not valid said beside its field?"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_llmbench.service.pages.form import (
    MOST_CHOSEN,
    BackendChoice,
    Choices,
    Form,
    Wanted,
    empty_form,
    read_form,
)

CHOICES = Choices(
    models=("tiny", "synthetic/llama-82m"),
    backends=(BackendChoice("llamacpp"), BackendChoice("vllm", "it is not installed")),
    quantizations=("f16", "q8_0"),
    presets=(("chatbot", "A person writes"),),
    suites=(("latency", ""),),
)
VALID = {"models": ["tiny"], "backends": ["llamacpp"], "prompt": ["Hello"]}


def sent(**fields: Sequence[str]) -> tuple[Form, Wanted | None]:
    given = {**VALID, **fields}
    return read_form(
        CHOICES,
        lambda name: next(iter(given.get(name, [])), ""),
        lambda name: given.get(name, []),
    )


def test_a_valid_form_asks_for_what_it_says() -> None:
    form, wanted = sent(quantizations=["f16", "q8_0"], rounds=["3"], preset=["chatbot"])

    assert form.problems == {}
    assert wanted == Wanted(
        suite=None,
        models=("tiny",),
        backends=("llamacpp",),
        quantizations=("f16", "q8_0"),
        preset="chatbot",
        prompt="Hello",
        settings={"rounds": 3},
    )


def test_a_suite_has_its_own_models_and_prompts() -> None:
    _, wanted = sent(suite=["latency"], models=[], prompt=["Hello"])

    assert wanted is not None
    assert (wanted.suite, wanted.models, wanted.prompt) == ("latency", (), None)


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        ("models", ["tinyy"], "there is no 'tinyy' here; did you mean 'tiny'?"),
        ("models", [], "choose a model, or a suite that names its own"),
        ("models", ["tiny"] * (MOST_CHOSEN + 1), f"choose {MOST_CHOSEN} at most"),
        ("backends", [], "choose a backend"),
        ("backends", ["vllm"], "there is no 'vllm' here"),
        ("quantizations", ["<script>"], "there is no '<script>' here"),
        ("suite", ["../../etc/passwd"], "there is no '../../etc/passwd' here"),
        ("preset", ["chat"], "there is no 'chat' here; did you mean 'chatbot'?"),
        ("prompt", ["  "], "write a prompt, or choose a suite"),
        ("prompt", ["x" * 100_001], "the prompt may have 100,000 characters"),
        ("rounds", ["0"], "'0' is not a whole number of at least 1, at most 10000000"),
        ("rounds", ["many"], "'many' is not a whole number of at least 1, at most 10000000"),
        ("max_new_tokens", ["1e999"], "'1e999' is not a whole number of at least 1, at most 10000000"),
    ],
)
def test_what_is_not_valid_is_said_beside_its_field(field: str, values: list[str], said: str) -> None:
    form, wanted = sent(**{field: values})

    assert wanted is None
    assert form.problems == {field: said}


def test_nothing_that_was_typed_is_lost() -> None:
    form, _ = sent(rounds=["many"], max_new_tokens=["12"], prompt=[" As typed\n"], quantizations=["q8_0"])

    assert form.text == {"prompt": " As typed\n", "max_new_tokens": "12", "rounds": "many", "processes": ""}
    assert form.chosen_quantizations == ("q8_0",)
    assert form.more


def test_the_first_form_has_what_most_people_mean() -> None:
    form = empty_form(CHOICES)

    assert (form.chosen_models, form.chosen_backends, form.problems) == (("tiny",), ("llamacpp",), {})
    assert not form.more
    assert [number.default for number in form.numbers] == ["64", "5", "1"]
