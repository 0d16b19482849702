"""How is a benchmark asked for, followed and cancelled?"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, Field

from pytest_llmbench.errors import UsageError
from pytest_llmbench.secrets import mask_data
from pytest_llmbench.service.api.results import CaseBody, cases_of
from pytest_llmbench.service.api.shared import JOB, Asked, Cursor, Limit
from pytest_llmbench.service.jobs import ConflictError, FullError, Job, State
from pytest_llmbench.service.problems import ProblemError, failed
from pytest_llmbench.service.requests import (
    SUITE_NAME,
    Config,
    HardwareOptions,
    Kind,
    ModelRequest,
    SuiteRequest,
)
from pytest_llmbench.service.state import Service

router = APIRouter(tags=["Benchmarks"])

JobId = Annotated[str, Path(pattern=JOB, description="of a benchmark, as the answer to POST has it")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="a request that is sent again with the same key is the same benchmark",
    ),
]


class EventBody(BaseModel):
    """One change of a benchmark's state."""

    at: datetime
    state: State
    attempt: int
    reason: str | None


class Progress(BaseModel):
    """How far it is, in cases."""

    done: int
    total: int | None = Field(description="null: not known yet")


class JobBody(BaseModel):
    """One benchmark."""

    job_id: str
    state: State
    kind: Kind
    device: str = Field(description="what it is measured on")
    attempt: int = Field(description="it is one more where a worker died and another took it up")
    created: datetime
    started: datetime | None
    ended: datetime | None
    reason: str | None = Field(description="why it is in its state, where there is something to say")
    progress: Progress | None
    cancel_asked: bool
    session_id: str | None = Field(description="of the results, once there are any")
    request: dict[str, Any]
    links: dict[str, str] = Field(description="addresses: of itself, and of its results when it is over")


class JobDetails(JobBody):
    """One benchmark with its story and, when it is done, what was measured."""

    events: list[EventBody] = Field(description="the oldest first")
    result: list[CaseBody] | None = Field(description="the cases; null until they are measured and indexed")


class JobPage(BaseModel):
    """Benchmarks, the newest first."""

    items: list[JobBody]
    next: str | None = Field(description="the cursor of the next page; null: there is none")


def job_body(job: Job) -> dict[str, Any]:
    """What an answer says of a job."""
    links = {"self": f"/benchmarks/{job.id}"}
    if job.over and job.session_id is not None:
        links["results"] = f"/results/{job.session_id}"
        links["document"] = f"/results/{job.session_id}/document"
    done = job.progress_done
    return {
        "job_id": job.id,
        **{name: getattr(job, name) for name in JobBody.model_fields if hasattr(job, name)},
        "progress": None if done is None else {"done": done, "total": job.progress_total},
        "request": mask_data(job.request),
        "links": links,
    }


def submit(service: Service, request: ModelRequest | SuiteRequest, key: str | None = None) -> Job:
    """Have what was asked wait for its turn.

    :raises ProblemError: if it cannot be measured, the key was used for something else, or too many wait.
    """
    try:
        return service.submit(request, key)
    except UsageError as error:
        raise ProblemError(422, str(error)) from None
    except ConflictError as error:
        raise ProblemError(409, str(error)) from None
    except FullError as error:
        raise ProblemError(503, str(error), headers={"Retry-After": "60"}) from None


def _accepted(job: Job, response: Response) -> JobBody:
    response.headers["Location"] = f"/benchmarks/{job.id}"
    return JobBody(**job_body(job))


_SUBMITS = failed(400, 409, 413, 415, 422, 503)


@router.post("/benchmarks/", status_code=202, responses=_SUBMITS)
@router.post("/benchmarks", status_code=202, include_in_schema=False)
def start(service: Asked, request: ModelRequest, response: Response, key: Key = None) -> JobBody:
    """Measure a model. The answer comes at once; the benchmark waits for its turn."""
    return _accepted(submit(service, request, key), response)


class SuiteRun(BaseModel, extra="forbid"):
    """What to change of a suite."""

    overrides: Config = Field(
        default_factory=dict, description="settings over the suite's own, by their names"
    )
    hardware_options: HardwareOptions = Field(default_factory=HardwareOptions)


SuiteName = Annotated[str, Path(pattern=SUITE_NAME, description="as /suites has it")]


@router.post("/suites/{name}/runs", status_code=202, responses=failed(404) | _SUBMITS)
def run_suite(
    service: Asked, name: SuiteName, request: SuiteRun, response: Response, key: Key = None
) -> JobBody:
    """Run a suite of the configured folders."""
    from pytest_llmbench.service.requests import suites

    if name not in suites(service.configuration):
        raise ProblemError(404, f"there is no suite {name!r}; GET /suites lists them")
    asked = SuiteRequest(suite=name, overrides=request.overrides, hardware_options=request.hardware_options)
    return _accepted(submit(service, asked, key), response)


@router.get("/benchmarks", responses=failed(422))
@router.get("/benchmarks/", include_in_schema=False)
def listed(
    service: Asked,
    state: Annotated[list[State] | None, Query(max_length=6, description="only in these states")] = None,
    after: Cursor | None = None,
    limit: Limit = 50,
) -> JobPage:
    """The benchmarks, the newest first."""
    jobs, following = service.queue.page(state or (), after, limit)
    return JobPage(items=[JobBody(**job_body(job)) for job in jobs], next=following)


@router.get("/benchmarks/{job_id}", responses=failed(404, 422))
def one(service: Asked, job_id: JobId) -> JobDetails:
    """One benchmark: its state and progress, and its results when it is done."""
    job = _job(service, job_id)
    events = [
        EventBody(at=e.at, state=e.state, attempt=e.attempt, reason=e.reason)
        for e in service.queue.events(job_id)
    ]
    found = cases_of(service, job.session_id) if job.over and job.session_id is not None else []
    return JobDetails(**job_body(job), events=events, result=found or None)


@router.delete("/benchmarks/{job_id}", responses=failed(404, 409, 422))
def cancel(service: Asked, job_id: JobId) -> JobBody:
    """Cancel a benchmark. One that runs keeps what it has measured; it can be asked for twice."""
    _job(service, job_id)
    try:
        return JobBody(**job_body(service.queue.cancel(job_id)))
    except ConflictError as error:
        raise ProblemError(409, str(error)) from None


def _job(service: Service, job_id: str) -> Job:
    try:
        return service.queue.get(job_id)
    except UsageError as error:
        raise ProblemError(404, str(error)) from None
