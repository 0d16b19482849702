"""Does a worker measure what waits, and lose nothing and measure nothing twice when it is killed?"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("llama_cpp")
pytest.importorskip("sqlalchemy")

from sqlalchemy import select, text

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.index.database import open_database
from pytest_llmbench.results.index.tables import sessions
from pytest_llmbench.results.journal import journals, read_journal
from pytest_llmbench.results.records import ResultsDocument, Session
from pytest_llmbench.results.store import Store
from pytest_llmbench.service.jobs import Job, JobQueue
from tests import postgres
from tests.waiting import until

KILLS = int(os.environ.get("LLMBENCH_TEST_KILLS", "4"))
QUICK: Json = {"backends": "llamacpp", "max_new_tokens": 4, "rounds": 2, "prompt": "hello"}
SUITE = """
version: 1
cases:
  - name: many
    models: [tiny]
    backends: [llamacpp]
    prompt: hello
    max_new_tokens: 4
    rounds: 2
    sweep:
      parameters:
        seed: [{seeds}]
"""


OTHERS = "20260101T000000Z-00000001"


class Service:
    """Workers of a store of their own, and their queue."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.store = Store(folder / "store")
        self.database = open_database(self.store, url)
        self.queue = JobQueue(self.database, attempts=100)
        suites = folder / "suites"
        suites.mkdir()
        (suites / "many.llm.yaml").write_text(SUITE.format(seeds=", ".join(map(str, range(12)))))
        self._environment = {
            **os.environ,
            "LLMBENCH_STORE": str(self.store.path),
            "LLMBENCH_SUITES": str(suites),
            "LLMBENCH_ATTEMPTS": "100",
            "LLMBENCH_DATABASE_URL": url or "",
            "DATABASE_URL": "",
        }
        self._folder = folder
        self.supervisors: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start workers, beside those that there are."""
        command = [sys.executable, "-m", "pytest_llmbench.service.worker"]
        self.supervisors.append(
            subprocess.Popen(command, env=self._environment, cwd=self._folder, stderr=subprocess.DEVNULL)
        )

    def worker(self) -> psutil.Process | None:
        """The process that measures, or waits to."""
        found = psutil.Process(self.supervisors[0].pid).children()
        return found[0] if found else None

    def submit(self, config: Json) -> Job:
        """Have a model wait."""
        return self.queue.submit("model", {"model_id": "tiny", "config": {**QUICK, **config}}, "cpu")

    def ended(self, job: Job) -> Job:
        """The job, when it is over."""
        until(lambda: self.queue.get(job.id).over, 120)
        return self.queue.get(job.id)

    def document(self, job: Job) -> ResultsDocument:
        """What it has measured."""
        session = self.queue.get(job.id).session_id
        assert session is not None
        return read_document(self.store.document_path(session))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Workers, and nothing left of them at the end."""
    with _service(tmp_path) as made:
        yield made


@contextlib.contextmanager
def _service(folder: Path, url: str | None = None) -> Iterator[Service]:
    made = Service(folder, url)
    made.start()
    yield made
    below = [psutil.Process(one.pid) for one in made.supervisors if one.poll() is None]
    below += [child for one in below for child in one.children(recursive=True)]
    for supervisor in made.supervisors:
        supervisor.kill()
        supervisor.wait()
    made.database.close()
    # What the kernel ends when its parent does: workers, pytest and engines.
    assert psutil.wait_procs(below, timeout=10)[1] == []


def _measured(service: Service, job: Job) -> dict[str, int]:
    """The engine's process by each test that is measured."""
    found: dict[str, int] = {}
    session = service.queue.get(job.id).session_id
    for path in [] if session is None else journals(service.store, session):
        with contextlib.suppress(ResultsError):
            found |= {case.nodeid: case.processes[0].pid for case in read_journal(path)[0].cases}
    return found


