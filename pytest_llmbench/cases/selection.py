"""Which cases does a test stand for?

Every combination of the backends, models and quantizations that hold for it. What a backend
cannot run is a skip with its reason, so that a matrix over several engines stays one list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmbench.errors import ModelError, UsageError
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.servers.openai import NO_SERVER
from pytest_llmbench.servers.urls import read_url
from pytest_llmbench.settings.case import AUTO
from pytest_llmbench.settings.sources import Precedence, Source

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

    from pytest_llmbench.backends.base import Backend
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.models.aliases import Aliases
    from pytest_llmbench.models.spec import Form


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """One server to measure: one that runs already, or one to start."""

    base_url: str | None = field(default=None, repr=False)
    """It may have a password in it."""
    engine: str | None = None
    """As in ``--llm-serve``: ``vllm``, ``docker:vllm``."""
    alone: bool = True
    """Whether it is the only one that runs already."""

    @property
    def label(self) -> str:
        """What test ids call it."""
        if self.engine is not None:
            return self.engine.replace(":", "-")
        return "openai" if self.alone else f"openai@{read_url(self.base_url or '').place}"


@dataclass(frozen=True, slots=True)
class LoadLevel:
    """How much a server is asked at a time: a closed loop, an open one, or (neither) a trace's own."""

    concurrency: int | None = None
    request_rate: float | None = None
    """Requests a second."""

    @property
    def label(self) -> str:
        """``c8`` for 8 at once, ``r2.5`` for 2.5 a second, ``trace`` for a trace's own times."""
        if self.concurrency is not None:
            return f"c{self.concurrency}"
        return "trace" if self.request_rate is None else f"r{self.request_rate:g}"


@dataclass(frozen=True, slots=True)
class CaseParam:
    """What ``llm_model``, ``llm_load`` or ``llm_server`` is parametrized with."""

    backend: Backend
    spec: ModelSpec
    server: ServerChoice | None = None
    load: LoadLevel | None = None

    @property
    def id(self) -> str:
        parts = [
            self.backend.name if self.server is None else self.server.label,
            self.spec.label,
            "" if self.load is None else self.load.label,
        ]
        return "-".join(part for part in parts if part)


CASE_FIXTURES = ("llm_model", "llm_load", "llm_server")
"""The fixtures that stand for a case; a test that has one of them is a benchmark."""


