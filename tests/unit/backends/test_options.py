"""Are engine options read as they are meant, and refused where they cannot be meant?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_llmbench.backends.base import Availability, Engine, OptionSpec
from pytest_llmbench.backends.llamacpp import LlamaCppBackend
from pytest_llmbench.backends.options import option_values, parse_option
from pytest_llmbench.backends.transformers import TransformersBackend
from pytest_llmbench.errors import UsageError


class Described:
    """A backend of which only the options matter."""

    name = "described"
    extra = "described"
    form = "gguf"
    quantizations = ("q8_0",)
    modules: tuple[str, ...] = ()
    options = (
        OptionSpec("n_threads", int, None, "threads"),
        OptionSpec("scale", float, 1.0, "a factor"),
        OptionSpec("use_mmap", bool, True, "map the file"),
        OptionSpec("flash_attn", str, "auto", "flash attention", ("auto", "on", "off")),
    )

    def availability(self) -> Availability:
        return Availability(True)

    def versions(self) -> Mapping[str, str]:
        return {}

    def load(self, model: Any, options: Mapping[str, Any]) -> Engine:
        raise AssertionError


def test_an_option_is_split_into_backend_name_and_value() -> None:
    assert parse_option("llamacpp.n_threads=2") == ("llamacpp", "n_threads", "2")


def test_a_value_may_hold_dots_and_equals_signs() -> None:
    assert parse_option("server.base_url=http://h.test/v1?a=b") == (
        "server",
        "base_url",
        "http://h.test/v1?a=b",
    )


@pytest.mark.parametrize("text", ["n_threads=2", "llamacpp.n_threads", ".n_threads=2", "llamacpp.=2", ""])
def test_an_option_without_backend_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"BACKEND\.NAME=VALUE"):
        parse_option(text)


def test_what_is_not_given_has_its_default() -> None:
    assert option_values(Described(), {}) == {
        "n_threads": None,
        "scale": 1.0,
        "use_mmap": True,
        "flash_attn": "auto",
    }


def test_text_is_converted_to_the_options_type() -> None:
    given = {"n_threads": "2", "scale": "0.5", "use_mmap": "no", "flash_attn": "on"}
    assert option_values(Described(), given) == {
        "n_threads": 2,
        "scale": 0.5,
        "use_mmap": False,
        "flash_attn": "on",
    }


def test_typed_values_are_taken_as_they_are() -> None:
    values = option_values(Described(), {"n_threads": 2, "scale": 3, "use_mmap": False, "flash_attn": None})
    assert values == {"n_threads": 2, "scale": 3.0, "use_mmap": False, "flash_attn": "auto"}


@pytest.mark.parametrize("word", ["true", "True", "1", "yes", "on"])
def test_a_switch_is_turned_on_by_the_usual_words(word: str) -> None:
    assert option_values(Described(), {"use_mmap": word})["use_mmap"] is True


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_threads", "two"), ("n_threads", True), ("n_threads", 2.5), ("use_mmap", "maybe"), ("use_mmap", 1)],
)
def test_a_value_of_another_type_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"described\.{name}"):
        option_values(Described(), {name: value})


def test_a_value_outside_the_choices_is_refused_with_the_choices() -> None:
    with pytest.raises(UsageError, match=r"auto, on, off.*did you mean 'auto'"):
        option_values(Described(), {"flash_attn": "auot"})


def test_an_unknown_option_is_refused_with_what_there_is() -> None:
    with pytest.raises(
        UsageError, match=r"no option 'n_thread'; did you mean 'n_threads'.*use_mmap \(bool\)"
    ):
        option_values(Described(), {"n_thread": "2"})


@pytest.mark.parametrize("backend", [LlamaCppBackend(), TransformersBackend()])
def test_every_default_of_an_engine_is_a_value_that_it_takes(backend: Any) -> None:
    defaults = option_values(backend, {})
    given = {name: str(value) for name, value in defaults.items() if value is not None}
    assert option_values(backend, given) == defaults


@pytest.mark.parametrize("value", ["true", "True", "1", "false"])
def test_remote_code_is_not_trusted_by_a_mere_yes(value: str) -> None:
    with pytest.raises(UsageError, match="name of the model"):
        option_values(TransformersBackend(), {"trust_remote_code": value})


def test_remote_code_is_not_trusted_by_a_python_true() -> None:
    with pytest.raises(UsageError, match="name of the model"):
        option_values(TransformersBackend(), {"trust_remote_code": True})


def test_remote_code_is_trusted_by_the_models_name() -> None:
    values = option_values(TransformersBackend(), {"trust_remote_code": "org/name"})
    assert values["trust_remote_code"] == "org/name"


@pytest.mark.parametrize("name", ["n_threads", "n_ctx", "n_batch"])
def test_a_number_below_its_minimum_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"llamacpp.{name}=0: at least 1 is needed"):
        option_values(LlamaCppBackend(), {name: 0})


@pytest.mark.parametrize("value", [2**31, "2147483648", 10**400, "9" * 400])
def test_a_whole_number_that_no_c_int_holds_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="at most 2147483647 is possible"):
        option_values(Described(), {"n_threads": value})


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", float("nan"), float("inf"), 10**400])
def test_a_number_that_is_not_finite_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="a number is needed"):
        option_values(Described(), {"scale": value})
