"""Which cases does a suite have, and what holds for each?

A suite is a YAML file::

    version: 1
    models: {chat: {model: org/name-GGUF, quantization: q4_k_m}}
    defaults: {models: [tiny], rounds: 3}
    cases:
      - name: prefill
        tags: [latency]
        max_new_tokens: 2
        sweep:
          parameters: {prompt_tokens: 32-2048*4}

A case takes every row of :data:`pytest_llmbench.settings.case.SETTINGS`, and says what it asks by one of
:data:`pytest_llmbench.settings.suite_rows.ASKED`. Whatever is wrong is a
:class:`~pytest_llmbench.errors.UsageError` of one line, with the file, the line and the column.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.errors import UsageError, one_line
from pytest_llmbench.models.paths import from_folder
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.settings.case import CONTRADICTING, NO_PRESET, SETTINGS, does_for
from pytest_llmbench.settings.kinds import FIXTURES, Fixture
from pytest_llmbench.settings.options import BackendOptions
from pytest_llmbench.settings.sources import Source
from pytest_llmbench.settings.suite_files import extended
from pytest_llmbench.settings.suite_rows import (
    ASKED,
    CASE_KEYS,
    NAME,
    ROWS,
    Asked,
    asked_conversation,
    clashing,
    refuse_key,
)
from pytest_llmbench.settings.suite_short import aliases_beside
from pytest_llmbench.settings.sweep import MOST_POINTS, NO_SWEEP, Combination, Value, read_sweep
from pytest_llmbench.settings.tags import read_tags
from pytest_llmbench.settings.variables import Variables
from pytest_llmbench.settings.yaml_nodes import Entry, Items, Node, Place, Scalar, Table, plain, shown_path

if TYPE_CHECKING:
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.models.aliases import Aliases
    from pytest_llmbench.settings.presets import Presets
    from pytest_llmbench.settings.rows import Values

_LONGEST_MESSAGE = 600
_OF_MODULES = (
    *("setup_module", "teardown_module", "setUpModule", "tearDownModule"),
    *("setup_function", "teardown_function", "pytestmark", "pytest_plugins", "pytest_generate_tests"),
)
"""What pytest looks for in every module: a case may not be called so."""


@dataclass(frozen=True, eq=False)
class Point:
    """What holds for one test: a case at one point of its sweep."""

    values: Values
    """The settings that it names, typed."""
    asked: Asked
    combination: Combination
    suite: Suite = field(repr=False)

    @property
    def label(self) -> str:
        """What the test's id has of the sweep; empty without one."""
        return self.combination.label

    @property
    def tags(self) -> tuple[str, ...]:
        """Those of the conversation that it asks."""
        return () if self.asked.conversation is None else self.asked.conversation.tags

    @cached_property
    def source(self) -> Source:
        """Its settings, where a test written in Python has its marker."""
        suite = self.suite
        source = Source.of(self.values, suite.path.parent, suite.aliases)
        return suite.presets.attached(source, shown_path(suite.path)) if "preset" in source else source


@dataclass(frozen=True, slots=True)
class SuiteCase:
    """One case, at every point of its sweep."""

    name: str
    place: Place
    tags: tuple[str, ...]
    fixture: Fixture
    """What measures it: ``llm_load`` for load levels, ``llm_chat`` for conversations, else ``llm_model``."""
    points: Sequence[Point]


@dataclass(slots=True)
class Suite:
    """What a file says."""

    path: Path
    presets: Presets
    """Those of the session, and its own over them."""
    aliases: Aliases | None = None
    """Of its models."""
    cases: list[SuiteCase] = field(default_factory=list)
    said: list[tuple[Place, Source]] = field(default_factory=list)
    """Each part that names models, backends or options, by itself: for whoever knows which there are."""
    written: Mapping[str, Entry] = field(default_factory=dict, repr=False)
    """The keys of the file and of those that it extends, with every variable filled in."""

    @property
    def tags(self) -> list[str]:
        """The tags of all cases, and of the conversations that they ask."""
        asked = {point.tags for case in self.cases for point in case.points}
        return list(
            dict.fromkeys(tag for tags in (*(one.tags for one in self.cases), *asked) for tag in tags)
        )