class Selector:
    """Turns settings into parameters; asks each backend only once whether it is there."""

    def __init__(self, registry: Registry, options: Precedence, aliases: Aliases | None) -> None:
        self._registry = registry
        self._options = options
        self._aliases = aliases
        self._missing: dict[str, str | None] = {}
        self._specs: dict[tuple[str, Path | None], ModelSpec] = {}
        self._misfits: dict[tuple[str, ModelSpec], str | None] = {}
        self._unreadable: dict[tuple[str, str], str | None] = {}
        self.notes: dict[str, None] = {}
        """What a person is to know of the cases that were made, each once and in order."""

    def check_command_line(self) -> None:
        """Refuse what the command line or the ini file names and nobody has, before anything runs.

        :raises UsageError: listing what there is.
        """
        for source in (self._options.command_line, self._options.ini):
            self._check_names(source)
            for name in source.values.backends:
                if name == AUTO:
                    continue
                if source is self._options.command_line and (reason := self.missing(name)) is not None:
                    msg = f"--llm-backend={name}: {reason}"
                    raise UsageError(msg)

    def check_marker(self, marker: Source) -> None:
        """The same for one test's marker.

        :raises UsageError: listing what there is.
        """
        self._check_names(marker)

    def _check_names(self, source: Source) -> None:
        for name in source.values.backends:
            if name != AUTO:
                self._registry.get(name)
        self._check_servers(source)
        if "models" in source and not self._options.settings(source).base_url:
            for model in source.values.models:
                self.spec(model, source.folder)
        self._check_options(source)
        self._check_quantizations(source)

    def cases(self, used: Sequence[str], marker: Source) -> tuple[str, list[ParameterSet]]:
        """Which fixture of those *used* is parametrized, and with what.

        :raises UsageError: for fixtures that cannot stand for one case together.
        """
        if "llm_model" in used and "llm_load" in used:
            msg = "llm_model and llm_load in one test are two benchmarks: write a test for each"
            raise UsageError(msg)
        if "llm_load" in used:
            return "llm_load", self.served(marker)
        if "llm_model" in used:
            return "llm_model", self.params(marker)
        return "llm_server", self.served(marker, [None])

    def params(self, marker: Source) -> list[ParameterSet]:
        """One parameter a case, with its id; what cannot run is marked as skipped."""
        backends, reason = self.backends(marker)
        if reason is not None:
            return [_skipped(reason)]
        held, folder = self._options.settings(marker), self._models_folder(marker)
        quantizations: Sequence[str | None] = held.quantizations or (None,)
        readers = {n: b.form for n in backends if not is_served(b := self._registry.get(n))}
        params = []
        for name in backends:
            backend = self._registry.get(name)
            if is_served(backend):
                params += self.served(marker, [None])
                continue
            for model in held.models:
                if self._left_out(name, self.spec(model, folder), readers):
                    continue
                for quantization in quantizations:
                    spec = self.spec(model, folder)
                    if quantization is not None:
                        spec = replace(spec, quantization=quantization)
                    case = CaseParam(backend, spec)
                    reason = self._misfit(backend, spec, name)
                    marks = () if reason is None else pytest.mark.skip(reason=reason)
                    params.append(pytest.param(case, id=case.id, marks=marks))
        return params

    def served(self, marker: Source, loads: Sequence[LoadLevel | None] | None = None) -> list[ParameterSet]:
        """One parameter for each server, model, quantization and load level, with its id.

        *loads* are the marker's and the command line's unless given.
        """
        backends, reason = self.backends(marker)
        name = next((n for n in backends if is_served(self._registry.get(n))), None)
        servers = self.servers(marker)
        if name is None or not servers:
            return [_skipped(reason or NO_SERVER)]
        backend = self._registry.get(name)
        levels = self.loads(marker) if loads is None else loads
        params = []
        for server in servers:
            for spec, misfitting in self._served_specs(server, marker):
                marks = () if misfitting is None else pytest.mark.skip(reason=misfitting)
                for load in levels:
                    case = CaseParam(backend, spec, server, load)
                    params.append(pytest.param(case, id=case.id, marks=marks))
        return params

    def servers(self, marker: Source) -> list[ServerChoice]:
        """The servers to measure; none where nobody named one."""
        held = self._options.settings(marker)
        return [
            *(ServerChoice(base_url=url, alone=len(held.base_url) == 1) for url in held.base_url),
            *(ServerChoice(engine=engine) for engine in held.serve),
        ]

    def loads(self, marker: Source) -> list[LoadLevel]:
        """The load levels of a test; one request at a time where nobody names one."""
        levels = self._options.levels(marker)
        return [
            *(LoadLevel(concurrency=n) for n in levels.closed),
            *(LoadLevel(request_rate=rate) for rate in levels.open),
            *([LoadLevel()] if levels.trace else []),
        ] or [LoadLevel(concurrency=1)]

    def _served_specs(self, server: ServerChoice, marker: Source) -> Iterator[tuple[ModelSpec, str | None]]:
        """The models to ask a server for, each with why it cannot be had, if so."""
        from pytest_llmbench.servers.table import find_engine

        held, folder = self._options.settings(marker), self._models_folder(marker)
        quantizations: Sequence[str | None] = held.quantizations or (None,)
        if server.engine is None:
            # Its name is the server's own; without one, the server is asked what it has.
            for model in held.models if self._options.place("models", marker) is not None else ("",):
                yield ModelSpec(model), None
            return
        readers = {engine: find_engine(engine).form for engine in held.serve}
        for model in held.models:
            if self._left_out(server.engine, self.spec(model, folder), readers):
                continue
            for quantization in quantizations:
                spec = self.spec(model, folder)
                if quantization is not None:
                    spec = replace(spec, quantization=quantization)
                yield spec, self.unservable(server.engine, spec, quantization)

    def unservable(self, engine: str, spec: ModelSpec, quantization: str | None) -> str | None:
        """Why a server of *engine* cannot be started with a model in the *quantization* that was asked for.

        None if it may.
        """
        from pytest_llmbench.models.forms import FORMS
        from pytest_llmbench.servers.table import find_engine

        form = find_engine(engine).form
        if quantization is not None and not FORMS[form].quantized:
            return f"{engine} takes a model as it is: quantization {quantization!r} is not made"
        runner = next(b for n in self._registry.names() if (b := self._registry.get(n)).form == form)
        return self._misfit(runner, spec, engine)

    def _misfit(self, backend: Backend, spec: ModelSpec, name: str) -> str | None:
        """:func:`misfit`, found out once."""
        if (name, spec) not in self._misfits:
            self._misfits[name, spec] = misfit(backend, spec, name)
        return self._misfits[name, spec]

    def _left_out(self, name: str, spec: ModelSpec, readers: Mapping[str, Form]) -> bool:
        """Whether *name* cannot read a model's files and others of *readers* can: that is no case of its own.

        It is noted once, and not a skip for every test.
        """
        for reader, form in readers.items():
            if (reader, spec.name) not in self._unreadable:
                self._unreadable[reader, spec.name] = other_form(form, spec, reader)
        why = self._unreadable[name, spec.name]
        able = [reader for reader in readers if self._unreadable[reader, spec.name] is None]
        if why is None or not able:
            return False
        self.notes[f"{why}: it is measured on {', '.join(able)}"] = None
        return True

    def backends(self, marker: Source) -> tuple[list[str], str | None]:
        """The backends to run on, or none and why.

        A marker's ``backends`` says what the test supports; the command line and the ini file
        select among them.
        """
        supported = marker.values.backends if "backends" in marker else None
        if supported is not None and AUTO in supported:
            supported = None
        wanted = self._options.settings().backends
        servers = self.servers(marker)
        if AUTO in wanted:
            candidates = [
                name
                for name in (supported if supported is not None else self._registry.names())
                # Who names a server means it alone; who names none has none.
                if is_served(self._registry.get(name)) == bool(servers)
            ]
            if not candidates:
                return [], NO_SERVER if not servers else "this test does not run on a server"
            missing = {name: reason for name in candidates if (reason := self.missing(name)) is not None}
            there = [name for name in candidates if name not in missing]
            if there:
                return there, None
            return [], "no backend of this test can run here: " + "; ".join(missing.values())
        chosen = [name for name in wanted if supported is None or name in supported]
        if not chosen:
            return [], (
                f"this test supports the backends {', '.join(supported or ())}, "
                f"and {', '.join(wanted)} was selected"
            )
        for name in chosen:
            if (reason := self.missing(name)) is not None:
                return [], reason
        return chosen, None

    def missing(self, name: str) -> str | None:
        """Why a backend cannot run here; None if it can."""
        if name not in self._missing:
            availability = self._registry.get(name).availability()
            self._missing[name] = (
                None if availability.available else availability.reason or f"{name} is missing"
            )
        return self._missing[name]

    def spec(self, model: str, folder: Path | None = None) -> ModelSpec:
        """The spec that a name stands for; a relative path is meant from *folder*, or the command line's."""
        folder = folder or self._options.command_line.folder
        if (model, folder) not in self._specs:
            from pytest_llmbench.models.resolve import parse_spec

            self._specs[model, folder] = parse_spec(model, aliases=self._aliases, folder=folder)
        return self._specs[model, folder]

    def _models_folder(self, marker: Source) -> Path | None:
        """From where the paths of models are meant."""
        place = self._options.place("models", marker)
        return None if place is None else place.folder

    def _check_servers(self, source: Source) -> None:
        for url in source.values.base_url:
            read_url(url)
        for engine in source.values.serve:
            from pytest_llmbench.servers.table import find_engine

            find_engine(engine)

    def _check_options(self, source: Source) -> None:
        from pytest_llmbench.backends.options import option_values

        for name in source.values.backend_options:
            option_values(self._registry.get(name), source.values.backend_options.of(name))

    def _check_quantizations(self, source: Source) -> None:
        for name in source.values.quantizations:
            known = {b: self._registry.get(b).quantizations for b in self._registry.names()}
            if not any(name in quantizations for quantizations in known.values()):
                there = "; ".join(
                    f"{backend}: {', '.join(names)}" for backend, names in known.items() if names
                )
                msg = f"no backend has a quantization {name!r}. There are {there}"
                raise UsageError(msg)


