"""How do xdist's controller and its workers make one session?

The controller names the session; the workers write their journals under that name. Two workers
on one device would measure each other, so that is refused, by the controller, in words.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.metrics.units import span

if TYPE_CHECKING:
    from pytest_llmbench.processes.wire import Json

_REFUSAL = "llmbench: more xdist workers than devices"
_SUITE = "llmbench_refused"
"""What a worker's report has whose suite is not valid; likewise its end, of an option that cannot be."""
_NOTES = "llmbench_notes"
"""What a worker says at its end that a person is to know of the tests that were chosen."""
_BENCHMARK = "llm_benchmark"
"""Likewise if it is of a benchmark."""
_SESSION_ID = pytest.StashKey[str]()


def session_id(config: pytest.Config) -> str:
    """The session's id: its start, then random digits; the same in all workers of xdist."""
    given: Json = getattr(config, "workerinput", {})
    if "llmbench_session" in given:
        return str(given["llmbench_session"])
    if _SESSION_ID not in config.stash:
        from pytest_llmbench.results.ids import SESSION_VARIABLE, is_session_id, new_session_id

        # Taken out: it is for this session, and not for one that a test starts.
        given_id = os.environ.pop(SESSION_VARIABLE, "")
        own = is_session_id(given_id)
        config.stash[_SESSION_ID] = given_id if own else new_session_id(time.time())
    return config.stash[_SESSION_ID]


def take_session(config: pytest.Config, given: str) -> None:
    """Have the session be one that began before."""
    config.stash[_SESSION_ID] = given


def worker_id(config: pytest.Config) -> str | None:
    """``gw0`` and so on in a worker of xdist; None elsewhere."""
    given: Json = getattr(config, "workerinput", {})
    return given.get("workerid")


def check_listing(config: pytest.Config) -> None:
    """Refuse to list what workers would run: they have the tests.

    :raises UsageError: saying what to do.
    """
    if is_controller(config):
        msg = "--llm-list lists what would run, and xdist's workers have the tests: leave out -n"
        raise UsageError(msg)


def check_resume(config: pytest.Config) -> None:
    """Refuse to go on with a session by several workers.

    :raises UsageError: saying what to do.
    """
    if is_controller(config) or worker_id(config) is not None:
        msg = "--llm-resume goes on in one process: leave out -n"
        raise UsageError(msg)


def check_workers(config: pytest.Config) -> None:
    """Refuse more workers than there are devices to measure on.

    :raises UsageError: saying why, and what to do.
    """
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers < 2:
        return
    from pytest_llmbench.hardware.gpus import device_count

    gpus = device_count()
    devices = max(1, gpus)
    if workers > devices:
        what = (
            f"{gpus} GPUs" if gpus else "one device (no NVIDIA GPU is visible, and all workers share the CPU)"
        )
        msg = (
            f"{_REFUSAL}: {workers} workers on {what} would slow each other down, and every number would "
            f"be wrong; use -n {devices}, or --llm-skip to run only the other tests in parallel"
        )
        raise UsageError(msg)


def mark(report: pytest.TestReport, benchmarks: int) -> None:
    """Let it be known of a report that it is of one of so many benchmarks; also where xdist sends it."""
    setattr(report, _BENCHMARK, benchmarks)


def benchmarks_of(report: pytest.TestReport) -> int | None:
    """How many benchmarks run, if the report is of one of them."""
    found: int | None = getattr(report, _BENCHMARK, None)
    return found


class Controller:
    """The hooks of xdist's controller; registered only where xdist distributes tests.

    :param every: seconds between lines that say how far the workers are; 0 for none.
    """

    def __init__(self, config: pytest.Config, every: float) -> None:
        self._config = config
        self._every = every if config.get_verbosity() >= 0 else 0.0
        self._done = 0
        self._told: set[str] = set()
        self._began: float | None = None
        self._said = 0.0

    def pytest_configure_node(self, node: Any) -> None:
        """Give the session's id to a worker."""
        node.workerinput["llmbench_session"] = session_id(node.config)

    def pytest_runtest_logstart(self) -> None:
        """The first test begins."""
        if self._began is None:
            self._began = self._said = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Say how far the workers are, if a benchmark is over and it is time for that."""
        from pytest_llmbench.plugin.terminal import log_of

        benchmarks = benchmarks_of(report) if report.when == "call" else None
        if benchmarks is None or self._began is None:
            return
        self._done += 1
        now = time.monotonic()
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if not self._every or now - self._said < self._every or reporter is None or self._done >= benchmarks:
            return
        self._said = now
        left = (now - self._began) / self._done * (benchmarks - self._done)
        log_of(self._config, reporter)(f"[{self._done}/{benchmarks} done, {span(left)} left]")

    def pytest_testnodedown(self, node: Any) -> None:
        """A worker has ended: it may have found, when all tests were collected, what cannot be."""
        output: Json = getattr(node, "workeroutput", {})
        if (refused := output.get(_SUITE)) is not None:
            raise pytest.UsageError(str(refused))
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        for note in output.get(_NOTES, ()):
            # Each worker has chosen the same.
            if reporter is not None and note not in self._told:
                reporter.write_line(f"llmbench: {note}")
            self._told.add(note)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A worker could only report the refusal as a failure to collect: here it ends the run."""
        if (refused := getattr(report, _SUITE, None)) is not None:
            raise pytest.UsageError(refused)
        text = str(report.longrepr) if report.failed else ""
        if _REFUSAL in text:
            raise pytest.UsageError(text.strip())


def refuse_suite(config: pytest.Config, report: pytest.CollectReport, why: str) -> None:
    """End the session, because a suite is not valid; a worker lets its controller do so.

    :raises pytest.UsageError: if this is not a worker of xdist.
    """
    if worker_id(config) is None:
        raise pytest.UsageError(why)
    setattr(report, _SUITE, why)


def refuse_options(config: pytest.Config, why: str) -> None:
    """End the session after the tests are collected; a worker lets its controller do so.

    :raises pytest.UsageError: if this is not a worker of xdist.
    """
    if worker_id(config) is None:
        raise pytest.UsageError(why)
    config.workeroutput[_SUITE] = why  # type: ignore[attr-defined]  # xdist's


def pass_on(config: pytest.Config, notes: list[str]) -> None:
    """Have the controller say what a worker would, where this is one."""
    if worker_id(config) is not None:
        config.workeroutput[_NOTES] = notes  # type: ignore[attr-defined]  # xdist's


def is_controller(config: pytest.Config) -> bool:
    """Whether xdist distributes this session's tests to workers."""
    return getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput")
