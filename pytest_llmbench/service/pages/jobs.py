"""What waits, what runs, and what became of what was asked for?

While a measurement runs, a page asks for its progress every ten seconds and no more: what it costs the
machine would be part of what is measured.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytest_llmbench.errors import UsageError, one_line, shown
from pytest_llmbench.metrics.units import count
from pytest_llmbench.service.attempt import log_tail
from pytest_llmbench.service.jobs import OVER, STATES, ConflictError
from pytest_llmbench.service.pages.asked import Answer, Asked, NotThereError, go_to, page
from pytest_llmbench.service.pages.form import NUMBERS
from pytest_llmbench.service.pages.look import address

if TYPE_CHECKING:
    from pytest_llmbench.service.jobs import Event, Job

WAITING, MEASURING = 2, 10
"""Seconds between two questions of a page: while jobs wait, and while one measures."""
QUEUE = 8
"""Jobs beside the start form."""
MOST = 50
"""Jobs of one page."""
_LOG_LINES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job, as a page shows it."""

    id: str
    title: str
    state: str
    over: bool
    reason: str | None
    attempt: int
    progress: str
    share: int | None
    """Per cent; None where it is not known."""
    created: datetime
    started: datetime | None
    ended: datetime | None
    session: str | None
    cancel_asked: bool
    events: tuple[Event, ...] = ()
    log: str = ""
    asked: tuple[tuple[str, str], ...] = ()
    again: str = "/"
    """The start form with the same settings."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Where the other rows are."""

    first: str | None
    next: str | None


def queue(asked: Asked) -> Answer:
    """The queue alone, as it stands beside the start form."""
    return page(asked, "queue.html", **queue_values(asked))


def queue_values(asked: Asked) -> dict[str, Any]:
    """What the queue's template needs: the jobs, and how often to ask again."""
    jobs = [view(job) for job in asked.service.queue.page(limit=QUEUE)[0]]
    return {"jobs": jobs, "poll": _pause({job.state for job in jobs})}


def show(asked: Asked) -> Answer:
    """All jobs, the newest first."""
    state = asked.one("state")
    states = tuple(one for one in STATES if one == state)
    found, following = asked.service.queue.page(states, asked.one("after") or None, MOST)
    pages = Pages(
        address("/ui/jobs", asked.query, after=None) if asked.one("after") else None,
        address("/ui/jobs", asked.query, after=following) if following else None,
    )
    return page(
        asked,
        "jobs.html",
        jobs=[view(job) for job in found],
        states=[(one, one) for one in STATES],
        chosen=state,
        page=pages,
    )


def one(asked: Asked) -> Answer:
    """One job, with everything that became of it."""
    job = _job(asked)
    made = view(job, asked)
    return page(asked, "job.html", job=made, poll=_pause({made.state}))


def live(asked: Asked) -> Answer:
    """What changes of a job while it runs."""
    made = view(_job(asked), asked)
    return page(asked, "job_live.html", job=made, poll=_pause({made.state}))


def cancel(asked: Asked) -> Answer:
    """Ask for a job to be cancelled; one that is over stays as it is."""
    job = _job(asked)
    # One that ended meanwhile says so on its page.
    with contextlib.suppress(ConflictError):
        asked.service.queue.cancel(job.id)
    return go_to(f"/ui/jobs/{job.id}")


def _job(asked: Asked) -> Job:
    name = asked.path["job"]
    try:
        return asked.service.queue.get(name[:64])
    except UsageError:
        msg = f"There is no job {one_line(name, 60)!r}. The list of jobs has those that there are."
        raise NotThereError(msg) from None


def _pause(states: set[str]) -> int | None:
    """After how many seconds a page asks again; None where nothing will change."""
    if "running" in states:
        return MEASURING
    return WAITING if "queued" in states else None


def view(job: Job, asked: Asked | None = None) -> JobView:
    """*job* for a page; *asked* adds what its own page has beside."""
    done, total = job.progress_done, job.progress_total
    more: dict[str, Any] = {}
    if asked is not None:
        more = {
            "events": tuple(asked.service.queue.events(job.id)),
            "log": _log(asked, job) if job.state in ("failed", "interrupted") else "",
            "asked": _asked_for(job.request),
            "again": _again(job.request),
        }
    return JobView(
        id=job.id,
        title=title(job.request),
        state=job.state,
        over=job.state in OVER,
        reason=job.reason,
        attempt=job.attempt,
        progress=_progress(job),
        share=None if not total or done is None else min(100, round(100 * done / total)),
        created=job.created,
        started=job.started,
        ended=job.ended,
        session=job.session_id,
        cancel_asked=job.cancel_asked,
        **more,
    )


def _settings(request: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = request.get("config") or request.get("overrides") or {}
    return found


def _models(request: Mapping[str, Any]) -> list[str]:
    named = _settings(request).get("models") or request.get("model_id") or ()
    return [str(one) for one in ([named] if isinstance(named, str) else named)]


def _listed(request: Mapping[str, Any], name: str) -> list[str]:
    given = _settings(request).get(name) or []
    return [str(one) for one in (given if isinstance(given, list) else [given])]


def title(request: Mapping[str, Any]) -> str:
    """A job in a few words: ``latency: tiny q8_0, f16 on llamacpp``."""
    what = " ".join(
        part for part in (", ".join(_models(request)), ", ".join(_listed(request, "quantizations"))) if part
    )
    backends = ", ".join(_listed(request, "backends"))
    what = f"{what} on {backends}" if what and backends else what
    return ": ".join(part for part in (str(request.get("suite") or ""), what) if part) or "benchmark"


def _progress(job: Job) -> str:
    if job.state == "queued":
        return "waits for the one before it"
    done, total = job.progress_done, job.progress_total
    if done is None:
        return "starts" if job.state == "running" else ""
    return f"{done} of {count(total, 'case')}" if total else f"{count(done, 'case')} so far"


def _asked_for(request: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    def said(value: Any) -> str:
        if isinstance(value, list | tuple):
            return ", ".join(map(str, value))
        return value if isinstance(value, str) else json.dumps(value)

    flat: dict[str, Any] = {}
    for key, value in request.items():
        flat.update(value if isinstance(value, dict) else {key: value})
    return tuple(
        (key.replace("_", " "), said(value)) for key, value in flat.items() if value not in (None, "", [], {})
    )


def _again(request: Mapping[str, Any]) -> str:
    pairs = [("models", name) for name in _models(request)]
    pairs += [(name, one) for name in ("backends", "quantizations") for one in _listed(request, name)]
    pairs += [("suite", str(request["suite"]))] if request.get("suite") else []
    texts = ("preset", "prompt", *NUMBERS)
    pairs += [(name, str(value)) for name in texts if (value := _settings(request).get(name)) is not None]
    return address("/", [(name, value) for name, value in pairs if len(value) < 1500])


def _log(asked: Asked, job: Job) -> str:
    """The last lines of what a job wrote, without secrets."""
    return shown("\n".join(log_tail(asked.service.store, job.id).splitlines()[-_LOG_LINES:]))
