"""What do ``--llm-option BACKEND.NAME=VALUE`` and ``backend_options=`` set, and to what?"""

from __future__ import annotations

import math
import sys
from typing import Protocol

from pytest_llmbench.backends.base import Options, OptionSpec
from pytest_llmbench.errors import UsageError, suggest, warn
from pytest_llmbench.secrets import learn_command, mask_setting

_LARGEST: dict[type, float] = {int: 2**31 - 1, float: math.inf, bool: math.inf, str: math.inf}
"""Where an option does not say: engines keep whole numbers as a C int, and take a larger one for another."""
_ONCE, _NOW = "openai", "server"
"""What the options of servers were called, and are."""
RESERVED = {
    "auto": "every engine that is installed",
    "env": "environment variables in --llm-ab",
    _NOW: "servers",
    _ONCE: "servers, as they were called once",
}
"""What a backend cannot be called, and what the name stands for."""
_TRUTHS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def truth(word: str) -> bool | None:
    """What *word* says, in any case: ``true``, ``yes``, ``on``, ``1`` or an opposite; else None."""
    return _TRUTHS.get(word.strip().lower())


class Configurable(Protocol):
    """What has options: a backend, or all servers together."""

    name: str
    """What stands before its options."""
    options: tuple[OptionSpec, ...]


def parse_option(text: str) -> tuple[str, str, str]:
    """Split ``"llamacpp.n_threads=2"`` into ``("llamacpp", "n_threads", "2")``.

    :raises UsageError: if a part is missing. Whether there is such a backend is the registry's to say,
        whether it has such an option is :func:`option_values`'.
    """
    key, equals, value = text.partition("=")
    backend, dot, name = key.partition(".")
    backend, name = backend.strip(), name.strip()
    if not (equals and dot and backend and name):
        msg = f"--llm-option {text!r}: write BACKEND.NAME=VALUE, for example llamacpp.n_threads=2"
        raise UsageError(msg)
    return backend_of(backend), name, value.strip()


def backend_of(name: str) -> str:
    """Whose options *name* stands before; with a warning for what they were called once."""
    if name != _ONCE:
        return name
    warn(f"the options of servers are called {_NOW}.NAME, not {_ONCE}.NAME: write {_NOW} instead of {_ONCE}")
    return _NOW


def kept_options(backend: Configurable, values: Options) -> dict[str, object]:
    """What the results document has of every option's value; no secret is in it."""
    return {
        spec.name: None
        if values[spec.name] is None
        else mask_setting(spec.name, spec.kept(values[spec.name]))
        for spec in backend.options
        if spec.kept is not None and spec.name in values
    }


def option_values(backend: Configurable, given: Options) -> Options:
    """Every option of *backend*: what was *given* (text, or already typed), the default for the rest.

    None stands for the default. A backend that has a method ``check_options(values)`` is asked to
    judge what types and choices cannot say; it raises :class:`UsageError` itself.

    :raises UsageError: for an unknown option, a value of another type, or one outside the choices.
    """
    specs = {spec.name: spec for spec in backend.options}
    learn_command(f"{backend.name}.{name}={value}" for name, value in given.items())
    for name in given:
        if name not in specs:
            known = ", ".join(f"{s.name} ({s.type.__name__})" for s in backend.options) or "none"
            hint = suggest(name, list(specs), {other: s.name for s in backend.options for other in s.also})
            msg = f"{backend.name!r} has no option {name!r}{hint}; its options are: {known}"
            raise UsageError(msg)
    values = {
        name: spec.default if given.get(name) is None else _converted(backend.name, spec, given[name])
        for name, spec in specs.items()
    }
    check = getattr(backend, "check_options", None)
    if check is not None:
        check(values)
    return values


def _converted(backend: str, spec: OptionSpec, value: object) -> object:
    if spec.parse is not None:
        try:
            return spec.parse(value)
        except ValueError as error:
            msg = f"option {backend}.{spec.name}: {error} ({spec.help})"
            raise UsageError(msg) from None
    result = _from_text(spec, value.strip()) if isinstance(value, str) else _from_typed(spec, value)
    if result is None:
        wanted = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}[spec.type]
        msg = f"option {backend}.{spec.name}={value!r}: {wanted} is needed ({spec.help})"
        raise UsageError(msg)
    if spec.choices and result not in spec.choices:
        hint = suggest(str(result), spec.choices)
        msg = f"option {backend}.{spec.name}={value!r}: not one of {', '.join(spec.choices)}{hint}"
        raise UsageError(msg)
    if spec.minimum is not None and not isinstance(result, str) and result < spec.minimum:
        msg = f"option {backend}.{spec.name}={value!r}: at least {spec.minimum} is needed ({spec.help})"
        raise UsageError(msg)
    maximum = _LARGEST[spec.type] if spec.maximum is None else spec.maximum
    if not isinstance(result, str) and result > maximum:
        msg = f"option {backend}.{spec.name}={value!r}: at most {maximum} is possible ({spec.help})"
        raise UsageError(msg)
    return result


def _from_text(spec: OptionSpec, text: str) -> int | float | str | bool | None:
    if spec.type is str:
        return text
    if spec.type is bool:
        return truth(text)
    try:
        return _finite(float(text)) if spec.type is float else int(text)
    except ValueError:
        return None


def _from_typed(spec: OptionSpec, value: object) -> int | float | str | bool | None:
    # bool is an int to Python: n_threads=True must not become 1.
    if spec.type is bool or isinstance(value, bool):
        return value if spec.type is bool and isinstance(value, bool) else None
    if spec.type is float and isinstance(value, (int, float)):
        return _finite(float(value)) if abs(value) <= sys.float_info.max else None
    if spec.type is int and isinstance(value, int):
        return value
    return None


def _finite(number: float) -> float | None:
    return None if isinstance(number, float) and not math.isfinite(number) else number