def read_suite(
    path: Path,
    registry: Registry,
    presets: Presets,
    environment: Mapping[str, str] | None = None,
    *,
    models_beside: bool = True,
) -> Suite:
    """The suite in a file.

    :param registry: which backends there are, of whose options some are paths.
    :param presets: which there are beside its own.
    :param environment: for variables; the process's own by default.
    :param models_beside: whether a suite without a version has the aliases of a ``models.yaml`` beside it.
    :raises UsageError: in one line, if something in it is not valid.
    """
    environment = os.environ if environment is None else environment
    try:
        return _Reader(path, registry, presets, environment, models_beside).read()
    except UsageError as error:
        raise UsageError(one_line(str(error), _LONGEST_MESSAGE)) from None


class _Reader:
    """Reads one suite."""

    def __init__(
        self,
        path: Path,
        registry: Registry,
        presets: Presets,
        environment: Mapping[str, str],
        beside: bool,
    ) -> None:
        path = Path(os.path.normpath(path.expanduser().absolute()))
        self._registry = registry
        self._environment = environment
        self._suite = Suite(path, presets)
        self._points = 0
        self._checked: set[tuple[object, ...]] = set()
        self._conversations: dict[tuple[Path, str], object] = {}
        self._beside = beside

    def read(self) -> Suite:
        top = extended(self._suite.path)
        written = _table(top, "variables", "NAME: VALUE")
        variables = Variables(written, self._environment)
        top = {key: entry for key, entry in top.items() if key != "variables"}
        top = {key: Entry(place, variables.fill(node)) for key, (place, node) in top.items()}
        self._suite.written = top
        self._suite.aliases = self._aliases(_table(top, "models", "NAME: MODEL"))
        if "version" not in top and self._suite.aliases is None and self._beside:
            self._suite.aliases = aliases_beside(self._suite.path)
        self._suite.presets = self._presets(_table(top, "presets", "mine: {extends: chatbot, rounds: 3}"))
        defaults = _table(top, "defaults", "rounds: 3")
        weaker: dict[str, Any] = {}
        if defaults is not None:
            for key, entry in defaults:
                if key not in ROWS:
                    refuse_key(key, entry.place, "defaults have", list(ROWS))
            weaker = self._layer(defaults.entries)
        cases = top["cases"].node
        if not isinstance(cases, Items) or not cases.nodes:
            cases.place.refuse("cases is a list: - {name: short, prompt: Hello}")
        names: dict[str, Place] = {}
        for node in cases.nodes:
            case = self._case(node, weaker, top.get("sweep"))
            if case.name in names:
                case.place.refuse(
                    f"the name {case.name!r} was given in line {names[case.name].line} already: give each "
                    "case a name of its own"
                )
            names[case.name] = case.place
            self._suite.cases.append(case)
        return self._suite

    def _case(self, node: Node, weaker: Mapping[str, Any], sweep: Entry | None) -> SuiteCase:
        if not isinstance(node, Table):
            node.place.refuse("a case is a table: {name: short, prompt: Hello}")
        for key, entry in node:
            if key not in ROWS and key not in CASE_KEYS:
                refuse_key(key, entry.place, "a case has", [*CASE_KEYS, *ROWS])
        own = self._layer({key: entry for key, entry in node if key not in CASE_KEYS})
        sweep = node.entries.get("sweep", sweep)
        swept: tuple[Combination, ...] = NO_SWEEP
        if sweep is not None and plain(sweep.node) is not None:
            swept = read_sweep(sweep.node, self._read)
        self._points += len(swept)
        if self._points > MOST_POINTS:
            node.place.refuse(f"the suite has more than {MOST_POINTS:,} cases")
        held = _over(own, weaker)
        name = _name(node)
        points = [self._point(name, held, combination, node.place) for combination in swept]
        kinds = {*held, *_paths(swept)}
        named: set[str] = {point.values.get("preset", NO_PRESET) for point in points} - {NO_PRESET}
        meant = {key for name in named for key in self._suite.presets.find(name).written}
        fixture = _fixture(kinds, meant, {*own, *_paths(swept)}, node.place)
        return SuiteCase(name, node.place, _tags(node), fixture, points)

    def _point(self, name: str, held: Mapping[str, Any], combination: Combination, place: Place) -> Point:
        values = dict(held)
        for value in combination.values:
            _say(value, values)
        asked = Asked(**{key: values.pop(key) for key in ASKED if key in values})
        if asked.conversation is not None and not asked.conversation.name:
            asked = replace(asked, conversation=replace(asked.conversation, name=name))
        swept = [value.path for value in combination.values]
        for path in swept:
            if others := clashing(path, swept):
                place.refuse(f"the sweep gives {path} and {others[0]} together: a case asks one of them")
        point = Point(values, asked, combination, self._suite)
        told = tuple(map(values.get, CONTRADICTING))
        if told not in self._checked:
            self._checked.add(told)
            try:
                point.source.values.check()
            except UsageError as error:
                place.refuse(str(error))
        return point

    # -- settings -----------------------------------------------------------------------------

    def _layer(self, entries: Mapping[str, Entry]) -> dict[str, Any]:
        """The settings that one table says, typed."""
        values = {key: self._value(key, entry.node) for key, entry in entries.items()}
        for key in ASKED:
            if key in values and (others := clashing(key, values)):
                entries[others[0]].place.refuse(f"give {key} or {others[0]}, not both")
        return values

    def _read(self, path: str, node: Node) -> Any:
        """One value of a sweep, whose path may lead into a table."""
        key, *parts = path.split(".")
        if key not in ROWS:
            refuse_key(path, node.place, "a case has", list(ROWS))
        if not parts:
            return self._value(key, node)
        if len(parts) != _PARTS.get(key):
            into = " and ".join(f"{key}{'.NAME' * count}" for key, count in _PARTS.items())
            node.place.refuse(f"{path!r} cannot be swept; the paths that lead into a table are {into}")
        for part in reversed(parts):
            node = Table({part: Entry(node.place, node)}, node.place)
        return self._value(key, node)

    def _value(self, key: str, node: Node) -> Any:
        """One setting, typed; its paths are absolute, and what it names is noted."""
        row, place = ROWS[key], node.place
        said = self._conversation(node) if key == "conversation" else plain(node)
        value = row.read(said, f"{place}: {key}")
        if key in ASKED or (row.role not in ("cases", "test") and not row.path):
            return value
        folder = place.file.parent
        if key == "models" and folder != self._suite.path.parent:
            value = tuple(_model_from(folder, name) for name in value)
        source = Source.of({key: value}, folder, self._suite.aliases).located(self._registry)
        source = self._suite.presets.attached(source, str(place))
        if row.role in ("cases", "test"):
            self._suite.said.append((place, source))
        return getattr(source.values, key)

    def _conversation(self, node: Node) -> object:
        """A conversation; each that is named is read once."""
        key = (node.place.file.parent, node.text) if isinstance(node, Scalar) else None
        if key is None:
            return asked_conversation(node)
        if key not in self._conversations:
            self._conversations[key] = asked_conversation(node)
        return self._conversations[key]

    # -- presets and models ---------------------------------------------------------------------------------

    def _presets(self, table: Table | None) -> Presets:
        if table is None:
            return self._suite.presets
        file = self._suite.path
        return self._suite.presets.extended(
            plain(table),
            lambda keys: str(_place_of(table, keys)),
            self._registry,
            folder=file.parent,
            origin=shown_path(file),
        )

    def _aliases(self, table: Table | None) -> Aliases | None:
        if table is None or not table.entries:
            return None
        from pytest_llmbench.models.aliases import Alias, Aliases, Written, read_alias

        entries: dict[str, Alias] = {}
        written: dict[str, Written] = {}
        for name, (place, node) in table:
            keys = {key: str(inner.place) for key, inner in node} if isinstance(node, Table) else {}
            entries[name] = read_alias(name, _texts(node), str(place), keys)
            written[name] = Written(place.file, str(place))
        return Aliases(entries, written)


