"""Which named sets of settings are there, and what does one say?

Presets are data: those that come with the package are in ``presets.yaml``, and whoever has a file of settings
(an ini file, a suite) adds to them with :meth:`Presets.extended`. A preset has a ``description``, may name
another that it ``extends``, and says any settings of a case by their keys. One with the name of an earlier
one goes on from that, key by key. What holds where several places say something is in
:mod:`pytest_llmbench.settings.sources`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.settings.case import NO_PRESET, SETTINGS
from pytest_llmbench.settings.sources import Source
from pytest_llmbench.settings.synonyms import other_names

if TYPE_CHECKING:
    from pytest_llmbench.backends.registry import Registry

Where = Callable[[Sequence[str]], str]
"""Says where something of a file of presets stands, by its keys: ``("chatbot", "rounds")``."""

SHIPPED = Path(__file__).with_name("presets.yaml")
DESCRIPTION, EXTENDS = OWN_KEYS = ("description", "extends")
"""What a preset has beside settings."""
DEEPEST = 20
"""Presets that go on from one another."""

NAME = "[A-Za-z0-9][A-Za-z0-9_-]*"
"""What a preset can be called, as a pattern."""


@dataclass(frozen=True, slots=True)
class Preset:
    """One preset, as one place has it."""

    name: str
    description: str
    source: Source
    """What it says, and behind it what it goes on from."""
    written: Mapping[str, object]
    """Every setting as it is written, what it goes on from included."""
    origin: str
    """The places that have it, for a person."""


@dataclass(frozen=True, slots=True)
class Presets:
    """Presets by name, those of one file over those that were there before."""

    own: Mapping[str, Preset] = field(default_factory=dict)
    weaker: Presets | None = None

    def all(self) -> Mapping[str, Preset]:
        """The presets by their names, the earliest first."""
        return dict(self.own) if self.weaker is None else {**self.weaker.all(), **self.own}

    def find(self, name: str, where: str = "") -> Preset:
        """The preset of that name.

        :param where: what names it, for the message.
        :raises UsageError: listing what there is.
        """
        presets: Presets | None = self
        while presets is not None:
            if name in presets.own:
                return presets.own[name]
            presets = presets.weaker
        known = list(self.all())
        msg = f"there is no preset {name!r}{suggest(name, known) or '.'} There are {', '.join(known)}"
        raise UsageError(f"{where}: {msg}" if where else msg)

    def attached(self, place: Source, where: str) -> Source:
        """What a place says, with the preset that it names behind it.

        :param where: the place, for the message.
        :raises UsageError: if there is no such preset.
        """
        name = place.values.preset
        if "preset" not in place or name == NO_PRESET:
            return place
        return replace(place, preset=self.find(name, where).source)

    def extended(
        self, written: object, where: Where, registry: Registry, *, folder: Path | None, origin: str
    ) -> Presets:
        """These, and those that a file has, by name: ``{"mine": {"extends": "chatbot", "rounds": 3}}``.

        :param where: says where in the file something stands.
        :param registry: whose backends' options may be paths.
        :param folder: from where paths in it are meant.
        :param origin: the file, for a person.
        :raises UsageError: for a name that cannot be, a key that no setting has, a value that cannot be, and
            presets that extend what there is not, or one another in a circle.
        """
        if not isinstance(written, Mapping):
            msg = f"{where(())}: expected presets by name, such as 'mine: {{extends: chatbot}}'"
            raise UsageError(msg)
        for name, content in written.items():
            _check_name(name, where)
            if not isinstance(content, Mapping):
                msg = (
                    f"{where([name])}: expected settings by their names, such as 'rounds: 3', got {content!r}"
                )
                raise UsageError(msg)
        file = _File(written, where, registry, folder, origin, self)
        return Presets({name: file.preset(name, ()) for name in written}, self)


class _File:
    """Makes the presets of one file, each once."""

    def __init__(
        self,
        written: Mapping[str, Mapping[str, object]],
        where: Where,
        registry: Registry,
        folder: Path | None,
        origin: str,
        weaker: Presets,
    ) -> None:
        self._written = written
        self._where = where
        self._registry = registry
        self._folder = folder
        self._origin = origin
        self._weaker = weaker
        self._made: dict[str, Preset] = {}

    def preset(self, name: str, above: tuple[str, ...]) -> Preset:
        """The preset of that name, which those of *above* go on from, the last one first."""
        if name not in self._made:
            if name in above or len(above) > DEEPEST:
                msg = (
                    f"{self._where([above[0], EXTENDS])}: presets extend one another "
                    f"{'in a circle' if name in above else f'more than {DEEPEST} deep'}: "
                    f"{' -> '.join((*above, name))}"
                )
                raise UsageError(msg)
            self._made[name] = self._make(name, above)
        return self._made[name]

    def _make(self, name: str, above: tuple[str, ...]) -> Preset:
        content = self._written[name]
        base = self._base(name, content, above)
        values: dict[str, Any] = {}
        for key, value in content.items():
            if key not in OWN_KEYS:
                values[key] = self._value(name, key, value)
        description = content.get(DESCRIPTION, "" if base is None else base.description)
        if not isinstance(description, str):
            msg = f"{self._where([name, DESCRIPTION])}: expected a text, got {description!r}"
            raise UsageError(msg)
        source = Source.of(values, self._folder).located(self._registry)
        given = {key: value for key, value in content.items() if key not in OWN_KEYS}
        return Preset(
            name,
            description,
            replace(source, preset=None if base is None else base.source, name=name),
            {**({} if base is None else base.written), **given},
            _joined(self._origin if base is None else base.origin, self._origin),
        )

    def _base(self, name: str, content: Mapping[str, object], above: tuple[str, ...]) -> Preset | None:
        """What a preset goes on from: what it names, or an earlier one of its own name."""
        earlier = self._weaker.all()
        extended = content.get(EXTENDS)
        if extended is None or extended == name:
            if extended is not None and name not in earlier:
                msg = f"{self._where([name, EXTENDS])}: there is no earlier preset {name!r} to go on from"
                raise UsageError(msg)
            return earlier.get(name)
        if isinstance(extended, str) and extended in self._written:
            return self.preset(extended, (*above, name))
        if isinstance(extended, str) and extended in earlier:
            return earlier[extended]
        known = list({**earlier, **self._written})
        near = suggest(str(extended), known) or "."
        where = self._where([name, EXTENDS])
        msg = f"{where}: there is no preset {extended!r}{near} There are {', '.join(known)}"
        raise UsageError(msg)

    def _value(self, name: str, key: object, value: object) -> object:
        """What a setting is read as; nothing written (null) is its default."""
        if key == "preset":
            msg = f"{self._where([name, 'preset'])}: a preset names another with {EXTENDS!r}"
            raise UsageError(msg)
        if key not in SETTINGS:
            known = [one for one in (*OWN_KEYS, *SETTINGS) if one != "preset"]
            hint = suggest(str(key), known, other_names()) or "."
            msg = f"{self._where([name, str(key)])}: no setting {key!r}{hint} There are {', '.join(known)}"
            raise UsageError(msg)
        row = SETTINGS[str(key)]
        return row.default if value is None else row.read(value, self._where([name, row.key]))


def _joined(before: str, origin: str) -> str:
    return before if before.endswith(origin) else f"{before}, {origin}"


def _check_name(name: object, where: Where) -> None:
    if not isinstance(name, str) or not re.fullmatch(NAME, name) or name == NO_PRESET:
        msg = (
            f"{where([str(name)])}: {name!r} is not a valid name of a preset; use letters, digits, - and _"
            + (f", and not {NO_PRESET!r}, which stands for no preset" if name == NO_PRESET else "")
        )
        raise UsageError(msg)


def read_lines(lines: Sequence[str], where: str) -> Mapping[str, Mapping[str, object]]:
    """Presets as an ini file has them, ``NAME.KEY=VALUE`` a line, for :meth:`Presets.extended`.

    A setting that has several values may have several lines. A line without a value is a setting's default.

    :param where: the ini option, for the message.
    :raises UsageError: for a line of another form, and for two lines of one setting.
    """
    found: dict[str, dict[str, object]] = {}
    for line in lines:
        path, equals, value = (part.strip() for part in line.partition("="))
        name, _, key = (part.strip() for part in path.partition("."))
        if not (equals and name and key):
            msg = f"{where}: {line!r} is not NAME.KEY=VALUE, such as chatbot.rounds=3 or mine.extends=chatbot"
            raise UsageError(msg)
        preset = found.setdefault(name, {})
        if key not in preset:
            preset[key] = value or None
        elif key in SETTINGS and SETTINGS[key].many and value:
            before = preset[key]
            preset[key] = [*(before if isinstance(before, list) else [before]), value]
        else:
            msg = f"{where}: {name}.{key} is said twice"
            raise UsageError(msg)
    return found


def ini_presets(
    lines: Sequence[str], registry: Registry, *, folder: Path | None, option: str = "llm_presets"
) -> Presets:
    """The presets that come with the package, and those of the lines of an ini file's *option*.

    :raises UsageError: as :func:`read_lines` and :meth:`Presets.extended` do.
    """
    if not lines:
        return shipped()
    where = f"ini option {option}"
    return shipped().extended(
        read_lines(lines, where),
        lambda keys: f"{where}: {'.'.join(keys)}",
        registry,
        folder=folder,
        origin=where,
    )


@cache
def shipped() -> Presets:
    """The presets that come with the package."""
    import yaml

    from pytest_llmbench.backends.registry import Registry

    def where(keys: Sequence[str]) -> str:
        return ".".join((SHIPPED.name, *keys))

    written = yaml.safe_load(SHIPPED.read_text("utf-8"))
    return Presets().extended(written, where, Registry(), folder=None, origin="built in")
