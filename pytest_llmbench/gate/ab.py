"""What is the base side of an A/B session?

``--llm-ab 'KEY=VALUE ...'`` says in what the base differs from the session's own settings, which
are the side that is judged.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmbench.backends.options import backend_of
from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.secrets import mask_setting

BASE_SUFFIX = "@base"
"""Ends the measurement's name of the base side."""

_KEYS = ("python", "model", "quantization", "base_url", "env.NAME", "BACKEND.OPTION")


@dataclass(frozen=True, slots=True)
class BaseSide:
    """What the base side has of its own; None and empty are the session's settings."""

    python: str | None = None
    model: str | None = None
    quantization: str | None = None
    base_url: str | None = None
    """Another server, for cases that are measured on one."""
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> Json:
        """What differs, for the results document; values of variables are not kept."""
        told = {name: getattr(self, name) for name in ("python", "model", "quantization", "base_url")}
        return {
            **{key: mask_setting(key, value) for key, value in told.items() if value is not None},
            **{
                f"{backend}.{name}": mask_setting(name, v)
                for backend, o in self.options.items()
                for name, v in o.items()
            },
            **{f"env.{name}": "set" for name in self.environment},
        }


def parse_base_side(text: str) -> BaseSide:
    """The base side that ``--llm-ab`` describes.

    :raises UsageError: for what is not ``KEY=VALUE``, an unknown key, or one that is given twice.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        msg = f"{text!r}: {error}"
        raise UsageError(msg) from None
    plain: dict[str, str] = {}
    options: dict[str, dict[str, str]] = {}
    environment: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        group, dot, name = key.partition(".")
        group = backend_of(group)
        if not equals or not key or (dot and not name):
            msg = f"{word!r} is not KEY=VALUE; the keys are {', '.join(_KEYS)}"
            raise UsageError(msg)
        place, name = (
            (environment, name)
            if group == "env" and dot
            else (options.setdefault(group, {}), name)
            if dot
            else (plain, key)
        )
        if place is plain and key not in _KEYS:
            msg = f"there is no key {key!r}{suggest(key, _KEYS) or '.'} The keys are {', '.join(_KEYS)}"
            raise UsageError(msg)
        if name in place:
            msg = f"{key!r} is given twice"
            raise UsageError(msg)
        place[name] = value
    if not words:
        msg = f"say in what the base side differs: KEY=VALUE ..., with the keys {', '.join(_KEYS)}"
        raise UsageError(msg)
    return BaseSide(**plain, options=options, environment=environment)
