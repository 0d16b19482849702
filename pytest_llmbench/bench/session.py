"""What do all benchmarks of one pytest run share?

The parsed options, the backends, one hardware monitor, the engine that may be kept between
tests, and the models that were looked up already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.registry import Registry, reference_of
from pytest_llmbench.cases.selection import Selector
from pytest_llmbench.errors import UsageError, saying_where
from pytest_llmbench.plugin.options import (
    check_program,
    learn_secrets,
    monitor_rate,
    read_session,
    table_columns,
)
from pytest_llmbench.plugin.paths import session_path, session_python
from pytest_llmbench.settings.options import BackendOptions
from pytest_llmbench.settings.sources import Source, read_call, read_marker

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmbench.bench.measurement import Instrument
    from pytest_llmbench.bench.serving import Servers
    from pytest_llmbench.cases.selection import CaseParam
    from pytest_llmbench.gate.ab import BaseSide
    from pytest_llmbench.gate.pairing import Pairing
    from pytest_llmbench.hardware.monitor import HardwareMonitor
    from pytest_llmbench.measure.engine import EngineSpec
    from pytest_llmbench.measure.loop import EnginePool, Startable
    from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel
    from pytest_llmbench.report.progress import Progress
    from pytest_llmbench.settings.case import CaseSettings, Fixture


class BenchSession:
    """The state of one pytest run; engines, models and the monitor start when first needed."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        learn_secrets(config)
        self.disabled: bool = config.getoption("llm_disable")
        self.registry = Registry()
        config.hook.pytest_llmbench_register_backends(registry=self.registry)
        # First: it refuses what names nothing, whichever option that is.
        self.options = read_session(config, self.registry)
        self.rate = monitor_rate(config)
        table_columns(config)  # refuses one that there is not
        self.selector = Selector(self.registry, self.options, _aliases(config))
        self.pairing: Pairing | None = None
        self._markers: dict[object, Source] = {}
        self._models: dict[tuple[ModelSpec, Form], ResolvedModel] = {}
        self._monitor: HardwareMonitor | None = None
        self._pool: EnginePool | None = None
        self._servers: Servers | None = None
        self._progress: Progress | None = None
        self.seen: set[str] = set()
        """What kinds of cases were measured; see :mod:`pytest_llmbench.plugin.remarks`."""
        self.cases = 0
        """How many benchmarks were collected and will run."""

    # -- settings ---------------------------------------------------------------------------

    def marker(self, node: pytest.Item, function: object) -> Source:
        """The settings of the markers on *node*; read once for each test *function*.

        :raises UsageError: for what the marker cannot say, or names and nobody has.
        """
        if function not in self._markers:
            where = node.nodeid.partition("[")[0]
            values = read_marker(((mark.args, mark.kwargs) for mark in node.iter_markers("llm")), where)
            marker = Source.of(values, node.path.parent).located(self.registry)
            with saying_where(where):
                self.selector.check_marker(marker)
            self._markers[function] = marker
        return self._markers[function]

    def item_settings(self, item: pytest.Item) -> CaseSettings:
        """Every setting as it holds for one test."""
        settings = self.options.settings(self.marker(item, getattr(item, "obj", item)))
        if settings.isolation != "test" and settings.processes != 1:
            msg = (
                f"{item.nodeid}: isolation={settings.isolation!r} keeps one process, so processes="
                f"{settings.processes} fresh ones cannot be had; set processes=1 or isolation='test'"
            )
            raise UsageError(msg)
        return settings

    def call_settings(
        self,
        fixture: Fixture,
        settings: CaseSettings,
        call: Mapping[str, Any],
        folder: Path,
    ) -> CaseSettings:
        """The test's *settings* with those of one call of its *fixture*; *folder* is the test's.

        :raises UsageError: for a key that a call cannot set, or a value that cannot be.
        """
        if not call:
            return settings
        source = Source.of(read_call(fixture, call), folder).located(self.registry)
        return self.options.of_call(settings, source)

    # -- what is measured -------------------------------------------------------------------

    def resolve(self, spec: ModelSpec, form: Form) -> ResolvedModel:
        """A model's files, built or downloaded if they are not there yet."""
        key = (spec, form)
        if key not in self._models:
            from pytest_llmbench.models.resolve import resolve

            # A bar draws on the terminal, not into the test's captured output: over the line that says
            # what is loaded, and never over pytest's own, which is the one above.
            self.progress.loading(spec.label)
            with self._uncaptured():
                quiet = not sys.stderr.isatty()
                self._models[key] = resolve(spec, form, quiet=quiet)
        return self._models[key]

    def check_base_side(self, base: BaseSide) -> None:
        """Refuse a base side that names what nobody has.

        :raises UsageError: listing what there is.
        """
        if base.python is not None:
            check_program(base.python, "--llm-ab python")
        named: dict[str, Any] = {"backend_options": BackendOptions(base.options)}
        if base.base_url is not None:
            named["base_url"] = (base.base_url,)
        if base.model is not None:
            named["models"] = (base.model,)
        if base.quantization is not None:
            named["quantizations"] = (base.quantization,)
        self.selector.check_marker(Source.of(named))

    def base_startable(self, case: CaseParam, backend_options: BackendOptions, base: BaseSide) -> Startable:
        """What an A/B session's base side measures for a case.

        :raises UsageError: for a base side that the case cannot have.
        """
        if (case.server is None) != (base.base_url is None):
            msg = (
                "--llm-ab base_url=... is a base side for a server, and this case has none"
                if case.server is None
                else "a server's base side is another server: --llm-ab base_url=http://HOST:PORT/v1"
            )
            raise UsageError(msg)
        options = BackendOptions(base.options).over(backend_options)
        if base.base_url is not None:
            return self.servers.other(case, base.base_url, base.model, options).startable
        spec = case.spec if base.model is None else self.selector.spec(base.model)
        quantization = base.quantization or spec.quantization or case.spec.quantization
        other = replace(case, spec=replace(spec, quantization=quantization))
        engine = self.engine_spec(other, options)
        return replace(engine, python=base.python or engine.python, environment=dict(base.environment))

    def resolved(self, case: CaseParam) -> ResolvedModel | ModelSpec:
        """The case's model as far as it was looked up."""
        if case.server is not None:
            return self.servers.resolved(case)
        return self._models.get((case.spec, case.backend.form), case.spec)

    def startable(self, case: CaseParam, backend_options: BackendOptions) -> Startable:
        """What is measured for a case: an engine that a worker loads, or a server that runs."""
        if case.server is None:
            return self.engine_spec(case, backend_options)
        return self.servers.get(case, backend_options).startable

    def engine_spec(self, case: CaseParam, backend_options: BackendOptions) -> EngineSpec:
        """What the worker has to load for a case."""
        from pytest_llmbench.measure.engine import EngineSpec

        self.progress.loading(f"{case.backend.name} {case.spec.label}")
        return EngineSpec(
            backend=case.backend.name,
            reference=reference_of(case.backend),
            model=self.resolve(case.spec, case.backend.form),
            options=option_values(case.backend, backend_options.of(case.backend.name)),
            python=session_python(self.config) or sys.executable,
        )

    # -- what runs beside it ----------------------------------------------------------------

    @property
    def pool(self) -> EnginePool:
        if self._pool is None:
            from pytest_llmbench.measure.loop import EnginePool

            self._pool = EnginePool()
        return self._pool

    @property
    def servers(self) -> Servers:
        if self._servers is None:
            from pytest_llmbench.bench.serving import Servers

            self._servers = Servers(
                self.resolve,
                self.progress,
                self.loop_monitor,
                session_python(self.config) or sys.executable,
                alike=self.pairing is not None,
            )
        return self._servers

    @property
    def progress(self) -> Progress:
        if self._progress is None:
            from pytest_llmbench.report.progress import terminal_progress

            with self._uncaptured():
                self._progress = terminal_progress(self.config)
        return self._progress

    @property
    def loop_monitor(self) -> HardwareMonitor | None:
        """The monitor that watches measured rounds; None where it is turned off."""
        return self.start_monitor() if self.rate else None

    def start_monitor(self) -> HardwareMonitor:
        """The hardware monitor, started at its first use."""
        if self._monitor is None:
            from pytest_llmbench.hardware.monitor import HardwareMonitor

            self._monitor = HardwareMonitor(self.rate)
            self._monitor.start()
        return self._monitor

    def _uncaptured(self) -> AbstractContextManager[None]:
        """The terminal itself, inside a test whose output pytest captures."""
        capture: Any = self.config.pluginmanager.getplugin("capturemanager")
        return nullcontext() if capture is None else capture.global_and_fixture_disabled()

    def close(self) -> None:
        """End every process that this session started."""
        with ExitStack() as last:
            if self._progress is not None:
                last.callback(self._progress.close)
            monitor, self._monitor = self._monitor, None
            if monitor is not None:
                last.callback(monitor.stop)
            servers, self._servers = self._servers, None
            if servers is not None:
                last.callback(servers.close)
            pool, self._pool = self._pool, None
            if pool is not None:
                last.callback(pool.close)


SESSION = pytest.StashKey[BenchSession]()
MEASURED: pytest.StashKey[Instrument] = pytest.StashKey()
"""What a test measures with: its ``llm_model`` or its ``llm_load``."""


def _aliases(config: pytest.Config) -> Any:
    path = session_path(config, "llm_models_file")
    if path is None:
        return None
    from pytest_llmbench.models.aliases import read_aliases

    return read_aliases(path)
