"""What runs the cases of a session?

The models that were looked up already, the engine that may be kept between cases, the servers, one hardware
monitor, and the line that tells what is measured. It knows no pytest: scripts use it as the plugin does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.cases.selection import Selector
from pytest_llmbench.errors import UsageError, warn
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.settings.session import SessionSettings
from pytest_llmbench.settings.sources import Precedence, Source, read_call, read_marker

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmbench.cases.case import Case
    from pytest_llmbench.cases.target import Target
    from pytest_llmbench.gate.pairing import Pairing
    from pytest_llmbench.hardware.monitor import HardwareMonitor
    from pytest_llmbench.measure.loop import EnginePool
    from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel
    from pytest_llmbench.servers.keep import Servers
    from pytest_llmbench.settings.case import CaseSettings
    from pytest_llmbench.settings.kinds import Fixture
    from pytest_llmbench.settings.presets import Presets

MONITOR_RATE = SessionSettings().monitor_rate
"""Hardware samples a second."""


class Runtime:
    """Engines, servers, models and the monitor start when first needed, and end with :meth:`close`.

    As a context manager it closes itself.

    :param registry: the backends; by default all that are built in or installed.
    :param precedence: what is set for all cases, and what of it a call cannot change.
    :param selector: knows which names of models and servers mean what; by default one without aliases.
    :param python: the interpreter of the engines' processes; by default this one.
    :param monitor_rate: hardware samples a second; 0 for none.
    :param progress: called with what is measured; by default it does nothing.
    :param uncaptured: opens the terminal itself, where what is written is captured otherwise.
    :param pairing: where cases are measured in pairs, against another side.
    :param presets: which presets there are; by default those that come with the package.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        precedence: Precedence | None = None,
        *,
        selector: Selector | None = None,
        python: str | None = None,
        monitor_rate: float = MONITOR_RATE,
        progress: Progress | None = None,
        uncaptured: Callable[[], AbstractContextManager[None]] = nullcontext,
        pairing: Pairing | None = None,
        presets: Presets | None = None,
    ) -> None:
        self.registry = registry or Registry()
        self.precedence = precedence or Precedence()
        self.selector = selector or Selector(self.registry, self.precedence, None)
        self.python = python or sys.executable
        self.monitor_rate = monitor_rate
        self.progress = progress or Progress()
        self.pairing = pairing
        self._presets = presets
        self._uncaptured = uncaptured
        self._models: dict[tuple[ModelSpec, Form], ResolvedModel] = {}
        self._monitor: HardwareMonitor | None = None
        self._pool: EnginePool | None = None
        self._servers: Servers | None = None

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call_settings(
        self,
        fixture: Fixture,
        settings: CaseSettings,
        call: Mapping[str, object],
        folder: Path,
    ) -> CaseSettings:
        """The test's *settings* with those of one call of its *fixture*; *folder* is the test's.

        :raises UsageError: for a key that a call cannot set, or a value that cannot be.
        """
        if not call:
            return settings
        source = Source.of(read_call(fixture, call), folder).located(self.registry)
        return self.precedence.of_call(settings, source)

    def select(
        self, fixture: Fixture, settings: Mapping[str, object]
    ) -> tuple[list[Case[Target]], CaseSettings]:
        """The cases that *settings* stand for, and every setting as it holds for them.

        :param settings: as those of ``@pytest.mark.llm(...)``; paths are meant from the working directory.
            Where a case cannot run, a warning says why, and it is left out.
        :raises UsageError: for a setting that there is not or that names what there is not, and if no case
            can run.
        """
        marker = Source.of(read_marker([((), settings)], "settings")).located(self.registry)
        if "preset" in marker:
            from pytest_llmbench.settings.presets import shipped

            marker = (self._presets or shipped()).attached(marker, "settings")
        self.selector.check_marker(marker)
        held = self.precedence.settings(marker)
        held.check()
        _, selected = self.selector.cases([fixture], marker)
        reasons = list(dict.fromkeys(one.skip for one in selected if one.skip is not None))
        cases = [one.case for one in selected if one.case is not None and one.skip is None]
        if not cases:
            raise UsageError("; ".join(reasons) or "these settings stand for no case")
        for reason in reasons:
            warn(reason)
        return cases, held

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

    def looked_up(self, spec: ModelSpec, form: Form) -> ResolvedModel | ModelSpec:
        """A model as far as it is known."""
        return self._models.get((spec, form), spec)

    def spec(self, name: str) -> ModelSpec:
        """The model that a name of the command line means."""
        return self.selector.spec(name)

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
            from pytest_llmbench.servers.keep import Servers

            self._servers = Servers(
                self.resolve,
                self.progress,
                self.loop_monitor,
                alike=self.pairing is not None,
            )
        return self._servers

    @property
    def loop_monitor(self) -> HardwareMonitor | None:
        """The monitor that watches measured rounds; None where it is turned off."""
        return self.start_monitor() if self.monitor_rate else None

    def start_monitor(self) -> HardwareMonitor:
        """The hardware monitor, started at its first use."""
        if self._monitor is None:
            from pytest_llmbench.hardware.monitor import HardwareMonitor

            self._monitor = HardwareMonitor(self.monitor_rate)
            self._monitor.start()
        return self._monitor

    def close(self) -> None:
        """End every process that this session started."""
        with ExitStack() as last:
            last.callback(self.progress.close)
            monitor, self._monitor = self._monitor, None
            if monitor is not None:
                last.callback(monitor.stop)
            servers, self._servers = self._servers, None
            if servers is not None:
                last.callback(servers.close)
            pool, self._pool = self._pool, None
            if pool is not None:
                last.callback(pool.close)
