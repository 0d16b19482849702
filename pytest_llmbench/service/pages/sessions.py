"""Which sessions does the store have, for whoever chooses one?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.errors import one_line
from pytest_llmbench.metrics.units import count
from pytest_llmbench.results.ids import is_session_id
from pytest_llmbench.service.pages.asked import NotThereError
from pytest_llmbench.service.pages.look import moment

if TYPE_CHECKING:
    from pytest_llmbench.service.state import Service

MOST = 200
"""The newest; the others are named in the address."""


@dataclass(frozen=True, slots=True)
class Known:
    """A session, as it stands in a list to choose from."""

    id: str
    started: datetime
    name: str
    """For a person."""


def known_sessions(service: Service) -> list[Known]:
    """The sessions of the index, the newest first."""
    from sqlalchemy import select

    from pytest_llmbench.results.index.tables import sessions

    columns = (
        sessions.c.id,
        sessions.c.started,
        sessions.c.case_count,
        sessions.c.host,
        sessions.c.commit_id,
    )
    wanted = select(*columns).order_by(sessions.c.id.desc()).limit(MOST)
    with service.database.reading() as connection:
        rows = connection.execute(wanted).all()
    return [
        Known(row.id, row.started, _name(row.id, row.started, row.case_count, row.commit_id)) for row in rows
    ]


def _name(session: str, started: datetime, cases: int, commit: str | None) -> str:
    parts = [moment(started), count(cases, "case"), commit[:9] if commit else "", session.rpartition("-")[2]]
    return " · ".join(part for part in parts if part)


def document_path(service: Service, session: str) -> Path:
    """Where the document of a session is: of an id alone, so that nothing else can be read.

    :raises NotThereError: if there is none.
    """
    if is_session_id(session) and (path := service.store.document_path(session)).is_file():
        return path
    msg = (
        f"There is no session {one_line(session, 60)!r} in the store. The results name those that there are."
    )
    raise NotThereError(msg)
