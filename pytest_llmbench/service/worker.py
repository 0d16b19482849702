"""Who measures what waits? ``python -m pytest_llmbench.service.worker``, a process for each device.

The first process imports everything once and forks a worker for each device; one that dies is followed by
another one at once. A worker takes its device's lock, takes up what was running when the last one died, and
then measures one job at a time: pytest, in a process group of its own that dies with the worker. Meanwhile it
looks once a second how far the session's journal is and whether the job is to be cancelled, and does nothing
else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pytest_llmbench.errors import LLMBenchError, ResultsError
from pytest_llmbench.processes.end_with import end_with_parent
from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.index.connection import Database
from pytest_llmbench.results.index.database import open_database
from pytest_llmbench.results.store import Store
from pytest_llmbench.service.attempt import Attempt
from pytest_llmbench.service.configuration import Configuration, read_configuration
from pytest_llmbench.service.jobs import Job, JobQueue, State
from pytest_llmbench.service.locks import Lock, device_lock, wait_for
from pytest_llmbench.service.workers import PARENT

LOG = logging.getLogger("llmbench.worker")
_IDLE = 0.5
"""Seconds between looks for a job."""
_WATCH = 1.0
"""Seconds between looks at one that runs."""
_AGAIN = 2.0
"""Seconds until a database that does not answer is asked again."""
_FOLLOW = 60.0
"""Seconds between looks for what others measured into the store."""
_PATIENCE = 10.0
"""Seconds that pytest has to end after SIGINT."""


class Worker:
    """Measures on one device."""

    def __init__(self, configuration: Configuration, device: str) -> None:
        self._configuration = configuration
        self._device = device
        self._store = Store(configuration.store)
        self._stopping = False
        self._looked = -_FOLLOW
        self._indexed: int | None = None

    def run(self) -> None:
        """Work until SIGTERM."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the service's; it tells us.
        while not self._stopping:
            try:
                database = open_database(self._store, self._configuration.database)
            except ResultsError as error:
                self._wait(error)
                continue
            try:
                self._serve(database)
            except ResultsError as error:
                self._wait(error)
            finally:
                database.close()

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _wait(self, error: ResultsError) -> None:
        LOG.error("%s; trying again", error)
        self._sleep(_AGAIN)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.5))

    def _serve(self, database: Database) -> None:
        lock = device_lock(database, self._device)
        if not wait_for(lock, lambda: self._stopping):
            return
        configuration = self._configuration
        queue = JobQueue(database, attempts=configuration.attempts, longest=configuration.queue)
        try:
            for left in queue.take_up(self._device):
                LOG.warning("job %s: %s: %s", left.id, left.state, left.reason)
            # Who has lost the lock, with its connection, asks for it anew: another worker may have it by now.
            while not self._stopping and lock.held():
                if (job := queue.claim(self._device)) is None:
                    self._follow(database)
                    self._sleep(_IDLE)
                elif self._measure(job, queue, lock):
                    self._index(database)
                else:
                    LOG.error("job %s: the lock of %s is lost; waiting for it", job.id, self._device)
                    return
        finally:
            lock.free()

    def _follow(self, database: Database) -> None:
        """Let be found what others measured into the store meanwhile: a matrix, pytest, another service."""
        now = time.monotonic()
        if now < self._looked + _FOLLOW:
            return
        self._looked = now
        try:
            changed = self._store.results.stat().st_mtime_ns
        except OSError:
            return
        if changed != self._indexed:
            self._index(database)
            self._indexed = changed

    def _index(self, database: Database) -> None:
        """While nothing is measured, let what was measured be found."""
        try:
            for problem in Index(self._store, database).update().problems:
                LOG.warning("%s", problem)
        except ResultsError as error:
            LOG.warning("the index is not up to date: %s", error)

    def _measure(self, job: Job, queue: JobQueue, lock: Lock) -> bool:
        """Make an attempt at a job; False if the lock was lost meanwhile, and the job is another worker's."""
        LOG.info("job %s: attempt %d", job.id, job.attempt)
        try:
            attempt = Attempt(job, self._store, self._configuration)
            if (session_id := attempt.session_id) != job.session_id:
                queue.note_session(job, session_id)
            if not attempt.finished:
                attempt.start()
        except LLMBenchError as error:
            return self._finish(queue, job, lock, "failed", str(error), None)
        ended = self._watch(attempt, job, queue, lock)
        if ended is None:
            # The lock is gone: another worker takes the job up, whose measurement ours would disturb.
            attempt.kill()
            return False
        state, reason = ended
        return self._finish(queue, job, lock, state, reason, attempt.status)

    def _watch(
        self, attempt: Attempt, job: Job, queue: JobQueue, lock: Lock
    ) -> tuple[State | None, str | None] | None:
        """How an attempt ended; a state of None gives the job back. None if the lock was lost meanwhile."""
        told: object = None
        cancelled = False
        end = 0.0
        while not attempt.wait(_WATCH):
            if end and time.monotonic() > end:
                attempt.kill()
                continue
            progress = attempt.progress()
            try:
                if progress != told:
                    queue.note_progress(job, *progress)
                    told = progress
                cancelled = cancelled or queue.get(job.id).cancel_asked
                if not lock.held():
                    return None
            except LLMBenchError as error:
                # What was measured is in the journal; the database may be back when it is needed.
                LOG.warning("job %s: %s", job.id, error)
            if (cancelled or self._stopping) and not end:
                attempt.interrupt()
                end = time.monotonic() + _PATIENCE
        with contextlib.suppress(LLMBenchError):
            queue.note_progress(job, *attempt.progress())
            cancelled = cancelled or queue.get(job.id).cancel_asked
        if cancelled:
            return "cancelled", "it was cancelled"
        if self._stopping and end:
            return None, "the service stopped"
        return attempt.outcome()

    def _finish(
        self,
        queue: JobQueue,
        job: Job,
        lock: Lock,
        state: State | None,
        reason: str | None,
        status: int | None,
    ) -> bool:
        """Say what became of a job, as soon as the database answers; False if the lock was lost before."""
        while True:
            try:
                if state is None:
                    queue.give_back(job, reason or "")
                else:
                    queue.finish(job, state, reason, status)
            except ResultsError as error:
                LOG.error("job %s: %s; trying again", job.id, error)
                if self._stopping or not lock.held():
                    return False
                self._sleep(_AGAIN)
            else:
                LOG.info("job %s: %s%s", job.id, state or "queued", f": {reason}" if reason else "")
                return True


