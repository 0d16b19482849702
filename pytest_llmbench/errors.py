"""What can go wrong that a user can do something about?

Every message says what was wrong, where, and what to do; the plugin shows the message alone,
without a traceback of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmbench.printable import printable
from pytest_llmbench.secrets import mask


def shown(text: str) -> str:
    """*text* as a person may see it: without secrets, and with what is not printable escaped."""
    return printable(mask(text))


def _shown(given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(shown(one) if isinstance(one, str) else one for one in given)


class LLMBenchError(Exception):
    """Base of every error that a user is meant to read.

    What is not printable in it is escaped, and secrets are masked.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*_shown(given))

    def add_note(self, note: str, /) -> None:
        super().add_note(shown(note))


class UsageError(LLMBenchError):
    """An option, marker, alias or model spec that cannot be meant as it stands."""


class ModelError(LLMBenchError):
    """A model that cannot be found, built, downloaded or read."""


class BackendUnavailableError(LLMBenchError):
    """A backend whose engine is not installed, or does not work on this machine."""


class EngineError(LLMBenchError):
    """The engine raised while it loaded a model or generated."""


class PromptTooLongError(EngineError):
    """The prompt and the tokens to be generated do not fit into the context."""


class EngineCrashedError(EngineError):
    """The engine's process ended by itself: a signal, a kill for memory, an exit."""


class EngineTimeoutError(EngineError):
    """The engine did not answer within the case's ``timeout`` and was ended."""


class ResultsError(LLMBenchError):
    """A results document, journal or store folder that cannot be read or written."""


BY_NAME: dict[str, type[LLMBenchError]] = {
    name: kind
    for name, kind in list(globals().items())
    if isinstance(kind, type) and issubclass(kind, LLMBenchError)
}
"""By which an error is raised again that crossed from a process of ours."""


class LLMBenchWarning(UserWarning):
    """What does not fail the test, and somebody should read; shown as :class:`LLMBenchError`."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*_shown(given))


def warn(text: str) -> None:
    """Warn with *text* at the line of a test that led here, however deep in this package it was found out."""
    import sys
    import warnings

    package, level, frame = __name__.partition(".")[0], 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(LLMBenchWarning(text), stacklevel=level)


def suggest(unknown: str, known: list[str] | tuple[str, ...], also: Mapping[str, str] | None = None) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of *known*, or an empty string.

    *also* says for names of other tools (without dashes before them) which of *known* is meant.
    """
    import difflib

    meant = (also or {}).get(unknown.lstrip("-").replace("_", "-"))
    if meant in known:
        return f"; did you mean {meant!r}?"
    near = difflib.get_close_matches(unknown, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
