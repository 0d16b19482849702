"""How does the index follow the documents of the store?

A document is read when its file is new or was changed: another size or time, and then another hash. What was
removed goes out of the index. The same documents give the same rows, in whatever order they came.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, text
from sqlalchemy.exc import OperationalError, StatementError

from pytest_llmbench.errors import ResultsError, one_line
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.cell import hardware_of
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.ids import is_session_id
from pytest_llmbench.results.index.connection import Database
from pytest_llmbench.results.index.database import open_database
from pytest_llmbench.results.index.facts import CaseFacts, case_facts
from pytest_llmbench.results.index.tables import (
    INDEXED,
    STATISTICS,
    cases,
    damaged,
    metric_rows,
    metrics,
    sessions,
    totals,
)
from pytest_llmbench.results.index.totals import totals_of
from pytest_llmbench.results.records import CaseRecord, ResultsDocument
from pytest_llmbench.results.rows import case_row
from pytest_llmbench.results.store import Store

_LOCK = 0x6C6C6D62696E6478
"""Of PostgreSQL, for updates."""
_STAMPED = ("id", "path", "size", "modified", "digest")
_FACTS = [one.name for one in fields(CaseFacts) if one.name != "levels"]


@dataclass(slots=True)
class Update:
    """What an update did; sessions by their ids."""

    added: list[str] = field(default_factory=list)
    """New, or changed."""
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)
    """A line for each document that is damaged."""


class Index:
    """The index of one store. Use :meth:`open`."""

    def __init__(self, store: Store, database: Database) -> None:
        self.store = store
        self.database = database

    @classmethod
    def open(cls, store: Store, url: str | None = None) -> Index:
        """The index of *store*, in the database that :func:`open_database` opens.

        :raises ResultsError: as there.
        :raises UsageError: as there.
        """
        return cls(store, open_database(store, url))

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def rebuild(self) -> Update:
        """Make the index anew of all documents. Until that is done, readers see the one that was there.

        :raises ResultsError: as :meth:`update`.
        """
        with self._alone() as connection:
            for table in INDEXED:
                connection.execute(delete(table))
            return self._follow(connection)

    def update(self) -> Update:
        """Bring the index to what the store has now: all of it, or nothing.

        :raises ResultsError: if the store or the database cannot be read or written.
        """
        with self._alone() as connection:
            return self._follow(connection)

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """A transaction while which no other process updates an index in this database."""
        with self.database.writing() as connection:
            if self.database.dialect == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            yield connection

    def _follow(self, connection: Connection) -> Update:
        done = Update()
        held = {row.path: row for row in connection.execute(select(*(sessions.c[name] for name in _STAMPED)))}
        bad = {row.path: row for row in connection.execute(select(damaged))}
        there = set()
        for path, size, modified in self._files(done):
            name = path.name
            there.add(name)
            stamp = {"size": size, "modified": modified}
            if (one := held.get(name)) is not None and (one.size, one.modified) == (size, modified):
                done.unchanged += 1
                continue
            if (two := bad.get(name)) is not None and (two.size, two.modified) == (size, modified):
                done.problems.append(two.problem)
                continue
            connection.execute(delete(damaged).where(damaged.c.path == name))
            try:
                digest = _digest(path)
                if one is not None and one.digest == digest:
                    connection.execute(sessions.update().where(sessions.c.path == name).values(stamp))
                    done.unchanged += 1
                    continue
                with _kept_out(path), connection.begin_nested():
                    connection.execute(delete(sessions).where(sessions.c.path == name))
                    self._add(connection, _read(path), {"path": name, "digest": digest, **stamp})
            except ResultsError as error:
                connection.execute(delete(sessions).where(sessions.c.path == name))
                connection.execute(insert(damaged).values(path=name, problem=str(error), **stamp))
                done.problems.append(str(error))
                continue
            done.added.append(path.stem)
        for name in held.keys() - there:
            connection.execute(delete(sessions).where(sessions.c.path == name))
            done.removed.append(held[name].id)
        for name in bad.keys() - there:
            connection.execute(delete(damaged).where(damaged.c.path == name))
        return done

    def _files(self, done: Update) -> Iterator[tuple[Path, int, int]]:
        """Each document with its size and when it was changed, in ns; what cannot be one is a problem."""
        for path in self.store.paths():
            if not is_session_id(path.stem):
                done.problems.append(f"{path} is passed over: a document is called as its session")
                continue
            try:
                status = path.stat()
            except OSError:
                continue  # It was removed meanwhile.
            if not stat.S_ISREG(status.st_mode):
                done.problems.append(f"{path} is passed over: it is not a file")
                continue
            # Who puts another file in its place may keep the time of its content, but not that of the change.
            yield path, status.st_size, max(status.st_mtime_ns, status.st_ctime_ns)

    def _add(self, connection: Connection, document: ResultsDocument, place: Json) -> None:
        connection.execute(insert(sessions).values(**place, **_session(document)))
        rows, values = [], []
        for position, case in enumerate(document.cases):
            facts = case_facts(case, document)
            row = _case(document, case, facts, position)
            rows.append(row)
            for name, metric in case.metrics.items():
                numbers = {one: getattr(metric, one) for one in STATISTICS}
                level, processes = facts.levels.get(name, (None, None))
                about = {"started": row["started"], "case_id": row["id"], "name": name, "n": metric.n}
                values.append({**about, **numbers, "level": level, "processes": processes})
        if rows:
            connection.execute(insert(cases), rows)
        if values:
            connection.execute(insert(metrics), values)
        if added := totals_of(document.cases):
            connection.execute(insert(totals), [{"session_id": document.session.id, **one} for one in added])
        known = [name for name in {one["name"] for one in values} if name in document.metrics]
        if known:
            told = [
                {"session_id": document.session.id, "name": name, "row": document.metrics[name].model_dump()}
                for name in known
            ]
            connection.execute(insert(metric_rows), told)


@contextmanager
def _kept_out(path: Path) -> Iterator[None]:
    """Have a document that no database takes be a damaged one: another's, with a date that is none.

    :raises ResultsError: for what the document is to blame for; what the database is to blame for goes on.
    """
    try:
        yield
    except (ArithmeticError, TypeError, ValueError, StatementError) as error:
        if isinstance(error, OperationalError) or getattr(error, "connection_invalidated", False):
            raise
        why = one_line(str(getattr(error, "orig", None) or error), 200)
        msg = f"{path} holds what the index cannot keep: {why}"
        raise ResultsError(msg) from error


def _read(path: Path) -> ResultsDocument:
    document = read_document(path)
    if document.session.id != path.stem:
        msg = f"{path} is of session {document.session.id}: a document is called as its session"
        raise ResultsError(msg)
    return document


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        msg = f"{path} cannot be read: {os.strerror(error.errno or 0)}"
        raise ResultsError(msg) from error


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _session(document: ResultsDocument) -> Json:
    session, machine, commit = document.session, document.machine, document.commit
    cell = session.cell
    hardware, count = hardware_of(document)
    return {
        "id": session.id,
        "schema_version": document.schema_version,
        "started": _moment(session.started),
        "ended": _moment(session.ended),
        "state": session.state,
        "host": session.host,
        "machine": machine.id if machine else None,
        "cpu": machine.cpu.get("model") if machine else None,
        "gpus": ", ".join(str(gpu.get("name")) for gpu in machine.gpus) or None if machine else None,
        "memory": machine.memory.get("total") if machine else None,
        "hardware": hardware,
        "hardware_count": count,
        "market": cell.market if cell else None,
        "matrix": cell.matrix if cell else None,
        "cell": cell.id if cell else None,
        "cell_key": cell.key if cell else None,
        "commit_id": commit.id,
        "commit_time": _moment(commit.time),
        "branch": commit.branch,
        "dirty": commit.dirty,
        "versions": document.versions,
        "case_count": len(document.cases),
    }


def case_id(session_id: str, position: int) -> int:
    """The number of a case: the same whenever, and in whichever database, the index is made."""
    text = f"{session_id}/{position}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def _case(document: ResultsDocument, case: CaseRecord, facts: CaseFacts, position: int) -> Json:
    told = case_row(document, case)
    return {
        **{name: told[name] for name in map(str, cases.columns.keys()) if name in told},
        **{name: getattr(facts, name) for name in _FACTS},
        "id": case_id(document.session.id, position),
        "session_id": document.session.id,
        "position": position,
        "verdict": case.verdict,
        "verdict_reason": case.verdict_reason,
        "alias": case.model.alias,
        "digest": case.model.digest,
        "revision": case.model.revision,
        "parameters": case.model.parameters,
        "size": case.model.size,
        "way": case.protocol.way,
        "params": case.params,
        "started": _moment(document.session.started),
    }
