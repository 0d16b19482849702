"""What can go wrong that a user can do something about, and how is it said?

Every message says what was wrong, where, and what to do; the plugin shows the message alone,
without a traceback of ours. What somebody else wrote (a server, an engine's log, a model's metadata, a
results document) may hold escape sequences that clear the screen, marks that turn a line around, halves
of characters that no file takes: shown, they are escaped; kept as data, they stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from pytest_llmbench.secrets import mask

LINE = 400
"""Characters of somebody else's words that a message repeats at most."""

_UNSAFE = re.compile(
    # C0 but tab and line feed, DEL, C1; soft hyphen; marks of direction and isolates; line and paragraph
    # separators; invisible operators; halves of surrogate pairs; byte order mark; interlinear annotations;
    # tags. Joiners (U+200C, U+200D) stay, since words and pictures are written with them.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    r"""*text* with each character that acts on a terminal, or hides, as its escape: ``\x1b``, ``\u202e``.

    Line feeds and tabs stay, and a carriage return before a line feed goes.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_escaped, text.replace("\r\n", "\n"))


def one_line(text: str, most: int = LINE) -> str:
    """*text* as :func:`printable` has it, in one line of *most* characters at most; more end in ``…``."""
    # What is not looked at need not be escaped: a body can be long.
    start = printable(" ".join(text[: 4 * most].split()))
    return start if len(start) <= most and len(text) <= 4 * most else f"{start[:most]}…"


def few(names: Sequence[str], most: int = 10) -> str:
    """``a, b and 7 more``: of a list that may be long no more than *most*, each in one line."""
    shown = ", ".join(one_line(name, 100) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shown(text: str) -> str:
    """*text* as a person may see it: without secrets, and with what is not printable escaped."""
    return printable(mask(text))


def _all_shown(given: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(shown(one) if isinstance(one, str) else one for one in given)


class LLMBenchError(Exception):
    """Base of every error that a user is meant to read.

    What is not printable in it is escaped, and secrets are masked.
    """

    def __init__(self, *given: object) -> None:
        super().__init__(*_all_shown(given))

    def add_note(self, note: str, /) -> None:
        super().add_note(shown(note))


class UsageError(LLMBenchError):
    """An option, marker, alias or model spec that is not valid as it stands."""


class ModelError(LLMBenchError):
    """A model that cannot be found, built, downloaded or read."""


class BackendUnavailableError(LLMBenchError):
    """A backend whose engine is not installed, or does not work on this machine."""


class EngineError(LLMBenchError):
    """The engine raised while it loaded a model or generated."""


class PromptTooLongError(EngineError):
    """The prompt and the tokens to be generated do not fit into the context."""


class NoRoomError(LLMBenchError):
    """What a test needs is more than the machine's memory holds: it is skipped."""


class EngineCrashedError(EngineError):
    """The engine's process ended by itself: a signal, a kill for memory, an exit."""


class EngineTimeoutError(EngineError):
    """The engine did not answer within the case's ``timeout`` and was ended."""


class ClusterError(LLMBenchError):
    """A cluster that is not reached, has not what a cell asks for, or is gone."""


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

    def __init__(self, *given: object) -> None:
        super().__init__(*_all_shown(given))


_PASSED_OVER = (__name__.partition(".")[0], "contextlib")


def warn(text: str) -> None:
    """Warn with *text* at the line of a test that led here, however deep in this package it was found out.

    Frames of this package are passed over, and those of ``with`` between them. Python 3.12's
    ``skip_file_prefixes`` does the same.
    """
    import sys
    import warnings

    frame = sys._getframe()
    while frame.f_back is not None and _module_of(frame).partition(".")[0] in _PASSED_OVER:
        frame = frame.f_back
    warnings.warn_explicit(
        LLMBenchWarning(text),
        None,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=_module_of(frame),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


@contextmanager
def saying_where(where: str) -> Iterator[None]:
    """Let a :class:`UsageError` that is raised inside begin with *where* it stands."""
    try:
        yield
    except UsageError as error:
        msg = f"{where}: {error}"
        raise UsageError(msg) from None


def needs_extra(what: str, library: str, extra: str) -> UsageError:
    """The error where an optional *library* is not installed that *what* needs, with its extra."""
    return UsageError(f"{what} need {library}: pip install 'pytest-llmbench[{extra}]'")


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