def supervise(configuration: Configuration) -> int:
    """Have a worker for each device, and another one as soon as one dies, until SIGTERM."""
    running: dict[int, str] = {}
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def start(device: str) -> None:
        if (pid := os.fork()) == 0:
            status = 1
            try:
                end_with_parent(ours)
                Worker(configuration, device).run()
                status = 0
            except BaseException:
                LOG.exception("the worker of %s failed", device)
            finally:
                logging.shutdown()
                os._exit(status)
        running[pid] = device

    ours = os.getpid()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    failed: dict[str, float] = {}
    for device in configuration.devices:
        start(device)
    while running:
        pid, status = os.wait()
        device = running.pop(pid, "")
        if not device or stopping:
            continue
        LOG.error(
            "the worker of %s ended: %s; starting another one", device, os.waitstatus_to_exitcode(status)
        )
        # One that fails at once, each time, would only burn the CPU.
        if time.monotonic() - failed.get(device, -60.0) < 1.0:
            time.sleep(1.0)
        failed[device] = time.monotonic()
        if not stopping:
            start(device)
    return 0


def main(folder: Callable[[], Path] = Path.cwd) -> int:
    """Work for the configuration of the environment."""
    configuration = read_configuration(os.environ, folder())
    logging.basicConfig(level=configuration.log_level, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if parent := os.environ.get(PARENT):
        end_with_parent(int(parent))
    return supervise(configuration)


if __name__ == "__main__":
    sys.exit(main())
