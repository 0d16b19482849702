"""Which option is meant by one that there is not?

Many come from another tool and type its name for what they want: our rows know those names. An option
that no plugin has ends pytest anyway; here it ends with what to write instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def unknown_options(parser: pytest.Parser, args: Sequence[str]) -> str | None:
    """What to say of the options in *args* that do not exist, if one of ours was probably meant.

    None leaves it to pytest.
    """
    unknown: list[str] = []
    with suppress(pytest.UsageError):  # pytest itself tells what it cannot parse
        unknown = parser.parse_known_and_unknown_args(args)[1]
    names = list(dict.fromkeys(argument.partition("=")[0] for argument in unknown))
    if not names:
        return None
    known = [name for option in parser.getgroup("llmbench").options for name in option.names()]
    meant = {name: _meant(name, known) for name in names}
    if not any(meant.values()):
        return None
    lines = [f"{name}; did you mean {option}?" if option else name for name, option in meant.items()]
    return "unrecognized arguments: " + "\n  ".join(lines)


def _meant(name: str, known: Sequence[str]) -> str | None:
    import difflib

    word = name.lstrip("-").replace("_", "-")
    for ours, others in _others():
        if word.removeprefix("llm-") in others:
            return ours
    if f"--llm-{word}" in known:
        return f"--llm-{word}"
    if not word.startswith("llm"):
        return None
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.6)), None)


def _others() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each option of ours, as it is written, and its names elsewhere."""
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.plugin.options import OPTIONS

    yield from ((row.flag, row.also) for row in OPTIONS.values())
    registry = Registry()
    for backend in map(registry.get, registry.names()):
        for spec in backend.options:
            option = f"--llm-option={backend.name}.{spec.name}=..."
            yield option, (*spec.also, spec.name.replace("_", "-"))