def is_served(backend: Backend) -> bool:
    """Whether a backend's models run in a server."""
    return getattr(backend, "served", False)


def _skipped(reason: str) -> ParameterSet:
    return pytest.param(None, id="none", marks=pytest.mark.skip(reason=reason))


def misfit(backend: Backend, spec: ModelSpec, name: str | None = None) -> str | None:
    """Why *backend* (called *name*) cannot run *spec*, as far as its name and files tell; None if it may."""
    name = name or backend.name
    if (reason := other_form(backend.form, spec, name)) is not None:
        return reason
    if spec.quantization is not None and spec.quantization not in backend.quantizations:
        there = ", ".join(backend.quantizations)
        return f"{name} has no quantization {spec.quantization!r}; it has {there}"
    return None


def other_form(form: Form, spec: ModelSpec, name: str) -> str | None:
    """Why what runs models of *form*, and is called *name*, cannot read the files at a path; None if it may.

    Where no model lies there, the reason is told by whoever reads it.
    """
    if not spec.is_path:
        return None
    from pytest_llmbench.models.forms import FORMS, forms_at

    try:
        there = forms_at(Path(spec.name).expanduser())
    except (ModelError, OSError):
        return None
    return None if form in there else f"{name} runs {FORMS[form].models}, and {spec.name} is none"
