"""Which presets of starts are there: ``--llm-serve ENGINE:PRESET``?

A preset is a :class:`.table.Start`: options of the engine and variables of its environment. Those that come
with the package stand in the rows of the engines; an ini file adds to them, a line each:
``vllm:mine.extends=single-user``, ``vllm:mine.max-num-seqs=4``, ``vllm:mine.env.NAME=VALUE``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.servers.table import ENGINES, Start, find_engine, without_preset

DEEPEST = 20
"""Presets that go on from one another."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_OPTION = re.compile(r"[A-Za-z0-9][\w.-]*")
_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_ENV = "env."
_FORM = "ENGINE:PRESET.OPTION=VALUE, such as vllm:mine.max-num-seqs=4 or vllm:mine.extends=single-user"


@dataclass(frozen=True, slots=True)
class Starts:
    """The presets of all engines: those of their rows, and a user's own."""

    own: Mapping[str, Mapping[str, Start]] = field(default_factory=dict)
    """By engine and name."""

    def of(self, engine: str) -> dict[str, Start]:
        """The presets of one engine, by name."""
        return {one.name: one for one in ENGINES[engine].starts} | dict(self.own.get(engine, {}))

    def find(self, text: str) -> Start | None:
        """The preset that ``ENGINE:PRESET`` or ``docker:ENGINE:PRESET`` names; None where none is named.

        :raises UsageError: if there is no such engine or preset; it lists what there is.
        """
        engine = find_engine(text)
        served, preset = without_preset(text)
        if not preset:
            return None
        known = self.of(engine.name)
        if preset not in known:
            there = ", ".join(known) or "none"
            hint = suggest(preset, list(known)) or "."
            msg = f"{served} has no preset {preset.strip(':')!r} to start it with{hint} It has {there}"
            raise UsageError(msg)
        return known[preset]


def read_starts(lines: Iterable[str]) -> Starts:
    """The presets that come with the package, and those of the *lines* of an ini file.

    :raises UsageError: for a line of another form, an engine or preset that there is not, what each start
        chooses itself, and presets that extend one another in a circle.
    """
    said: dict[str, dict[str, dict[str, str]]] = {}
    for line in lines:
        path, equals, value = (part.strip() for part in line.partition("="))
        place, dot, key = (part.strip() for part in path.partition("."))
        engine, colon, name = (part.strip() for part in place.partition(":"))
        if not (equals and dot and colon and key and _NAME.fullmatch(name)):
            msg = f"{line!r} is not {_FORM}"
            raise UsageError(msg)
        if engine not in ENGINES:
            msg = f"there is no server {engine!r}{suggest(engine, list(ENGINES)) or '.'}"
            raise UsageError(f"{msg} There are {', '.join(ENGINES)}")
        if not (
            _VARIABLE.fullmatch(key.removeprefix(_ENV)) if key.startswith(_ENV) else _OPTION.fullmatch(key)
        ):
            msg = f"{engine}:{name}: {key!r} is not an option, which is written without its dashes"
            raise UsageError(msg)
        if ENGINES[engine].chooses(key.removeprefix(_ENV), variable=key.startswith(_ENV)):
            msg = f"{engine}:{name}.{key}: each start chooses this itself (the model, its name, the address)"
            raise UsageError(f"{msg}: leave it out")
        keys = said.setdefault(engine, {}).setdefault(name, {})
        if key in keys:
            msg = f"{engine}:{name}.{key} is said twice"
            raise UsageError(msg)
        keys[key] = value
    return Starts({engine: _made(engine, presets) for engine, presets in said.items()})


def _made(engine: str, said: Mapping[str, Mapping[str, str]]) -> dict[str, Start]:
    made: dict[str, Start] = {}
    earlier = Starts().of(engine)

    def make(name: str, above: tuple[str, ...]) -> Start:
        if name in made:
            return made[name]
        if name in above or len(above) > DEEPEST:
            how = "in a circle" if name in above else f"more than {DEEPEST} deep"
            msg = f"presets of {engine} extend one another {how}: {' -> '.join((*above, name))}"
            raise UsageError(msg)
        keys = said[name]
        extended = keys.get("extends", name if name in earlier else "")
        if extended and extended != name and extended in said:
            base = make(extended, (*above, name))
        elif extended in earlier:
            base = earlier[extended]
        elif extended:
            known = [one for one in {**earlier, **said} if one != name]
            msg = f"{engine}:{name}.extends: {engine} has no preset {extended!r}"
            msg += " to go on from" if extended == name else ""
            there = ", ".join(known) or "none"
            raise UsageError(f"{msg}{suggest(extended, known) or '.'} It has {there}")
        else:
            base = Start(name)
        given = {key: value for key, value in keys.items() if key not in ("extends", "description")}
        variables = {key.removeprefix(_ENV): value for key, value in given.items() if key.startswith(_ENV)}
        options = {key: value for key, value in given.items() if not key.startswith(_ENV)}
        made[name] = Start(
            name,
            keys.get("description", base.description),
            tuple({**dict(base.options), **options}.items()),
            tuple({**dict(base.environment), **variables}.items()),
        )
        return made[name]

    for name in said:
        make(name, ())
    return made