def test_a_job_is_measured_and_its_session_can_be_found(service: Service) -> None:
    job = service.ended(service.submit({"quantizations": ["f16", "q8_0"]}))
    assert (job.state, job.reason, job.attempt) == ("done", None, 1)
    assert (job.progress_done, job.progress_total) == (2, 2)
    assert [case.model.quantization for case in service.document(job).cases] == ["f16", "q8_0"]


def test_what_others_measured_into_the_store_can_be_found(tmp_path: Path) -> None:
    Store(tmp_path / "store").write(
        ResultsDocument(session=Session(id=OTHERS, started="2026-01-01T00:00:00Z"))
    )
    with _service(tmp_path) as service:
        until(lambda: OTHERS in _indexed(service), 60)


def _indexed(service: Service) -> list[str]:
    with service.database.reading() as connection:
        return list(connection.execute(select(sessions.c.id)).scalars())


def test_what_cannot_be_measured_fails_with_the_words_of_pytest(service: Service) -> None:
    job = service.ended(service.submit({"backends": "nosuch"}))
    assert job.state == "failed"
    assert job.reason is not None
    assert "nosuch" in job.reason
    # The worker goes on.
    assert service.ended(service.submit({})).state == "done"


def test_a_job_that_runs_is_cancelled_and_the_next_one_measured(service: Service) -> None:
    long, waiting = service.submit({"rounds": 100_000}), service.submit({})
    until(lambda: service.queue.get(long.id).progress_total == 1, 60)
    service.queue.cancel(long.id)
    assert service.ended(long).state == "cancelled"
    assert service.ended(waiting).state == "done"


def test_two_services_on_one_store_measure_each_job_once(service: Service) -> None:
    service.start()
    jobs = [service.submit({}) for _ in range(3)]
    assert [service.ended(job).attempt for job in jobs] == [1, 1, 1]
    assert len({service.queue.get(job.id).session_id for job in jobs}) == 3


def test_a_service_that_is_told_to_stop_gives_its_job_back_and_the_next_one_goes_on(
    service: Service,
) -> None:
    job = service.queue.submit("suite", {"suite": "many"}, "cpu")
    until(lambda: len(_measured(service, job)) >= 2, 60)
    service.supervisors[0].terminate()
    assert service.supervisors[0].wait(30) == 0
    left = service.queue.get(job.id)
    assert (left.state, left.reason) == ("queued", "the service stopped")
    service.start()
    assert service.ended(job).state == "done"
    assert len(service.document(job).cases) == 12


def test_killed_at_any_moment_nothing_is_lost_and_nothing_measured_twice(service: Service) -> None:
    moments = random.Random(7)
    job = service.queue.submit("suite", {"suite": "many"}, "cpu")
    kept: dict[str, int] = {}
    kills = 0
    while not service.queue.get(job.id).over:
        time.sleep(moments.uniform(0.05, 2.5))  # A moment, whichever it is.
        if kills < KILLS and (worker := service.worker()) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGKILL)
            kills += 1
            for nodeid, pid in _measured(service, job).items():
                assert kept.setdefault(nodeid, pid) == pid
    found = service.ended(job)
    assert (found.state, found.reason) == ("done", None)
    measured = {case.nodeid: case.processes[0].pid for case in service.document(job).cases}
    assert len(measured) == 12
    assert {nodeid: measured[nodeid] for nodeid in kept} == kept
    assert not journals(service.store, found.session_id)


def test_one_that_loses_its_lock_ends_what_it_measures_and_it_is_taken_up(tmp_path: Path) -> None:
    with postgres.server() as url, _service(tmp_path, url) as service:
        job = service.queue.submit("suite", {"suite": "many"}, "cpu")
        until(lambda: len(_measured(service, job)) >= 2, 60)
        with service.database.writing() as connection:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            connection.execute(text(ended))
        found = service.ended(job)
        assert (found.state, found.attempt) == ("done", 2)
        assert len(service.document(job).cases) == 12
