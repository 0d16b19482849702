"""Which cases does a test stand for?

Every combination of the backends, models and quantizations that hold for it. What a backend
cannot run is a skip with its reason, so that a matrix over several engines stays one list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.cases import need as needs
from pytest_llmbench.cases.case import Case, LoadLevel
from pytest_llmbench.cases.room import Fit, Space
from pytest_llmbench.cases.target import EngineTarget, ServerTarget, Target, other_form
from pytest_llmbench.errors import UsageError, saying_where
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.servers.options import SERVER, options_of
from pytest_llmbench.servers.urls import read_url
from pytest_llmbench.settings.case import AUTO
from pytest_llmbench.settings.kinds import FIXTURES
from pytest_llmbench.settings.sources import Precedence, Source

if TYPE_CHECKING:
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.models.aliases import Aliases
    from pytest_llmbench.servers.starts import Starts
    from pytest_llmbench.settings.case import CaseSettings

NO_SERVER = "this test needs a server: name one with --llm-base-url, or start one with --llm-serve"
_NOT_ON_SERVERS = "this test does not run on a server"


@dataclass(frozen=True, slots=True)
class Selected:
    """One case of a test, with what its id says of it; or why there is none."""

    id: str
    case: Case[Target] | None
    skip: str | None = None
    """Why it cannot run; None if it may."""
    fit: Fit | None = None
    """Tells whether what it asks fits; None where there is no case."""


class Selector:
    """Turns settings into cases; asks each backend only once whether it is there."""

    def __init__(
        self,
        registry: Registry,
        options: Precedence,
        aliases: Aliases | None,
        starts: Starts | None = None,
    ) -> None:
        """Look nothing up yet.

        :param starts: the presets of servers' starts; by default those that come with the package.
        """
        self._registry = registry
        self._given_starts = starts
        self._options = options
        self._aliases = aliases
        self._missing: dict[str, str | None] = {}
        self._specs: dict[tuple[str, Path | None, Aliases | None], ModelSpec] = {}
        self._misfits: dict[tuple[str, str, ModelSpec], str | None] = {}
        self._unreadable: dict[tuple[str, str, ModelSpec], str | None] = {}
        self.space = Space()
        """What the machine and the models' files have."""
        self.notes: dict[str, None] = {}
        """What a person is to know of the cases that were made, each once and in order."""

    def check_command_line(self) -> None:
        """Refuse what the command line or the ini file names and that does not exist, before anything runs.

        :raises UsageError: listing what there is.
        """
        typed, ini = self._options.command_line, self._options.ini
        for source in (*typed.chain(), *ini.chain()):
            with _saying_which(source):
                self._check_names(source)
        for source in typed.chain():
            for name in source.values.backends:
                if name not in (AUTO, SERVER) and (reason := self.missing(name)) is not None:
                    where = "--llm-backend" if source is typed else f"preset {source.name}: backends"
                    msg = f"{where}={name}: {reason}"
                    raise UsageError(msg)

    def check_marker(self, marker: Source) -> None:
        """The same for one test's marker.

        :raises UsageError: listing what there is.
        """
        for source in marker.chain():
            with _saying_which(source):
                self._check_names(source)

    def settings(self, marker: Source) -> CaseSettings:
        """Every setting as it holds for a test."""
        return self._options.settings(marker)

    def typed(self, path: str) -> bool:
        """Whether the command line says a setting, or an option: ``backend_options.BACKEND.NAME``."""
        key, *parts = path.split(".")
        if key == "backend_options" and len(parts) == 2:
            backend, name = parts
            return name in self._options.command_line.values.backend_options.of(backend)
        return key in self._options.command_line

    def _check_names(self, source: Source) -> None:
        for name in source.values.backends:
            self._check_backend(name)
        self._check_servers(source)
        if "models" in source and not self._options.settings(source).base_url:
            for model in source.values.models:
                self.spec(model, source.folder, source.aliases)
        self._check_options(source)
        self._check_quantizations(source)

    def cases(self, used: Sequence[str], marker: Source) -> tuple[str, list[Selected]]:
        """Which fixture of those *used* stands for a case, and for which cases.

        :raises UsageError: for fixtures that cannot stand for one case together.
        """
        if len(several := [name for name in used if name in FIXTURES]) > 1:
            msg = f"{' and '.join(several)} in one test are {len(several)} benchmarks: write a test for each"
            raise UsageError(msg)
        fixture = next((name for name in used if name in FIXTURES), "llm_server")
        on_engines = fixture in ("llm_model", "llm_chat")
        targets, why = self.targets(marker) if on_engines else self.server_targets(marker)
        levels = self.loads(marker) if fixture == "llm_load" else [None]
        held = self._options.settings(marker)
        need = needs.of_load(held, made=True) if fixture == "llm_load" else needs.of_prompt(held, None)
        selected = [
            Selected(case.id, case, self._misfit(target, spec) or fit.misfit(need), fit)
            for target in targets
            for spec in self._specs_for(target, targets, marker)
            for fit in [self.space.fit(target, spec, held)]
            for level in levels
            for case in [Case(target, spec, level)]
        ]
        return fixture, selected if why is None else [*selected, Selected("none", None, why)]

    def targets(self, marker: Source) -> tuple[list[Target], str | None]:
        """On what a test of ``llm_model`` runs, and why not on something that was asked for.

        A marker's ``backends``, or its preset's, says what the test supports; the command line and the ini
        file select among them.
        """
        supported = self._options.own("backends", marker)
        if supported is not None and AUTO in supported:
            supported = None
        wanted = self._options.settings().backends
        servers = self.servers(marker)
        if AUTO in wanted:
            if servers:
                # Who names a server means it alone.
                able = supported is None or SERVER in supported
                return (list(servers), None) if able else ([], _NOT_ON_SERVERS)
            names = [name for name in supported or self._registry.names() if name != SERVER]
            if not names:
                return [], NO_SERVER
            missing = {name: why for name in names if (why := self.missing(name)) is not None}
            there = [self._engine(name) for name in names if name not in missing]
            if there:
                return list(there), None
            return [], "no backend of this test can run here: " + "; ".join(missing.values())
        chosen = [name for name in wanted if supported is None or name in supported]
        if not chosen:
            return [], (
                f"this test supports the backends {', '.join(supported or ())}, "
                f"and {', '.join(wanted)} was selected"
            )
        for name in chosen:
            if name != SERVER and (why := self.missing(name)) is not None:
                return [], why
        targets: list[Target] = []
        for name in chosen:
            targets += servers if name == SERVER else [self._engine(name)]
        return targets, NO_SERVER if SERVER in chosen and not servers else None

    def server_targets(self, marker: Source) -> tuple[list[ServerTarget], str | None]:
        """On which servers a test of ``llm_load`` or ``llm_server`` runs, or none and why."""
        wanted = self._options.settings().backends
        supported = self._options.own("backends", marker)
        if supported is not None and not {AUTO, SERVER} & set(supported):
            return [], _NOT_ON_SERVERS
        if not {AUTO, SERVER} & set(wanted):
            names = ", ".join(wanted)
            return [], f"this test runs on servers (--llm-base-url, --llm-serve), and {names} was selected"
        servers = self.servers(marker)
        return servers, None if servers else NO_SERVER

    def _engine(self, name: str) -> EngineTarget:
        return EngineTarget(self._registry.get(name))

    def servers(self, marker: Source) -> list[ServerTarget]:
        """The servers to measure; none where none was named."""
        held = self._options.settings(marker)
        return [
            *(ServerTarget(base_url=url, alone=len(held.base_url) == 1) for url in held.base_url),
            *(ServerTarget(engine=engine, start=self._starts.find(engine)) for engine in held.serve),
        ]

    def loads(self, marker: Source) -> list[LoadLevel]:
        """The load levels of a test; one request at a time where none is named."""
        levels = self._options.levels(marker)
        return [
            *(
                LoadLevel(concurrency=n, conversations=talks)
                for talks in levels.conversations or (None,)
                for n in levels.closed or ((None,) if levels.conversations else ())
            ),
            *(LoadLevel(request_rate=rate) for rate in levels.open),
            *([LoadLevel()] if levels.trace else []),
        ] or [LoadLevel(concurrency=1)]

    def _specs_for(self, target: Target, targets: Sequence[Target], marker: Source) -> Iterator[ModelSpec]:
        """The models of a target, one of those *targets* that the test runs on."""
        held, place = self._options.settings(marker), self._options.place("models", marker)
        if target.form is None:
            # Its name is the server's own; without one, the server is asked what it has.
            for model in held.models if place is not None else ("",):
                yield ModelSpec(model)
            return
        folder, aliases = (None, None) if place is None else (place.folder, place.aliases)
        quantizations: Sequence[str | None] = held.quantizations or (None,)
        for model in held.models:
            spec = self.spec(model, folder, aliases)
            if self._left_out(target, spec, targets):
                continue
            for quantization in quantizations:
                yield spec if quantization is None else replace(spec, quantization=quantization)

    def _misfit(self, target: Target, spec: ModelSpec) -> str | None:
        """:meth:`Target.misfit`, found out once."""
        key = (target.name, target.label, spec)
        if key not in self._misfits:
            self._misfits[key] = target.misfit(spec, self._registry)
        return self._misfits[key]

    def _left_out(self, target: Target, spec: ModelSpec, targets: Sequence[Target]) -> bool:
        """Whether *target* cannot read a model's files and others of *targets* can: no case of its own.

        It is noted once, and not a skip for every test.
        """
        why = self._unread(target, spec)
        able = [one.label for one in targets if one.form is not None and self._unread(one, spec) is None]
        if why is None or not able:
            return False
        self.notes[f"{why}: it is measured on {', '.join(able)}"] = None
        return True

    def missing(self, name: str) -> str | None:
        """Why a backend cannot run here; None if it can."""
        if name not in self._missing:
            availability = self._registry.get(name).availability()
            self._missing[name] = (
                None if availability.available else availability.reason or f"{name} is missing"
            )
        return self._missing[name]

    def spec(self, model: str, folder: Path | None = None, aliases: Aliases | None = None) -> ModelSpec:
        """The spec that a name stands for.

        :param folder: from where a relative path is meant; the command line's if None.
        :param aliases: names that are stronger than those of the session.
        """
        folder = folder or self._options.command_line.folder
        key = (model, folder, aliases)
        if key not in self._specs:
            from pytest_llmbench.models.resolve import parse_spec

            both = self._aliases if aliases is None else aliases.over(self._aliases)
            self._specs[key] = parse_spec(model, aliases=both, folder=folder)
        return self._specs[key]

    def _unread(self, target: Target, spec: ModelSpec) -> str | None:
        """Why a target cannot read a model's files, found out once; None if it may."""
        key = (target.name, target.label, spec)
        if key not in self._unreadable:
            assert target.form is not None
            self._unreadable[key] = other_form(target.form, spec, target.label)
        return self._unreadable[key]

    def _check_backend(self, name: str) -> None:
        """Refuse a backend that there is not.

        :raises UsageError: listing what there is.
        """
        from pytest_llmbench.servers.table import ENGINES

        if name in ENGINES and name not in self._registry.names():
            msg = f"there is no backend {name!r}; {name} is a server: start one with --llm-serve={name}"
            raise UsageError(msg)
        if name not in (AUTO, SERVER):
            self._registry.get(name)

    def _check_servers(self, source: Source) -> None:
        for url in source.values.base_url:
            read_url(url)
        for engine in source.values.serve:
            self._starts.find(engine)

    @property
    def _starts(self) -> Starts:
        if self._given_starts is None:
            from pytest_llmbench.servers.starts import Starts

            self._given_starts = Starts()
        return self._given_starts

    def _check_options(self, source: Source) -> None:
        from pytest_llmbench.backends.options import option_values

        for name in source.values.backend_options:
            option_values(options_of(name, self._registry), source.values.backend_options.of(name))

    def _check_quantizations(self, source: Source) -> None:
        for name in source.values.quantizations:
            known = {b: self._registry.get(b).quantizations for b in self._registry.names()}
            if not any(name in quantizations for quantizations in known.values()):
                there = "; ".join(
                    f"{backend}: {', '.join(names)}" for backend, names in known.items() if names
                )
                msg = f"no backend has a quantization {name!r}; the quantizations are {there}"
                raise UsageError(msg)


def _saying_which(source: Source) -> AbstractContextManager[None]:
    """Lets an error of a preset's say which it is of."""
    return saying_where(f"preset {source.name}") if source.name else nullcontext()
