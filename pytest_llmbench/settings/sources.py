"""What does one place say of the settings of a case, and what holds when several do?

The command line beats the marker, and the marker beats the ini file. A call of ``measure()`` beats the
marker, and the command line too in what is measured, not in how often. Options of backends hold one by one.

A preset speaks for the place that names it, and is weaker than what the same place says itself: one of the
command line beats the marker, one of the marker beats the ini file. Which one is named is a setting like any
other: of several places that name one, the strongest place's is used, and the others' say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.models.paths import from_folder
from pytest_llmbench.settings.case import SETTINGS, CaseSettings, call_keys
from pytest_llmbench.settings.kinds import Fixture
from pytest_llmbench.settings.options import BackendOptions
from pytest_llmbench.settings.synonyms import other_names
from pytest_llmbench.settings.values import TRACE

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.models.aliases import Aliases
    from pytest_llmbench.settings.rows import Setting, Values


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Source:
    """What one place says: the command line, the ini file, a test's marker, a call."""

    values: CaseSettings = field(default_factory=CaseSettings)
    """What it says; the defaults where it is silent."""
    given: frozenset[str] = frozenset()
    """The keys that it names."""
    folder: Path | None = None
    """From where its paths are meant; None: from the working directory."""
    preset: Source | None = None
    """What the preset says that this names, or that this preset extends; weaker than this."""
    name: str = ""
    """Of a preset; empty for a place."""
    aliases: Aliases | None = None
    """Names of models that hold here, beside those of the session."""

    @classmethod
    def of(cls, values: Values, folder: Path | None = None, aliases: Aliases | None = None) -> Source:
        """What says these *values*, by key and as they are typed in :class:`CaseSettings`."""
        return cls(CaseSettings(**values), frozenset(values), folder, aliases=aliases)

    def __contains__(self, key: str) -> bool:
        return key in self.given

    def chain(self) -> Iterator[Source]:
        """This, its preset, and what that extends."""
        one: Source | None = self
        while one is not None:
            yield one
            one = one.preset

    def located(self, registry: Registry) -> Source:
        """With every path absolute, those among the options of backends too.

        Those of models are left to who knows whether they are names of a server's.
        """
        changed: dict[str, Any] = {
            key: str(from_folder(getattr(self.values, key), self.folder))
            for key in self.given
            if SETTINGS[key].path
        }
        options = self.values.backend_options
        if options:
            changed["backend_options"] = options.located(registry, self.folder)
        return replace(self, values=replace(self.values, **changed)) if changed else self


NOTHING = Source()


class Levels(NamedTuple):
    """The load levels of a test; without any, it is for whoever runs them to take one."""

    closed: tuple[int, ...] = ()
    """Requests at once."""
    open: tuple[float, ...] = ()
    """Requests a second."""
    trace: bool = False
    """The times of a data set, where no rate is said."""
    conversations: tuple[int, ...] = ()
    """Conversations at once, each with each of ``closed``."""

    def __bool__(self) -> bool:
        return bool(self.closed or self.open or self.trace or self.conversations)


