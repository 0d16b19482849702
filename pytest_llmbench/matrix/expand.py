"""Which cells does a matrix have, and which combinations are none?

Every case of the suite at every point of its sweep and every load level, for every model, engine,
quantization and kind of hardware. What cannot be measured - an engine that does not read the model, a
quantization that it lacks, weights that the devices cannot hold - is left out with its reason, before
anything is scheduled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.cases.case import LoadLevel
from pytest_llmbench.cases.need import of_asked
from pytest_llmbench.cases.selection import Selector
from pytest_llmbench.cases.target import EngineTarget, ServerTarget, Target
from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.matrix.cells import Cell, Dropped, cell_id
from pytest_llmbench.matrix.written import Writer, hashed, model_at
from pytest_llmbench.models.spec import AS_IS
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.servers.options import SERVER
from pytest_llmbench.settings.case import AUTO
from pytest_llmbench.settings.matrix_table import AXES, SETTING_OF, Entry, MatrixTable, names_of
from pytest_llmbench.settings.sources import Precedence

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.models.room import Room
    from pytest_llmbench.models.spec import ModelSpec
    from pytest_llmbench.processes.wire import Json
    from pytest_llmbench.servers.starts import Starts
    from pytest_llmbench.settings.case import CaseSettings
    from pytest_llmbench.settings.suite import Point, Suite, SuiteCase

MOST_CELLS = 1_000_000
_LEVELS = tuple(one.name for one in fields(LoadLevel))
"""The settings that a load level is written with."""


class Identity(NamedTuple):
    """Which weights a cell is of, as far as that was looked up."""

    about: Json
    problem: str | None = None
    """Why they are not available, in one line."""


@dataclass(slots=True)
class Expanded:
    """What a matrix comes to."""

    cells: list[Cell] = field(default_factory=list)
    """In the order in which they are written."""
    refused: dict[str, str] = field(default_factory=dict)
    """Of cells whose model is not available, by id: why."""
    dropped: list[Dropped] = field(default_factory=list)
    excluded: int = 0
    """By an entry of ``exclude``."""
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """By axis, how many cells each value has."""


@dataclass(frozen=True, slots=True)
class _Engine:
    """An engine of the matrix."""

    name: str
    served: bool
    target: Target


@dataclass(frozen=True, slots=True)
class _Asked:
    """A case at one point and one load level."""

    case: SuiteCase
    point: Point
    level: LoadLevel | None
    held: CaseSettings


class Expansion:
    """Expands one matrix; what several cells need is found out once."""

    def __init__(
        self,
        suite: Suite,
        table: MatrixTable,
        registry: Registry,
        starts: Starts,
        identify: Callable[[ModelSpec, Target], Identity],
        room_of: Callable[[str, int], Room | None],
    ) -> None:
        """Expand nothing yet.

        :param identify: looks a model up, as it is for a target.
        :param room_of: the memory of so many devices of a label; None where that is not known.
        """
        self._suite = suite
        self._table = table
        self._registry = registry
        self._starts = starts
        self._identify = identify
        self._precedence = Precedence()
        self._selector = Selector(registry, self._precedence, suite.aliases, starts)
        self._spaces = {
            devices: self._selector.space.of_machine(room, names_of(devices)[1])
            for devices in table.hardware
            if (room := room_of(devices.name, devices.count)) is not None
        }
        self._writer = Writer(suite, registry)
        self._head, self._defaults, self._cases = (
            self._writer.head(),
            self._writer.defaults(),
            self._writer.cases(),
        )
        self._common = hashed([self._head.get("models"), self._head.get("presets")])
        self._known: dict[
            tuple[str, bool, str, str | None], tuple[ModelSpec, str | None, Identity | None]
        ] = {}
        self._folder = suite.path.parent
        self._found = Expanded(counts={axis: Counter() for axis in AXES})
        self._ids: set[str] = set()

    def expand(self) -> Expanded:
        """The cells, in the order in which they are written; each once.

        :raises UsageError: in one line, with the place, for what the matrix names and nothing has, and if it
            has no cell.
        """
        self._check()
        entries: list[Entry | None] = [None, *self._table.include]
        for entry in entries:
            for asked in self._asked():
                self._product(asked, entry)
        if not self._found.cells:
            why = f": {self._found.dropped[0].reason}" if self._found.dropped else ""
            self._table.place.refuse(f"the matrix has no cell{why or ': everything is excluded'}")
        return self._found

    def _asked(self) -> Iterator[_Asked]:
        for case in self._suite.cases:
            for point in case.points:
                held = self._precedence.settings(point.source)
                levels: Sequence[LoadLevel | None] = [None]
                if case.fixture == "llm_load":
                    levels = self._selector.loads(point.source)
                yield from (_Asked(case, point, level, held) for level in levels)

    def _product(self, asked: _Asked, entry: Entry | None) -> None:
        """The cells of one case at one point and level, for the whole matrix or an entry of ``include``."""
        said = entry or {}
        if not _is(said, "cases", asked.case.name) or not _is(said, "load", _load(asked.level)):
            return
        engines = self._engines(asked, said)
        models = self._values("models", asked, said)
        quantizations = self._values("quantizations", asked, said) or (None,)
        for devices in self._table.hardware:
            if entry is not None and not _named(entry, devices):
                continue
            for engine in engines:
                for model in models:
                    for quantization in quantizations:
                        quantization = None if quantization == AS_IS else quantization
                        self._add(asked, devices, engine, str(model), quantization, entry is not None)
        if len(self._found.cells) > MOST_CELLS:
            self._table.place.refuse(f"the matrix has more than {MOST_CELLS:,} cells")

    def _values(self, axis: str, asked: _Asked, said: Entry) -> Sequence[str | None]:
        """The values of an axis: of an entry, a point, the case itself, the matrix, or the settings."""
        setting = SETTING_OF[axis]
        if axis in said:
            return said[axis]
        own = self._cases[asked.case.name]
        swept = {value.path for value in asked.point.combination.values}
        if setting in swept or setting in own or axis not in self._table.axes:
            return tuple(map(str, getattr(asked.held, setting)))
        return self._table.axes[axis]

    def _engines(self, asked: _Asked, said: Entry) -> list[_Engine]:
        both = {"backends", "servers"}
        whose = said if both & said.keys() else None
        backends = (
            () if whose is not None and "backends" not in said else self._values("backends", asked, said)
        )
        servers = () if whose is not None and "servers" not in said else self._values("servers", asked, said)
        found = [
            _Engine(name, False, EngineTarget(self._registry.get(name)))
            for name in backends
            if name is not None and name not in (AUTO, SERVER)
        ]
        found += [
            _Engine(name, True, ServerTarget(engine=name, start=self._starts.find(name)))
            for name in servers
            if name is not None
        ]
        if not found:
            asked.case.place.refuse(
                f"the case {asked.case.name!r} names no engine: give the matrix backends or servers"
            )
        return found

    def _add(
        self,
        asked: _Asked,
        devices: Hardware,
        engine: _Engine,
        model: str,
        quantization: str | None,
        included: bool,
    ) -> None:
        load = _load(asked.level)
        cell = Cell(
            "", asked.case.name, devices, engine.name, engine.served, model, quantization, load,
            asked.point.combination.plain,
        )  # fmt: skip
        if not included and any(_matches(entry, cell) for entry in self._table.exclude):
            self._found.excluded += 1
            return
        spec, misfit, identity = self._model(engine, model, quantization)
        why = self._why_not(asked, devices, engine, spec, misfit)
        if why is not None or identity is None:
            self._found.dropped.append(Dropped(cell.label, why or "its model is not known"))
            return
        suite, case = self._suite_of(asked, engine, model, quantization)
        made = replace(cell, id=cell_id(case, identity.about, devices), suite=suite)
        if made.id in self._ids:
            return
        self._ids.add(made.id)
        self._found.cells.append(made)
        if identity.problem is not None:
            self._found.refused[made.id] = identity.problem
        for axis, value in (
            ("hardware", devices.label),
            ("models", model),
            ("servers" if engine.served else "backends", engine.name),
            ("quantizations", quantization or AS_IS),
            ("cases", asked.case.name),
            ("load", load or "-"),
        ):
            self._found.counts[axis][value] += 1

    def _model(
        self, engine: _Engine, model: str, quantization: str | None
    ) -> tuple[ModelSpec, str | None, Identity | None]:
        """A model for an engine: its spec, why the engine cannot run it, and which weights it is."""
        key = (engine.name, engine.served, model, quantization)
        if key not in self._known:
            spec = self._selector.spec(model, self._folder, self._suite.aliases)
            spec = spec if quantization is None else replace(spec, quantization=quantization)
            misfit = engine.target.misfit(spec, self._registry)
            identity = None if misfit is not None else self._identify(spec, engine.target)
            self._known[key] = (spec, misfit, identity)
        return self._known[key]

    def _why_not(
        self, asked: _Asked, devices: Hardware, engine: _Engine, spec: ModelSpec, misfit: str | None
    ) -> str | None:
        if asked.case.fixture == "llm_load" and not engine.served:
            return f"load levels need a server, and {engine.name} is an engine in a process"
        if misfit is not None or not self._table.fits or devices not in self._spaces:
            return misfit
        fit = self._spaces[devices].fit(engine.target, spec, asked.held)
        need = of_asked(asked.case.fixture, asked.held, asked.point.asked)
        return fit.misfit(need) or fit.too_heavy()

    def _suite_of(
        self, asked: _Asked, engine: _Engine, model: str, quantization: str | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """A suite of the one case, and what its hash is made of."""
        point = {
            path: value for path, value in asked.point.combination.plain.items() if path not in _SELECTED
        }
        own = {key: value for key, value in self._cases[asked.case.name].items() if key not in _SELECTED}
        defaults = {key: value for key, value in self._defaults.items() if key not in _SELECTED}
        selected: dict[str, Any] = {"models": [model_at(model, self._folder)]}
        selected |= {"serve": [engine.name]} if engine.served else {"backends": [engine.name]}
        selected |= {} if quantization is None else {"quantizations": [quantization]}
        if asked.level is not None:
            own = {key: value for key, value in own.items() if key not in _LEVELS}
            defaults = {key: value for key, value in defaults.items() if key not in _LEVELS}
            point = {path: value for path, value in point.items() if path not in _LEVELS}
            told = {key: getattr(asked.level, key) for key in _LEVELS}
            selected |= {key: [value] for key, value in told.items() if value is not None}
        case = {**own, **selected}
        if point:
            case["sweep"] = {"type": "list", "parameters": [point]}
        suite = {**self._head, "defaults": defaults, "cases": [case]}
        asked_of = {key: value for key, value in {**defaults, **case}.items() if key != "tags"}
        # Which file the weights are in is the model's part of the hash.
        asked_of["models"] = [] if model.startswith(("/", ".", "~")) else [model]
        return suite, {"asked": hashed(asked_of), "common": self._common if "preset" in asked_of else None}

    def _check(self) -> None:
        """Refuse what the matrix names and nothing has.

        :raises UsageError: with the place.
        """
        known = {
            "hardware": {name for devices in self._table.hardware for name in names_of(devices)},
            "cases": {case.name for case in self._suite.cases},
        }
        for key, entries in (("include", self._table.include), ("exclude", self._table.exclude)):
            for entry in entries:
                for axis, there in known.items():
                    for value in entry.get(axis, ()):
                        if value not in there:
                            self._table.places[key].refuse(
                                f"{key}: {axis} is never {value!r}{suggest(value, sorted(there))}; there are "
                                f"{', '.join(sorted(there))}"
                            )
        for key, entry in (("matrix", self._table.axes), *(("include", one) for one in self._table.include)):
            place = self._table.places.get(key, self._table.place)
            try:
                for model in entry.get("models", ()):
                    self._selector.spec(model, self._folder, self._suite.aliases)
                for name in entry.get("backends", ()):
                    self._registry.get(name)
                for name in entry.get("servers", ()):
                    _ = ServerTarget(engine=name, start=self._starts.find(name)).form
            except UsageError as error:
                place.refuse(str(error))
        for entry in self._table.exclude:
            for axis, values in entry.items():
                there = set(self._table.axes.get(axis, ()))
                for value in values:
                    if axis in SETTING_OF and there and value not in there:
                        self._table.places["exclude"].refuse(
                            f"exclude: {axis} is never {value!r}{suggest(value, sorted(there))}"
                        )


_SELECTED = frozenset({"models", "backends", "serve", "base_url", "quantizations"})
"""Settings of which a cell has one value of its own."""


def _load(level: LoadLevel | None) -> str | None:
    return None if level is None else level.label


def _is(said: Entry, axis: str, value: str | None) -> bool:
    return axis not in said or value in said[axis]


def _named(said: Entry, devices: Hardware) -> bool:
    return "hardware" not in said or any(name in said["hardware"] for name in names_of(devices))


def _matches(entry: Mapping[str, tuple[str, ...]], cell: Cell) -> bool:
    return (
        _named(entry, cell.hardware)
        and _is(entry, "models", cell.model)
        and _is(entry, "servers" if cell.served else "backends", cell.engine)
        and ("backends" if cell.served else "servers") not in entry
        and _is(entry, "quantizations", cell.quantization or AS_IS)
        and _is(entry, "cases", cell.name)
        and _is(entry, "load", cell.load)
    )
