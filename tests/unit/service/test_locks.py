"""Who measures on a device?"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from pytest_llmbench.results.index.connection import Database, connect
from pytest_llmbench.results.index.database import open_database
from pytest_llmbench.results.store import Store
from pytest_llmbench.service.jobs import JobQueue
from pytest_llmbench.service.locks import device_lock, wait_for
from tests import postgres
from tests.waiting import until

FORK = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str | None]]:
    """A store, and the URL of its database."""
    folder = tmp_path_factory.mktemp("store")
    if request.param == "sqlite":
        yield folder, None
        return
    with postgres.server() as url:
        yield folder, url


@pytest.fixture
def database(place: tuple[Path, str | None]) -> Iterator[Database]:
    """It, with its tables."""
    made = open_database(Store(place[0]), place[1])
    yield made
    made.close()


def test_a_device_is_of_one_and_of_the_next_one_when_it_is_free(database: Database) -> None:
    first, second, other = (device_lock(database, name) for name in ("cpu", "cpu", "gpu0"))
    assert first.take()
    assert first.held()
    assert not second.take()
    assert other.take()
    first.free()
    assert not first.held()
    assert second.take()
    second.free()
    other.free()


def test_who_is_to_stop_waits_no_longer(database: Database) -> None:
    first, second = device_lock(database, "cpu"), device_lock(database, "cpu")
    assert first.take()
    assert not wait_for(second, lambda: True)
    first.free()


def _hold(folder: str, url: str | None, told: Connection) -> None:
    lock = device_lock(connect(Store(folder), url), "cpu")
    told.send(lock.take())
    signal.pause()


def test_one_that_was_killed_has_lost_it(place: tuple[Path, str | None], database: Database) -> None:
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_hold, args=(str(place[0]), place[1], theirs))
    process.start()
    assert ours.recv()
    lock = device_lock(database, "cpu")
    assert not lock.take()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    until(lock.take)
    lock.free()


def test_with_its_connection_the_lock_is_lost(database: Database) -> None:
    from sqlalchemy import text

    if database.dialect == "sqlite":
        pytest.skip("a file has no connection")
    lock = device_lock(database, "cpu")
    assert lock.take()
    with database.writing() as connection:
        held = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        connection.execute(text(held))
    until(lambda: not lock.held())


def _claim(folder: str, url: str | None, told: Connection) -> None:
    queue = JobQueue(open_database(Store(folder), url))
    claimed = []
    while (job := queue.claim("cpu")) is not None:
        claimed.append(job.id)
        assert queue.finish(job, "done")
    told.send(claimed)


def test_several_processes_claim_each_job_once(place: tuple[Path, str | None], database: Database) -> None:
    queue = JobQueue(database)
    made = {queue.submit("model", {}, "cpu").id for _ in range(60)}
    pipes = [FORK.Pipe() for _ in range(3)]
    processes = [FORK.Process(target=_claim, args=(str(place[0]), place[1], theirs)) for _, theirs in pipes]
    for process in processes:
        process.start()
    claimed = [job for ours, _ in pipes for job in ours.recv()]
    for process in processes:
        process.join()
    assert len(claimed) == 60
    assert set(claimed) == made