_PARTS = {"backend_options": 2, "slo": 1}
"""Tables into which a path of a sweep may lead, and the parts that it then has after the key."""


def _table(top: Mapping[str, Entry], key: str, example: str) -> Table | None:
    """A part of the file that is a table; None if it is not there or empty."""
    if key not in top or _is_null(top[key].node):
        return None
    node = top[key].node
    if not isinstance(node, Table):
        node.place.refuse(f"{key} is a table, such as {example}")
    return node


def _is_null(node: Node) -> bool:
    """Whether nothing is written."""
    return not isinstance(node, Items | Table) and node.value is None


def _over(own: Mapping[str, Any], weaker: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a case: its own, and the defaults' others."""
    values = {key: value for key, value in weaker.items() if not clashing(key, own)}
    values |= own
    if "backend_options" in own and "backend_options" in weaker:
        values["backend_options"] = own["backend_options"].over(weaker["backend_options"])
    return values


def _say(value: Value, values: dict[str, Any]) -> None:
    """Let the settings of a case be those at a point that says *value*."""
    key, dot, _ = value.path.partition(".")
    said, held = value.read, values.get(key)
    for name in clashing(key, values):
        del values[name]
    if isinstance(said, BackendOptions) and held is not None:
        said = said.over(held)
    elif dot and held is not None:
        said = {**held, **said}
    values[key] = said


def _place_of(node: Node, keys: Sequence[str]) -> Place:
    """Where the last of *keys* stands in a table of tables."""
    place = node.place
    for key in keys:
        if not isinstance(node, Table) or key not in node.entries:
            break
        place, node = node.entries[key]
    return place


def _paths(swept: Sequence[Combination]) -> set[str]:
    """What a sweep has values of."""
    return {value.path for point in swept for value in point.values}


def _fixture(keys: set[str], meant: set[str], own: set[str], place: Place) -> Fixture:
    """What measures a case with these *keys*, and what its preset says: *meant*.

    A case that names a load level, or what only load levels have, is one. If it asks nothing, its preset may.

    :param own: the keys that it has not from the suite's defaults.
    """
    rows = {key.partition(".")[0] for key in keys}
    rows |= set() if ASKED.keys() & rows else meant
    under_load = [key for key in SETTINGS if key in rows and _only(key, "llm_load")]
    if "conversation" in rows:
        held = {"conversations", "concurrency"} & rows
        if under_load and not held:
            place.refuse(
                "a conversation is held alone, or under load with conversations or concurrency, and not with "
                f"{under_load[0]} only: leave one out"
            )
        return "llm_load" if held else "llm_chat"
    if not under_load and (talks := [key for key in SETTINGS if key in own and _of_talks(key)]):
        place.refuse(f"{talks[0]} is for conversations: give a conversation, or leave {talks[0]} out")
    alone = [key for key in ASKED if key in rows and ASKED[key].only]
    if under_load and alone:
        place.refuse(
            f"{alone[0]} is for one request at a time, and {under_load[0]} is for load levels: under "
            "load, prompt_length makes prompts"
        )
    if under_load:
        return "llm_load"
    if not ASKED.keys() & rows:
        place.refuse(
            f"the case asks nothing: give one of {', '.join(ASKED)}, or a load level: concurrency or "
            "request_rate"
        )
    return "llm_model"


def _only(key: str, fixture: Fixture) -> bool:
    """Whether a setting does something for the fixture, and nothing for others."""
    return all(does_for(SETTINGS[key], one) == (one == fixture) for one in FIXTURES)


def _of_talks(key: str) -> bool:
    """Whether a setting does something for conversations, and nothing for a model that is asked once."""
    return does_for(SETTINGS[key], "llm_chat") and not does_for(SETTINGS[key], "llm_model")


def _name(node: Table) -> str:
    entry = node.entries.get("name")
    if entry is None:
        node.place.refuse("the case has no name: write 'name: short'")
    name = entry.node.text if not isinstance(entry.node, Items | Table) else ""
    if not re.fullmatch(NAME, name):
        entry.node.place.refuse(
            f"name: {plain(entry.node)!r} is not a valid name: use at most 100 letters, digits, '_', '-', "
            "'.' and '+', a letter or a digit first"
        )
    if name in _OF_MODULES:
        entry.node.place.refuse(f"name: {name!r} means something else in a test file: choose another name")
    return name


def _tags(node: Table) -> tuple[str, ...]:
    return read_tags(node.entries["tags"].node) if "tags" in node.entries else ()


def _texts(node: Node) -> object:
    """Every part as it is written: a revision 0123 keeps its zero."""
    if isinstance(node, Items):
        return [_texts(one) for one in node.nodes]
    if isinstance(node, Table):
        return {key: _texts(entry.node) for key, entry in node}
    return node.text


def _model_from(folder: Path, name: str) -> str:
    """A model that another file names: its path, if it is one, is meant from that file's folder."""
    return str(from_folder(name, folder)) if ModelSpec(name).is_path else name
