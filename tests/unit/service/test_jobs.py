"""What waits to be measured, what runs, and what became of it?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

pytest.importorskip("sqlalchemy")

from pytest_llmbench.errors import UsageError
from pytest_llmbench.results.index.database import open_database
from pytest_llmbench.results.store import Store
from pytest_llmbench.service.jobs import ConflictError, FullError, JobQueue

ASKED = {"model_id": "tiny"}


@pytest.fixture
def queue(tmp_path: object) -> Iterator[JobQueue]:
    """An empty queue, of three jobs at most."""
    database = open_database(Store(str(tmp_path)))
    yield JobQueue(database, longest=3)
    database.close()


def test_the_oldest_job_of_a_device_is_claimed_once(queue: JobQueue) -> None:
    first, second = queue.submit("model", ASKED, "cpu"), queue.submit("model", ASKED, "cpu")
    queue.submit("model", ASKED, "gpu0")
    claimed = [queue.claim("cpu") for _ in range(3)]
    assert [job and job.id for job in claimed] == [first.id, second.id, None]
    assert claimed[0] is not None
    assert (claimed[0].state, claimed[0].attempt) == ("running", 1)


def test_every_change_has_its_time_and_its_reason(queue: JobQueue) -> None:
    job = queue.submit("model", ASKED, "cpu")
    running = queue.claim("cpu")
    assert running is not None
    assert queue.finish(running, "failed", "no such model", 4)
    events = queue.events(job.id)
    assert [(event.state, event.reason) for event in events] == [
        ("queued", None),
        ("running", None),
        ("failed", "no such model"),
    ]
    assert all(one.at <= two.at for one, two in pairwise(events))
    assert queue.get(job.id).exit_status == 4


def test_what_ran_when_a_worker_died_waits_again_until_its_attempts_are_used_up(queue: JobQueue) -> None:
    job = queue.submit("model", ASKED, "cpu")
    for attempt in (1, 2, 3):
        claimed = queue.claim("cpu")
        assert claimed is not None
        assert claimed.attempt == attempt
        (left,) = queue.take_up("cpu")
        assert left.state == ("queued" if attempt < 3 else "failed")
    assert queue.get(job.id).reason == "its worker died 3 times"


def test_an_attempt_that_is_another_workers_by_now_ends_nothing(queue: JobQueue) -> None:
    queue.submit("model", ASKED, "cpu")
    first = queue.claim("cpu")
    assert first is not None
    queue.take_up("cpu")
    second = queue.claim("cpu")
    assert second is not None
    assert not queue.finish(first, "done")
    assert queue.get(first.id).state == "running"
    assert queue.finish(second, "done")


def test_a_job_that_is_given_back_has_its_attempts_left(queue: JobQueue) -> None:
    queue.submit("model", ASKED, "cpu")
    claimed = queue.claim("cpu")
    assert claimed is not None
    assert queue.give_back(claimed, "the service stops")
    again = queue.claim("cpu")
    assert again is not None
    assert again.attempt == 1


def test_the_same_key_is_the_same_job_and_another_request_of_it_is_refused(queue: JobQueue) -> None:
    job = queue.submit("model", ASKED, "cpu", key="k")
    assert queue.submit("model", ASKED, "cpu", key="k").id == job.id
    with pytest.raises(ConflictError, match="asks for something else"):
        queue.submit("model", {"model_id": "other"}, "cpu", key="k")


def test_a_full_queue_takes_no_more(queue: JobQueue) -> None:
    for _ in range(3):
        queue.submit("model", ASKED, "cpu")
    with pytest.raises(FullError, match="3 jobs wait already"):
        queue.submit("model", ASKED, "cpu")


def test_a_job_that_waits_is_cancelled_at_once_and_one_that_runs_when_its_worker_sees_it(
    queue: JobQueue,
) -> None:
    running, waiting = queue.submit("model", ASKED, "cpu"), queue.submit("model", ASKED, "cpu")
    claimed = queue.claim("cpu")
    assert claimed is not None
    assert queue.cancel(waiting.id).state == "cancelled"
    assert queue.cancel(waiting.id).state == "cancelled"
    assert queue.cancel(running.id).state == "running"
    assert queue.note_progress(claimed, 1, 3)
    queue.finish(claimed, "done")
    with pytest.raises(ConflictError, match="is over: done"):
        queue.cancel(running.id)


def test_pages_together_are_all_jobs_the_newest_first(queue: JobQueue) -> None:
    made = [queue.submit("model", ASKED, "cpu").id for _ in range(3)]
    first, cursor = queue.page(limit=2)
    second, end = queue.page(after=cursor, limit=2)
    assert [job.id for job in (*first, *second)] == made[::-1]
    assert end is None


@pytest.mark.parametrize("cursor", ["", "x", "W10=", "WzEsIDJd", "\0", "WyIyMDI2LTAxLTAxIiwgImEiXQ=="])
def test_what_is_no_cursor_is_refused(queue: JobQueue, cursor: str) -> None:
    with pytest.raises(UsageError, match="the cursor is not one"):
        queue.page(after=cursor)


def test_states_are_counted_also_those_that_no_job_has(queue: JobQueue) -> None:
    queue.submit("model", ASKED, "cpu")
    assert queue.counts() == {
        "queued": 1, "running": 0, "done": 0, "failed": 0, "cancelled": 0, "interrupted": 0,
    }  # fmt: skip
