"""What can be started, what did a person fill in, and what of that is not valid?

Nothing that was typed is lost: a form that is not valid comes back as it was sent, with the reason beside
each field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.settings.case import SETTINGS

DEFAULT_PROMPT = "Explain what a benchmark is in three sentences."
LONGEST_PROMPT = 100_000
"""Characters."""
MOST_CHOSEN = 50
"""Of one list: their product is what would be measured."""

NUMBERS = ("max_new_tokens", "rounds", "processes")
"""Settings of a case that have a field."""
MORE = ("preset", *NUMBERS)
"""Fields that are folded away until one of them is filled in."""


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """A backend; *missing* says why it cannot run here."""

    name: str
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """A field for a number: a setting of a case."""

    name: str
    label: str
    default: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What there is to choose from."""

    models: tuple[str, ...]
    backends: tuple[BackendChoice, ...]
    quantizations: tuple[str, ...]
    presets: tuple[tuple[str, str], ...]
    """Each with what it is for."""
    suites: tuple[tuple[str, str], ...]
    """Likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form as it is shown."""

    models: tuple[str, ...]
    backends: tuple[BackendChoice, ...]
    quantizations: tuple[str, ...]
    presets: tuple[tuple[str, str], ...]
    suites: tuple[tuple[str, str], ...]
    suite: str = ""
    preset: str = ""
    chosen_models: tuple[str, ...] = ()
    chosen_backends: tuple[str, ...] = ()
    chosen_quantizations: tuple[str, ...] = ()
    text: Mapping[str, str] = field(default_factory=dict)
    """Of the fields that are typed."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why a field is not valid, by its name; of the whole form by an empty name."""

    @property
    def numbers(self) -> list[Number]:
        """The fields for numbers."""
        return [Number(key, _LABELS[key], SETTINGS[key].default_text) for key in NUMBERS]

    @property
    def more(self) -> bool:
        """Whether what is folded away has to be seen."""
        filled = self.preset or any(self.text.get(name, "").strip() for name in NUMBERS)
        return bool(filled) or any(name in self.problems for name in MORE)

    def with_problem(self, text: str) -> Form:
        """The form with a reason why it cannot be started as a whole."""
        return replace(self, problems={**self.problems, "": text})


_LABELS = {"max_new_tokens": "Tokens to generate", "rounds": "Rounds", "processes": "Processes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a valid form asks for."""

    suite: str | None
    models: tuple[str, ...]
    backends: tuple[str, ...]
    quantizations: tuple[str, ...]
    preset: str | None
    prompt: str | None
    settings: Mapping[str, Any]
    """Further settings of cases by their keys."""


def empty_form(choices: Choices, given: Callable[[str], Sequence[str]] = lambda name: ()) -> Form:
    """The form as it is found first; what *given* has of a field's values is filled in."""

    def one(name: str) -> str:
        return next(iter(given(name)), "")

    usable = [one.name for one in choices.backends if one.missing is None]
    return Form(
        **_lists(choices),
        suite=one("suite"),
        preset=one("preset"),
        chosen_models=tuple(given("models")) or choices.models[:1],
        chosen_backends=tuple(given("backends")) or tuple(usable[:1]),
        chosen_quantizations=tuple(given("quantizations")),
        text={"prompt": one("prompt") or DEFAULT_PROMPT, **{name: one(name) for name in NUMBERS}},
    )


def read_form(
    choices: Choices, text: Callable[[str], str], many: Callable[[str], Sequence[str]]
) -> tuple[Form, Wanted | None]:
    """The form as it was sent, and what it asks for; None where it is not valid.

    :param text: the value of a field that is typed or has one value.
    :param many: the values of one that has several.
    """
    problems: dict[str, str] = {}
    chosen = {name: tuple(many(name)) for name in ("models", "backends", "quantizations")}
    suite, preset, prompt = text("suite"), text("preset"), text("prompt")
    typed = {"prompt": prompt, **{name: text(name) for name in NUMBERS}}

    _known("suite", suite, [name for name, _ in choices.suites], problems)
    _known("preset", preset, [name for name, _ in choices.presets], problems)
    usable = [one.name for one in choices.backends if one.missing is None]
    for name, known in (
        ("models", choices.models),
        ("backends", usable),
        ("quantizations", choices.quantizations),
    ):
        if len(chosen[name]) > MOST_CHOSEN:
            problems[name] = f"choose {MOST_CHOSEN} at most"
        for value in chosen[name]:
            _known(name, value, known, problems)
    if not suite and not chosen["models"]:
        problems.setdefault("models", "choose a model, or a suite that names its own")
    if not chosen["backends"]:
        problems.setdefault("backends", "choose a backend")
    if not suite and not prompt.strip():
        problems["prompt"] = "write a prompt, or choose a suite"
    elif len(prompt) > LONGEST_PROMPT:
        problems["prompt"] = f"the prompt may have {LONGEST_PROMPT:,} characters"
    settings = {key: value for key in NUMBERS if (value := _number(key, typed[key], problems)) is not None}

    form = Form(
        **_lists(choices),
        suite=suite,
        preset=preset,
        chosen_models=chosen["models"],
        chosen_backends=chosen["backends"],
        chosen_quantizations=chosen["quantizations"],
        text=typed,
        problems=problems,
    )
    if problems:
        return form, None
    return form, Wanted(
        suite=suite or None,
        models=chosen["models"],
        backends=chosen["backends"],
        quantizations=chosen["quantizations"],
        preset=preset or None,
        # A suite says its own prompts.
        prompt=None if suite else prompt.strip(),
        settings=settings,
    )


def _lists(choices: Choices) -> dict[str, Any]:
    return {
        name: getattr(choices, name) for name in ("models", "backends", "quantizations", "presets", "suites")
    }


def _known(name: str, value: str, known: Sequence[str], problems: dict[str, str]) -> None:
    if value and value not in known:
        problems.setdefault(name, f"there is no {value[:80]!r} here{suggest(value[:80], list(known))}")


def _number(key: str, text: str, problems: dict[str, str]) -> Any:
    """The value of a setting as it was typed; None where nothing was, or it is not valid."""
    if not text.strip():
        return None
    try:
        return SETTINGS[key].read(text.strip()[:40], key)
    except UsageError as error:
        problems[key] = str(error).removeprefix(f"{key}: ")
        return None