class Precedence:
    """What the command line and the ini file say, and what holds beside a marker and a call."""

    def __init__(self, command_line: Source = NOTHING, ini: Source = NOTHING, *, once: bool = False) -> None:
        """*once*: each benchmark runs one round, whatever any place says."""
        self.command_line = command_line
        self.ini = ini
        self.once = once
        self._held: dict[Source, CaseSettings] = {}

    def places(self, marker: Source = NOTHING) -> tuple[Source, ...]:
        """What says something of a test with this *marker*, the strongest first: places, and one preset."""
        said = (self.command_line, marker, self.ini)
        naming = next((place for place in said if "preset" in place), None)
        return tuple(one for place in said for one in (place.chain() if place is naming else (place,)))

    def place(self, key: str, marker: Source = NOTHING) -> Source | None:
        """The place whose word holds; None where the default does."""
        return _holding(key, self.places(marker))

    def own(self, key: str, marker: Source) -> Any:
        """What the test itself says: its marker, or the preset that this names; None for nothing."""
        others = {*self.command_line.chain(), *self.ini.chain()}
        own = (place for place in self.places(marker) if place not in others)
        return next((getattr(place.values, key) for place in own if key in place), None)

    def settings(self, marker: Source = NOTHING) -> CaseSettings:
        """Every setting as it holds for a test with this *marker*."""
        if marker not in self._held:
            places = self.places(marker)
            values = {
                key: getattr(place.values, key)
                for key in SETTINGS
                if (place := _holding(key, places)) is not None
            }
            if self.once:
                values |= {"rounds": 1, "warmup_rounds": 0, "processes": 1}
            options = BackendOptions()
            for place in places:
                options = options.over(place.values.backend_options)
            values["backend_options"] = options
            self._held[marker] = CaseSettings(**values)
        return self._held[marker]

    def of_call(self, test: CaseSettings, call: Source) -> CaseSettings:
        """The settings of a *test* as they hold for one *call* of it."""
        kept = {
            key
            for key in call.given
            if SETTINGS[key].role == "repeats"
            and (self.once or any(key in one for one in self.command_line.chain()))
        }
        return replace(test, **{key: getattr(call.values, key) for key in call.given - kept})

    def levels(self, marker: Source = NOTHING) -> Levels:
        """The load levels of a test: its marker's, else those of the command line, else of the ini file.

        Of a marker's levels, the command line replaces those of its own kind: a concurrency makes no
        closed loop of a test of request rates, nor a rate an open one of a test of concurrencies. A preset's
        levels make a test neither: they hold where nothing stronger says levels.
        """
        trace = self.settings(marker).arrivals == TRACE
        places = self.places(marker)
        own = _levels(marker, trace)
        if not own:
            return next((found for place in places if (found := _levels(place, trace))), Levels())
        # Of what is typed, a preset's levels of the other kind are none either.
        stronger = places[: places.index(marker)]
        typed = next((found for place in stronger if (found := _levels(place, trace))), Levels())
        if own.closed and typed.closed:
            own = own._replace(closed=typed.closed)
        if own.conversations and typed.conversations:
            own = own._replace(conversations=typed.conversations)
        if (own.open or own.trace) and typed.open:
            own = own._replace(open=typed.open, trace=False)
        return own


def _holding(key: str, places: tuple[Source, ...]) -> Source | None:
    """Of *places*, the strongest first, the one whose word on *key* holds; None where the default does."""
    instead = SETTINGS[key].instead_of
    for number, place in enumerate(places):
        if key in place and not (place.name and instead and any(instead in one for one in places[:number])):
            return place
    return None


def _levels(source: Source, trace: bool) -> Levels:
    """The levels that one source names; a trace's own times are one where *trace* says that they hold."""
    values = source.values
    found = Levels(values.concurrency, values.request_rate, conversations=values.conversations)
    if not found and trace and "arrivals" in source and source.values.arrivals == TRACE:
        return Levels(trace=True)
    return found


def read_marker(marks: Iterable[tuple[tuple[object, ...], Values]], where: str) -> Values:
    """The settings of ``@pytest.mark.llm(...)``, by key.

    :param marks: the positional and keyword arguments of each marker; the first (the closest) holds.
    :raises UsageError: for a positional argument, an unknown key or a value that cannot be.
    """
    values: dict[str, Any] = {}
    for positional, keywords in reversed(list(marks)):
        if positional:
            msg = f"{where}: @pytest.mark.llm takes keywords only, as in llm(models=[{positional[0]!r}])"
            raise UsageError(msg)
        for key, value in keywords.items():
            row = _known(key, SETTINGS, f"{where}: @pytest.mark.llm has no key", "It has")
            values[key] = row.read(value, f"{where}: @pytest.mark.llm({key}=...)")
    return values


def read_call(fixture: Fixture, given: Values) -> Values:
    """The settings of one call of the fixture's ``measure()``, by key.

    :raises UsageError: for a key that a call cannot set, or a value that cannot be.
    """
    rows = {key: SETTINGS[key] for key in call_keys(fixture)} if given else {}
    return {
        key: _known(key, rows, "no setting", "There are", "for a call").read(value, f"{key}=...")
        for key, value in given.items()
    }


def _known(key: str, rows: Mapping[str, Setting], no: str, there: str, of: str = "") -> Setting:
    """The row of a key.

    :raises UsageError: listing what there is, if it has none.
    """
    if key in rows:
        return rows[key]
    hint = suggest(key, list(rows), other_names()) or "."
    msg = f"{no} {key!r}{of and f' {of}'}{hint} {there} {', '.join(rows)}"
    raise UsageError(msg)
