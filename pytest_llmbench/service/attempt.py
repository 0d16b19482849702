"""How is one attempt at a job made: pytest started, watched, ended, and gone on with after a kill?"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.models.cache import ENVIRONMENT as CACHE_VARIABLE
from pytest_llmbench.processes.end_with import end_with_parent
from pytest_llmbench.results.document import read_header
from pytest_llmbench.results.files import make_folder
from pytest_llmbench.results.ids import SESSION_VARIABLE, new_session_id
from pytest_llmbench.results.journal import is_running, journals
from pytest_llmbench.results.records import Header
from pytest_llmbench.results.store import Store
from pytest_llmbench.secrets import mask
from pytest_llmbench.service.configuration import Configuration, rows
from pytest_llmbench.service.jobs import Job, State
from pytest_llmbench.service.requests import command

_LONGEST_LOG = 64 * 2**20
"""Bytes of a log: what prints more is ended, before it fills the disk."""
_TAIL = 4000
"""Bytes of a log that are shown."""
_CLEARED = 10.0
"""Seconds that the processes of a killed attempt have to be gone."""
_FAILED, _USAGE, _NOTHING = 1, 4, 5
"""Exit statuses of pytest: a test failed; it could not start; there was no test."""
_COLLECTED = re.compile(rb"collected (\d+) items?(?:[^\n]* (\d+) selected)?")
_WORDS = re.compile(r"^(?:ERROR|E  |FAILED).*", re.MULTILINE)


class Attempt:
    """One attempt: a session of its own, or the one of the attempt before, which goes on."""

    def __init__(self, job: Job, store: Store, configuration: Configuration) -> None:
        self._job = job
        self._store = store
        self._configuration = configuration
        self._process: subprocess.Popen[bytes] | None = None
        self._kept = job.session_id is not None and bool(
            journals(store, job.session_id) or self._header(job.session_id)
        )
        self.session_id = job.session_id if self._kept and job.session_id else new_session_id(time.time())
        """Of the document that comes of it."""
        self._total: int | None = None
        self._flooded = False
        self._counted: dict[Path, tuple[int, set[bytes]]] = {}
        """By journal, how far it was read, and the tests that it has."""

    @property
    def folder(self) -> Path:
        """Where the job's own files are."""
        return job_folder(self._store, self._job.id)

    @property
    def finished(self) -> bool:
        """Whether the attempt before has measured all: it died before it could say so."""
        header = self._header(self.session_id) if self._kept else None
        return header is not None and header.session.state == "finished"

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs, or if nothing had to be started."""
        return None if self._process is None else self._process.returncode

    def start(self) -> None:
        """Start pytest, which dies with this process.

        :raises LLMBenchError: if it cannot be started, or what was asked is not there any more.
        """
        make_folder(self.folder)
        words = command(self._job.kind, self._job.request, self.folder, self._configuration)
        words.append(f"--llm-store={self._store.path.absolute()}")
        if self._kept:
            self._wait_until_cleared()
            words.append(f"--llm-resume={self.session_id}")
        try:
            with (self.folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    words,
                    cwd=self.folder,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    # This process has one thread, so what runs between fork and exec is safe.
                    preexec_fn=partial(_before_exec, os.getpid()),
                )
        except OSError as error:
            msg = f"pytest cannot be started: {error.strerror or error}"
            raise ResultsError(msg) from error

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; whether it has ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def interrupt(self) -> None:
        """Ask pytest to end: it keeps what it has measured."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def progress(self) -> tuple[int, int | None]:
        """How many tests are measured, and how many there are; None where that is not known yet.

        Journals are only read when they have grown, and then only their new lines.
        """
        if self._total is None:
            with contextlib.suppress(OSError), (self.folder / "log").open("rb") as log:
                if found := _COLLECTED.search(log.read(_TAIL)):
                    self._total = int(found[2] or found[1])
        with contextlib.suppress(OSError):
            if (self.folder / "log").stat().st_size > _LONGEST_LOG:
                self._flooded = True
                self.kill()
        done = 0
        for path in journals(self._store, self.session_id):
            with contextlib.suppress(OSError):
                done += self._tests(path, path.stat().st_size)
        if self._process is not None and self._process.returncode is not None and done == 0:
            # The document has taken the journals' place.
            done = self._total or 0
        return done, None if self._total is None else max(self._total, done)

    def outcome(self) -> tuple[State, str | None]:
        """How it ended, and why; for when it has."""
        if self._flooded:
            return "failed", f"it printed more than {_LONGEST_LOG >> 20} MiB"
        header, status = self._header(self.session_id), self.status
        if status is None and header is not None:
            # The attempt before had ended as this says.
            status = header.session.exit_status or 0
        if header is None or status not in (0, _FAILED):
            return "failed", self._why(status)
        if status == 0:
            return "done", None
        outcomes = header.session.outcomes
        bad = {name: number for name, number in outcomes.items() if name not in ("passed", "skipped")}
        told = ", ".join(f"{number} {name}" for name, number in bad.items()) or "it ended with status 1"
        return "done", f"{told} of {sum(outcomes.values())} cases"

    def _tests(self, path: Path, size: int) -> int:
        """How many tests a journal has, of which only what is new is read."""
        place, found = self._counted.get(path, (0, set()))
        if size > place:
            with path.open("rb") as file:
                file.seek(place)
                # Line by line: one may have all token times of a long test.
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    place += len(line)
                    if named := _NODEID.match(line[:5000]):
                        found.add(named[1])
            self._counted[path] = (place, found)
        return len(found)

    def _header(self, session_id: str) -> Header | None:
        with contextlib.suppress(ResultsError):
            return read_header(self._store.document_path(session_id))
        return None

    def _wait_until_cleared(self) -> None:
        """A pytest whose worker died is ended by the kernel, which takes its moment."""
        end = time.monotonic() + _CLEARED
        while is_running(self._store, self.session_id) and time.monotonic() < end:
            time.sleep(0.02)

    def _environment(self) -> dict[str, str]:
        """The service's own, without what is its secret."""
        own = {variable for row in rows() if row.secret for variable in row.variables}
        environment = {name: value for name, value in os.environ.items() if name not in own}
        environment.update({SESSION_VARIABLE: self.session_id, "PYTHONUNBUFFERED": "1", "CI": "true"})
        if (cache := self._configuration.model_cache) is not None:
            environment[CACHE_VARIABLE] = str(cache.absolute())
        device = self._job.device
        environment["CUDA_VISIBLE_DEVICES"] = device.removeprefix("gpu") if device != "cpu" else ""
        return environment

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _why(self, status: int | None) -> str:
        """The last words of pytest, in a line or a few."""
        said = log_tail(self._store, self._job.id)
        lines = [line.removeprefix("ERROR: ").strip() for line in _WORDS.findall(said)][:5]
        if status is not None and status < 0:
            return f"pytest was ended by {signal.Signals(-status).name}"
        head = {_USAGE: "it could not start", _NOTHING: "there was no test"}.get(status or 0)
        return ": ".join(filter(None, (head or f"pytest ended with status {status}", "; ".join(lines))))


def job_folder(store: Store, job_id: str) -> Path:
    """Where a job's own files are: its suite, and what pytest printed."""
    return store.path.absolute() / "jobs" / job_id


def log_tail(store: Store, job_id: str, size: int = _TAIL) -> str:
    """The end of what a job's pytest printed, without secrets; empty where there is nothing."""
    try:
        with (job_folder(store, job_id) / "log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - size))
            return mask(log.read(size).decode(errors="replace"))
    except OSError:
        return ""


_NODEID = re.compile(rb'^\{"nodeid":"((?:[^"\\]|\\.)*)"')


def _before_exec(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(worker)
