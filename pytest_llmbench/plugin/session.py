"""What does one run of pytest have of ours?

What its command line and ini file say, which cases that selects, what runs them, and what records them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.errors import LLMBenchWarning, saying_where
from pytest_llmbench.plugin.options import learn_secrets, read_settings
from pytest_llmbench.plugin.parametrize import point_of
from pytest_llmbench.plugin.xdist import check_resume, take_session
from pytest_llmbench.settings.kinds import CASE_FIXTURES
from pytest_llmbench.settings.sources import Source, read_marker

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmbench.bench.listing import Lister
    from pytest_llmbench.bench.measurement import CaseFixture
    from pytest_llmbench.bench.runtime import Runtime
    from pytest_llmbench.cases.selection import Selector
    from pytest_llmbench.gate.pairing import Pairing
    from pytest_llmbench.models.aliases import Aliases
    from pytest_llmbench.plugin.record import Recording
    from pytest_llmbench.results.resume import Kept
    from pytest_llmbench.settings.case import CaseSettings
    from pytest_llmbench.settings.presets import Presets


class PytestSession:
    """The state of one run; what is needed only where benchmarks run is made when it is first used.

    :raises UsageError: for what the command line or the ini file cannot mean.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        learn_secrets(config)
        self.registry = Registry()
        config.hook.pytest_llmbench_register_backends(registry=self.registry)
        with _config_warnings(config):
            said = read_settings(config, self.registry)
        self.settings, self.options = said.session, said.cases
        self._presets = said.presets
        self.planned: list[pytest.Item] = []
        """The benchmarks that were collected and will run, in this order."""
        self.seen: set[str] = set()
        """What kinds of cases were measured; see :mod:`pytest_llmbench.plugin.remarks`."""
        self.deselected: set[str] = set()
        """The ids of tests that were not to be run: they are not missing."""
        self.refused: str | None = None
        """Why a suite is not valid."""
        self.recording: Recording | None = None
        self.kept: Kept | None = None
        """Of a session that is resumed."""
        self._markers: dict[object, Source] = {}
        self._selector: Selector | None = None
        self._runtime: Runtime | None = None
        self._lister: Lister | None = None
        self._notes: list[str] = []

    def check_command_line(self) -> None:
        """Refuse what the command line or the ini file names and there is not, before anything runs.

        :raises UsageError: listing what there is.
        """
        # A session that says nothing of benchmarks does not import what knows of them.
        if self.options.command_line.given or self.options.ini.given or self.settings.models_file:
            self.selector.check_command_line()

    def resume(self) -> None:
        """Find what a session has measured that is to go on, and be that session.

        :raises UsageError: if there is none, it runs, or it does not go together with this one.
        """
        if (ref := self.settings.resume) is None:
            return
        from pytest_llmbench.results.environment import snapshot
        from pytest_llmbench.results.resume import kept_of
        from pytest_llmbench.results.store import Store

        check_resume(self.config)
        self.kept = kept_of(Store(self.settings.store), ref)
        session_id = self.kept.document.session.id
        self.kept.check(snapshot(self.config.rootpath, session_id=session_id))
        take_session(self.config, session_id)
        self.note(self.kept.problems)

    # -- collection -------------------------------------------------------------------------

    @property
    def presets(self) -> Presets:
        """Those that come with the package, and those of the ini file."""
        if self._presets is None:
            from pytest_llmbench.settings.presets import shipped

            self._presets = shipped()
        return self._presets

    @property
    def selector(self) -> Selector:
        """Knows which cases a test stands for."""
        if self._selector is None:
            from pytest_llmbench.cases.selection import Selector

            self._selector = Selector(
                self.registry,
                self.options,
                _aliases(self.settings.models_file),
                self.settings.serve_presets,
            )
        return self._selector

    @property
    def notes(self) -> Iterable[str]:
        """What a person is to know of the cases that were selected."""
        return [*self._notes, *(() if self._selector is None else self._selector.notes)]

    def marker(self, node: pytest.Item, function: object) -> Source:
        """The settings of the markers on *node*; read once for each test *function*.

        :raises UsageError: for what the marker cannot say, or what it names and nothing has.
        """
        if function not in self._markers:
            where = node.nodeid.partition("[")[0]
            values = read_marker(((mark.args, mark.kwargs) for mark in node.iter_markers("llm")), where)
            marker = Source.of(values, node.path.parent).located(self.registry)
            if "preset" in marker:
                marker = self.presets.attached(marker, where)
            with saying_where(where):
                self.selector.check_marker(marker)
            self._markers[function] = marker
        return self._markers[function]

    def collected(self, benchmarks: Sequence[pytest.Item]) -> None:
        """These will run: start what records them, before anything is measured that could not be kept.

        :raises UsageError: if results cannot be written, and for what the options of the gate cannot mean.
        """
        self.planned = [item for item in benchmarks if item.get_closest_marker("skip") is None]
        if not self.settings.disable:
            from pytest_llmbench.plugin.record import Recording

            self.recording = Recording.open(self.config, self.settings, self.selector, benchmarks, self.kept)

    def note(self, lines: Iterable[str]) -> None:
        """Tell a person so when the tests are collected."""
        self._notes += lines

    @property
    def lister(self) -> Lister:
        """Counts the tokens of what would run."""
        if self._lister is None:
            from pytest_llmbench.bench.listing import Lister

            python = self.settings.python or sys.executable
            self._lister = Lister(self.registry, self.selector.space, python)
        return self._lister

    def leave_out(self, items: Iterable[pytest.Item]) -> None:
        """These were deselected."""
        self.deselected.update(item.nodeid for item in items)

    # -- tests ------------------------------------------------------------------------------

    def item_settings(self, item: pytest.Item) -> CaseSettings:
        """Every setting as it holds for one test.

        :raises UsageError: for settings that contradict each other.
        """
        point = point_of(item)
        own = self.marker(item, getattr(item, "obj", item)) if point is None else point.source
        settings = self.options.settings(own)
        with saying_where(item.nodeid):
            settings.check()
        return settings

    @property
    def runtime(self) -> Runtime:
        """What runs the cases."""
        if self._runtime is None:
            from pytest_llmbench.bench.runtime import Runtime
            from pytest_llmbench.plugin.terminal import planned, terminal_progress, uncaptured

            with uncaptured(self.config):
                progress = terminal_progress(self.config, self.settings.progress_every)
            progress.plan(planned(self.planned))
            self._runtime = Runtime(
                self.registry,
                self.options,
                selector=self.selector,
                python=self.settings.python,
                monitor_rate=self.settings.monitor_rate,
                progress=progress,
                uncaptured=lambda: uncaptured(self.config),
                pairing=self.pairing,
            )
        return self._runtime

    @property
    def pairing(self) -> Pairing | None:
        """Set where cases are measured in pairs."""
        gating = None if self.recording is None else self.recording.gating
        return None if gating is None else gating.pairing

    def measured(self, kinds: Iterable[str]) -> None:
        """A case of these *kinds* was measured."""
        self.seen.update(kinds)

    # -- the end ----------------------------------------------------------------------------

    def merge_workers(self) -> None:
        """Take over what the workers of xdist have recorded."""
        from pytest_llmbench.plugin.record import Recording

        self.recording = Recording.of_workers(self.config, self.settings) or self.recording

    def close(self) -> None:
        """End every process that this session started."""
        lister, self._lister = self._lister, None
        if lister is not None:
            lister.close()
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.close()


SESSION = pytest.StashKey[PytestSession]()
MEASURED: pytest.StashKey[CaseFixture[Any]] = pytest.StashKey()
"""What a test measures with: its ``llm_model`` or its ``llm_load``."""


@contextmanager
def _config_warnings(config: pytest.Config) -> Iterator[None]:
    """Let pytest show with its others what is warned of before it collects them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LLMBenchWarning)
        yield
    for text in dict.fromkeys(str(one.message) for one in caught):
        config.issue_config_time_warning(LLMBenchWarning(text), stacklevel=2)


def is_benchmark(item: pytest.Item) -> bool:
    """Whether a test is an LLM benchmark: by its fixture, or by its marker."""
    fixtures = getattr(item, "fixturenames", ())
    return any(name in fixtures for name in CASE_FIXTURES) or item.get_closest_marker("llm") is not None


def _aliases(path: Path | None) -> Aliases | None:
    if path is None:
        return None
    from pytest_llmbench.models.aliases import read_aliases

    return read_aliases(path)
