"""How is one attempt at a cell made on a node: pytest started, watched, ended, and its end understood?

The same on this machine and on a cluster's. A fresh folder gets the cell's suite; pytest runs it in a process
group of its own that dies with this process, with devices that nothing else has, and writes its document into
the folder. What comes of it is an :class:`.executor.Outcome`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.matrix.cells import key_of
from pytest_llmbench.matrix.devices import Devices, clear, wait_until_idle
from pytest_llmbench.matrix.endings import Ending, ending
from pytest_llmbench.matrix.executor import End, Node, Outcome, Task
from pytest_llmbench.processes.end_with import ending_with_us
from pytest_llmbench.results.cell import CELL_VARIABLE
from pytest_llmbench.results.files import make_folder
from pytest_llmbench.results.ids import SESSION_VARIABLE
from pytest_llmbench.results.records import CellRecord
from pytest_llmbench.results.store import Store
from pytest_llmbench.secrets import mask

LOG = "log"
_LONGEST_LOG = 64 * 2**20
"""Bytes: what prints more is ended, before it fills the disk."""
_TAIL = 16_384
"""Bytes of a log that are looked at, and kept."""
_IDLE_WITHIN = 10.0
"""Seconds that a device has to become idle: a driver frees memory some time after the process is gone."""
_GONE_WITHIN = 5.0
"""Seconds that what pytest started has to be gone after it."""
_LOOK = 0.1
"""Seconds between looks of :func:`run_task`."""


def run_task(
    task: Task,
    node: Node,
    devices: Devices,
    folder: Path,
    *,
    stopping: Callable[[], bool] = lambda: False,
    grace: float = 60.0,
) -> Outcome:
    """Make an attempt, from its beginning to its end.

    To be called from a thread that lives as long: pytest is killed when it ends.

    :param folder: a fresh one of the attempt.
    :param stopping: asked ten times a second whether it is to end, as a KeyboardInterrupt says too.
    :param grace: seconds that it has then to end with what it has.
    """
    attempt = Attempt(task, node, devices, folder)
    stopped = 0.0
    attempt.start()
    try:
        while not attempt.wait(_LOOK):
            try:
                if not stopped and stopping():
                    stopped = time.monotonic()
                    attempt.interrupt()
            except KeyboardInterrupt:
                stopped = stopped or time.monotonic()
                attempt.interrupt()
            if stopped and time.monotonic() - stopped > grace:
                attempt.kill()
        return attempt.outcome()
    finally:
        attempt.kill()


class Attempt:
    """One attempt: start, wait until it has ended, ask for the outcome."""

    def __init__(self, task: Task, node: Node, devices: Devices, folder: Path) -> None:
        self.task = task
        self._node = node
        self._devices = devices
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()
        self._ended: float | None = None
        self._over: Ending | None = None
        """How it ended, where that is not for pytest to say."""
        self._stopped = False
        self._key = key_of(task.cell.id, node.digest)

    def start(self) -> None:
        """Start pytest; why it could not be is in the outcome."""
        if (used := wait_until_idle(self._devices, _IDLE_WITHIN)) is not None:
            self._end("transient", f"{self._devices.text} of {self._node.id} is not idle: {used}")
            return
        try:
            suite = self._prepare()
            with (self._folder / LOG).open("wb") as log:
                self._process = subprocess.Popen(
                    ending_with_us(self._command(suite), self._devices.cpus),
                    cwd=self._folder,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except (OSError, ResultsError) as error:
            self._end("transient", f"pytest cannot be started: {error}")

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; whether it has ended."""
        if self._process is None or self._over is not None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._watch()
            return self._over is not None
        return True

    def interrupt(self) -> None:
        """Have pytest end, with what it has measured."""
        self._stopped = True
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, with all that it has started."""
        if self._process is None or self._process.returncode is not None:
            return
        self._stopped = True
        self._signal(signal.SIGKILL)
        self._process.wait()

    def outcome(self) -> Outcome:
        """How it ended; for when it has."""
        if self._process is not None:
            self.kill()
            left = clear(self.task.session_id, _GONE_WITHIN)
        else:
            left = None
        found = self._over or self._read()
        reason = found.reason
        if left is not None:
            reason = f"{reason}; {left}" if reason else left
            if found.end != "measured":
                found = Ending("transient", reason)
        return Outcome(
            self.task,
            found.end,
            reason=None if reason is None else mask(reason),
            seconds=time.monotonic() - self._began,
            node=self._node.id,
            key=self._key,
            document=found.document,
            log=None if found.end == "measured" else self._log(),
        )

    def _read(self) -> Ending:
        assert self._process is not None
        document = Store(self._folder / "store").document_path(self.task.session_id)
        return ending(
            self._process.returncode,
            document,
            self._log(),
            quantization=self.task.cell.quantization,
            stopped=self._stopped,
        )

    def _watch(self) -> None:
        """End what takes too long, or prints too much."""
        timeout = self.task.timeout
        with suppress(OSError):
            if (self._folder / LOG).stat().st_size > _LONGEST_LOG:
                self._end("engine", f"it printed more than {_LONGEST_LOG >> 20} MiB")
        if timeout is not None and time.monotonic() - self._began > timeout:
            self._end("engine", f"it took longer than {timeout:g} s")

    def _end(self, end: End, reason: str) -> None:
        self.kill()
        self._over = Ending(end, reason)

    def _prepare(self) -> Path:
        """Write the cell's suite; its path."""
        make_folder(self._folder)
        # pytest reads the first ini file above what it runs, which could be anybody's.
        (self._folder / "pytest.ini").write_text("[pytest]\n")
        suite = self._folder / f"{self.task.matrix}.llm.yaml"
        text = yaml.safe_dump(dict(self.task.cell.suite), allow_unicode=True, sort_keys=False)
        suite.write_text(text, encoding="utf-8")
        return suite

    def _command(self, suite: Path) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "pytest", str(suite)),
            *(f"--rootdir={self._folder}", f"--llm-store={self._folder / 'store'}"),
            # What is skipped has its reason in the log.
            *("-p", "no:cacheprovider", "-rs"),
            *self.task.options,
        ]

    def _environment(self) -> dict[str, str]:
        cell = self.task.cell
        record = CellRecord(
            matrix=self.task.matrix,
            id=cell.id,
            key=self._key,
            hardware=cell.hardware.name,
            count=cell.hardware.count,
            market=cell.hardware.market,
        )
        # Options of whoever started the run are not part of the cell.
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        return {
            **environment,
            **self._devices.environment,
            SESSION_VARIABLE: self.task.session_id,
            CELL_VARIABLE: record.model_dump_json(),
            "PYTHONUNBUFFERED": "1",
        }

    def _log(self) -> str:
        """The end of what it printed."""
        try:
            with (self._folder / LOG).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
                return mask(log.read(_TAIL).decode(errors="replace"))
        except OSError:
            return ""

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
