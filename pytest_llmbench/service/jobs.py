"""What waits to be measured, what runs, and what became of it?

A row of a table is a job. One statement claims the oldest that waits for a device; every change of a
state has its time and its reason. Whether a worker lives is not asked here: it holds a lock that the kernel
frees (:mod:`pytest_llmbench.service.locks`), and whoever gets it next takes up what was running.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from pytest_llmbench.errors import LLMBenchError, UsageError
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.index.tables import job_events, jobs

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pytest_llmbench.results.index.connection import Database

State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
STATES: tuple[State, ...] = get_args(State)
OVER: tuple[State, ...] = ("done", "failed", "cancelled", "interrupted")
"""States that no job leaves."""
_LONGEST_REASON = 2000
PAGE = 50
"""Jobs of a page."""


class ConflictError(LLMBenchError):
    """What was asked does not go with what is: another request of the same key, or a job that is over."""


class FullError(LLMBenchError):
    """As many jobs wait as may."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a job's state."""

    at: datetime
    state: State
    attempt: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """One job as its row has it."""

    id: str
    device: str
    state: State
    kind: str
    request: Json
    session_id: str | None
    """Of the results document, which may not be there yet."""
    attempt: int
    created: datetime
    started: datetime | None
    """Of the attempt that runs, or was the last."""
    ended: datetime | None
    reason: str | None
    exit_status: int | None
    progress_done: int | None
    """Cases that are measured."""
    progress_total: int | None
    """Cases that will be; None where it is not known yet."""
    cancel_asked: bool

    @property
    def over(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.state in OVER


_COLUMNS = tuple(jobs.c[name] for name in Job.__dataclass_fields__)


class JobQueue:
    """The jobs of one database; processes and threads may share it."""

    def __init__(self, database: Database, *, attempts: int = 3, longest: int = 1000) -> None:
        self.database = database
        self._attempts = attempts
        self._longest = longest

    def submit(self, kind: str, request: Json, device: str, key: str | None = None) -> Job:
        """Have a job wait for *device*. With a *key* that was used for the same request: that job.

        :raises ConflictError: if the key was used for another request.
        :raises FullError: if too many wait.
        :raises ResultsError: if the database does not answer.
        """
        row = {
            "id": secrets.token_hex(8),
            "device": device,
            "state": "queued",
            "kind": kind,
            "request": request,
            "created": _now(),
            "idempotency_key": key,
        }
        try:
            with self.database.writing() as connection:
                if key is not None and (known := self._of_key(connection, key)) is not None:
                    return _same(known, kind, request)
                waiting = select(func.count()).select_from(jobs).where(jobs.c.state == "queued")
                if connection.execute(waiting).scalar_one() >= self._longest:
                    msg = f"{self._longest} jobs wait already; cancel some, or come back later"
                    raise FullError(msg)
                connection.execute(insert(jobs).values(row))
                self._note(connection, str(row["id"]), "queued", 0, None)
        except IntegrityError:
            # Another process has used the key meanwhile.
            with self.database.reading() as connection:
                known = None if key is None else self._of_key(connection, key)
            if known is None:
                raise
            return _same(known, kind, request)
        return self.get(str(row["id"]))

    def get(self, job_id: str) -> Job:
        """One job.

        :raises UsageError: if there is none.
        """
        with self.database.reading() as connection:
            row = connection.execute(select(*_COLUMNS).where(jobs.c.id == job_id)).one_or_none()
        if row is None:
            msg = f"there is no job {job_id!r}"
            raise UsageError(msg)
        return Job(*row)

    def events(self, job_id: str) -> list[Event]:
        """How its state changed, the oldest first."""
        columns = (job_events.c[name] for name in Event.__dataclass_fields__)
        asked = select(*columns).where(job_events.c.job_id == job_id).order_by(job_events.c.id)
        with self.database.reading() as connection:
            return [Event(*row) for row in connection.execute(asked)]

    def page(
        self, states: Sequence[State] = (), after: str | None = None, limit: int = PAGE
    ) -> tuple[list[Job], str | None]:
        """The newest jobs, in *states* if there are any; and the cursor of the next page, if there is one.

        :raises UsageError: for a cursor that is none.
        """
        asked = select(*_COLUMNS).order_by(jobs.c.created.desc(), jobs.c.id.desc()).limit(limit + 1)
        if states:
            asked = asked.where(jobs.c.state.in_(states))
        if after is not None:
            created, last = _place(after)
            earlier = and_(jobs.c.created == created, jobs.c.id < last)
            asked = asked.where(or_(jobs.c.created < created, earlier))
        with self.database.reading() as connection:
            found = [Job(*row) for row in connection.execute(asked)]
        more = len(found) > limit
        return found[:limit], _cursor(found[limit - 1]) if more else None

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        asked = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        with self.database.reading() as connection:
            found: dict[str, int] = {row[0]: row[1] for row in connection.execute(asked)}
        return {state: found.get(state, 0) for state in STATES}

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: one that waits at once, one that runs as soon as its worker sees it.

        :raises UsageError: if there is none.
        :raises ConflictError: if it is over in another way.
        """
        job = self.get(job_id)
        with self.database.writing() as connection:
            if self._change(connection, job_id, "queued", "cancelled", "it was cancelled", ended=_now()):
                return self._seen(connection, job_id)
            asked = (
                update(jobs).where(jobs.c.id == job_id, jobs.c.state == "running").values(cancel_asked=True)
            )
            if connection.execute(asked).rowcount:
                return self._seen(connection, job_id)
        job = self.get(job_id)
        if job.state != "cancelled":
            msg = f"job {job_id} is over: {job.state}"
            raise ConflictError(msg)
        return job

    # --- What workers do ------------------------------------------------------------------------------

    def claim(self, device: str) -> Job | None:
        """The oldest job that waits for *device*, which runs now; None if none does."""
        oldest = (
            select(jobs.c.id)
            .where(jobs.c.device == device, jobs.c.state == "queued")
            .order_by(jobs.c.created, jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        taken = (
            update(jobs)
            .where(jobs.c.id == oldest)
            .values(state="running", attempt=jobs.c.attempt + 1, started=_now(), reason=None)
            .returning(*_COLUMNS)
        )
        with self.database.writing() as connection:
            row = connection.execute(taken).one_or_none()
            if row is None:
                return None
            job = Job(*row)
            self._note(connection, job.id, "running", job.attempt, None)
        return job

    def note_session(self, job: Job, session_id: str) -> None:
        """Say which session measures it, before it does."""
        self._set(job, session_id=session_id)

    def note_progress(self, job: Job, done: int, total: int | None) -> bool:
        """Say how far it is; whether it is to be cancelled."""
        return self._set(job, progress_done=done, progress_total=total)

    def finish(
        self, job: Job, state: State, reason: str | None = None, exit_status: int | None = None
    ) -> bool:
        """End this attempt at a job; False if it is another worker's by now, or over."""
        values: Json = {"ended": _now(), "exit_status": exit_status}
        with self.database.writing() as connection:
            return self._change(connection, job.id, "running", state, reason, attempt=job.attempt, **values)

    def give_back(self, job: Job, reason: str) -> bool:
        """Have a job that runs wait again; this attempt does not count."""
        with self.database.writing() as connection:
            return self._change(
                connection,
                job.id,
                "running",
                "queued",
                reason,
                attempt=job.attempt,
                next_attempt=job.attempt - 1,
            )

    def take_up(self, device: str) -> list[Job]:
        """What became of the jobs that ran on *device* when its worker died: they wait again, or failed.

        Only for who holds the device's lock.
        """
        asked = select(*_COLUMNS).where(jobs.c.device == device, jobs.c.state == "running")
        with self.database.writing() as connection:
            left = [Job(*row) for row in connection.execute(asked)]
            for job in left:
                if job.cancel_asked:
                    self._change(connection, job.id, "running", "cancelled", "it was cancelled", ended=_now())
                elif job.attempt < self._attempts:
                    self._change(connection, job.id, "running", "queued", "its worker died")
                else:
                    why = f"its worker died {job.attempt} times"
                    self._change(connection, job.id, "running", "failed", why, ended=_now())
        return [self.get(job.id) for job in left]

    # --- Statements -----------------------------------------------------------------------------------

    def _change(
        self,
        connection: Connection,
        job_id: str,
        before: State,
        state: State,
        reason: str | None,
        *,
        attempt: int | None = None,
        next_attempt: int | None = None,
        **values: Any,
    ) -> bool:
        reason = None if reason is None else reason[:_LONGEST_REASON]
        if next_attempt is not None:
            values["attempt"] = next_attempt
        changed = update(jobs).where(jobs.c.id == job_id, jobs.c.state == before)
        if attempt is not None:
            changed = changed.where(jobs.c.attempt == attempt)
        row = connection.execute(
            changed.values(state=state, reason=reason, **values).returning(jobs.c.attempt)
        ).one_or_none()
        if row is None:
            return False
        self._note(connection, job_id, state, row[0], reason)
        return True

    def _set(self, job: Job, **values: Any) -> bool:
        """Set columns of a job while this attempt runs; whether it is to be cancelled."""
        mine = and_(jobs.c.id == job.id, jobs.c.attempt == job.attempt, jobs.c.state == "running")
        with self.database.writing() as connection:
            changed = update(jobs).where(mine).values(**values).returning(jobs.c.cancel_asked)
            return bool(connection.execute(changed).scalar_one_or_none())

    def _note(
        self, connection: Connection, job_id: str, state: State, attempt: int, reason: str | None
    ) -> None:
        event = {"job_id": job_id, "at": _now(), "state": state, "attempt": attempt, "reason": reason}
        connection.execute(insert(job_events).values(event))

    def _seen(self, connection: Connection, job_id: str) -> Job:
        return Job(*connection.execute(select(*_COLUMNS).where(jobs.c.id == job_id)).one())

    def _of_key(self, connection: Connection, key: str) -> Job | None:
        row = connection.execute(select(*_COLUMNS).where(jobs.c.idempotency_key == key)).one_or_none()
        return None if row is None else Job(*row)


def _same(known: Job, kind: str, request: Mapping[str, Any]) -> Job:
    if (known.kind, known.request) != (kind, request):
        msg = f"the idempotency key was used for job {known.id}, which asks for something else"
        raise ConflictError(msg)
    return known


def _now() -> datetime:
    return datetime.now(UTC)


def _cursor(job: Job) -> str:
    return base64.urlsafe_b64encode(json.dumps([job.created.isoformat(), job.id]).encode()).decode()


def _place(cursor: str) -> tuple[datetime, str]:
    try:
        created, last = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        moment = datetime.fromisoformat(created)
        if moment.tzinfo is None or not isinstance(last, str):
            raise ValueError
    except (ValueError, TypeError, binascii.Error):
        msg = "the cursor is not one; take it from 'next' of the page before"
        raise UsageError(msg) from None
    return moment, last
