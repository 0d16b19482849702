"""What can be done here, what waits, and what got slower lately?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.results.records import label_of
from pytest_llmbench.service.pages.asked import Answer, Asked, go_to, page
from pytest_llmbench.service.pages.form import Form, empty_form, read_form
from pytest_llmbench.service.pages.jobs import queue_values
from pytest_llmbench.service.pages.look import address
from pytest_llmbench.service.pages.starting import choices, submit

if TYPE_CHECKING:
    from pytest_llmbench.service.state import Service

SLOWER = 8
"""Regressions on the first page."""


@dataclass(frozen=True, slots=True)
class View:
    """An example of what can be asked, one click away."""

    name: str
    what: str
    where: str


VIEWS = (
    View(
        "Which one to take",
        "limits, a budget and what matters: the best that was measured, and why",
        "/ui/recommend",
    ),
    View(
        "Fastest first token",
        "models and quantizations on this machine, ranked by TTFT",
        address("/ui/leaderboard", metric="ttft"),
    ),
    View(
        "Quantizations side by side",
        "memory against speed, and which is not beaten",
        address("/ui/pareto", x="peak_rss", y="decode_throughput"),
    ),
    View(
        "What got slower lately",
        "cases that failed the gate, the newest first",
        address("/ui/results", verdict="fail"),
    ),
)


@dataclass(frozen=True, slots=True)
class Slower:
    """A case that the gate failed."""

    name: str
    what: str
    where: str
    started: datetime
    reason: str | None


def show(asked: Asked) -> Answer:
    """The first page; fields of the form can be filled in by the query."""
    form = empty_form(choices(asked.service), lambda name: [v for k, v in asked.query if k == name])
    return _page(asked, form)


def start(asked: Asked) -> Answer:
    """Queue what the form asks for, and go to its job; or show the form with what is not valid."""
    form, wanted = read_form(choices(asked.service), asked.text, asked.many)
    if wanted is None:
        return _page(asked, form, status=422)
    try:
        job = submit(asked.service, wanted)
    except LLMBenchError as error:
        return _page(asked, form.with_problem(str(error)), status=422)
    return go_to(f"/ui/jobs/{job.id}")


def _page(asked: Asked, form: Form, status: int = 200) -> Answer:
    return page(
        asked,
        "home.html",
        status=status,
        views=VIEWS,
        form=form,
        slower=slower(asked.service, SLOWER),
        **queue_values(asked),
    )


def slower(service: Service, most: int) -> list[Slower]:
    """The newest cases that the gate failed."""
    from sqlalchemy import select

    from pytest_llmbench.results.index.tables import cases

    wanted = select(cases).where(cases.c.verdict == "fail").order_by(cases.c.started.desc()).limit(most)
    with service.database.reading() as connection:
        rows = connection.execute(wanted).mappings().all()
    return [
        Slower(
            label_of(row["nodeid"], row["measurement"]),
            f"{row['alias'] or row['model']} on {row['backend']}",
            f"/ui/cases/{row['session_id']}/{row['position']}",
            row["started"],
            row["verdict_reason"],
        )
        for row in rows
    ]
