"""What does an MLflow server get of a session: which runs, with which tags, parameters and metrics?

One run a session, and one a case below it. Names, lengths and numbers keep to what the server takes
(``mlflow/utils/validation.py``), and times are those of the document: what is sent twice is the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.exports.about import flat, settings, system
from pytest_llmbench.results.records import CaseRecord, Header, ResultsDocument, label_of
from pytest_llmbench.results.rows import STATISTICS
from pytest_llmbench.times import read_iso

SESSION = "llmbench.session"
NODEID = "llmbench.nodeid"
MEASUREMENT = "llmbench.measurement"
PARENT = "mlflow.parentRunId"

Status = Literal["FINISHED", "FAILED", "KILLED"]
Key = tuple[str, ...]
"""Which case a run is: node id and measurement as the tags have them; nothing of a session's."""

MAX_KEY = 250
"""Characters of a key, and of a run's name."""
MAX_PARAM = 6000
"""Characters of a parameter's value."""
MAX_TAG = 5000
"""Characters of a tag's value, which servers before version 2.21 take too."""
MAX_FEW = 100
"""Parameters in one request."""
MAX_ENTITIES = 1000
"""Metrics and parameters in one request."""
MAX_BYTES = 900_000
"""Bytes of them in one request, which may have 10⁶ with what is around them."""

_OTHER = re.compile(r"[^A-Za-z0-9_\-.: ]")
_HASH = 12
"""Hexadecimal digits that tell apart what was cut or changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run as the server is to have it."""

    name: str
    status: Status
    start: int
    """ms since 1970."""
    end: int
    """ms since 1970."""
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: tuple[Json, ...]
    """Each with ``key``, ``value``, ``timestamp`` (ms) and ``step``."""

    @property
    def key(self) -> Key:
        """By which the run is found again."""
        return key_of(self.tags)


def key_of(tags: Mapping[str, str]) -> Key:
    """Which case the run with these *tags* is."""
    return tuple(tags[name] for name in (NODEID, MEASUREMENT) if name in tags)


def session_run(document: ResultsDocument) -> Run:
    """The run of the session: the machine, the versions and the commit."""
    session = document.session
    start = _milliseconds(session.started) or 0
    return Run(
        name=_cut(session.id, MAX_KEY),
        status="FINISHED" if session.state == "finished" else "KILLED",
        start=start,
        end=_milliseconds(session.ended) or start,
        tags=_tags(document, {"llmbench.state": session.state}),
        params=_params(dict(flat(system(document)))),
        metrics=(),
    )


def case_run(document: ResultsDocument, case: CaseRecord) -> Run:
    """The run of one case: ``METRIC`` with a step a round, and ``METRIC.STATISTIC``."""
    model = case.model
    began = _milliseconds(document.session.started) or 0
    times = [
        (time, time + round(1000 * one.done))
        for one in case.rounds
        if (time := _milliseconds(one.started)) is not None
    ]
    return Run(
        name=_cut(label_of(case.nodeid, case.measurement), MAX_KEY),
        status={"passed": "FINISHED", "failed": "FAILED", "error": "FAILED"}.get(case.outcome, "KILLED"),  # type: ignore[arg-type]
        start=min((start for start, _ in times), default=began),
        end=max((end for _, end in times), default=began),
        tags=_tags(
            document,
            {
                NODEID: case.nodeid,
                MEASUREMENT: case.measurement,
                "llmbench.outcome": case.outcome,
                "llmbench.verdict": case.verdict,
                "llmbench.error": case.error,
                "llmbench.disturbance": " ".join(case.disturbance or ()),
            },
        ),
        params=_params(
            {
                **settings(case),
                **{f"param.{name}": value for name, value in case.params.items()},
                "model": model.name,
                "backend": model.backend,
                "quantization": model.quantization,
                "model_digest": model.digest,
                "model_revision": model.revision,
                "model_parameters": model.parameters,
            }
        ),
        metrics=tuple(_metrics(case, began)),
    )


def batches(run: Run) -> Iterator[dict[str, list[Json]]]:
    """The parameters and metrics of a run in pieces that the server takes, each for one request."""
    batch: dict[str, list[Json]] = {"params": [], "metrics": []}
    size = 0
    for kind, one in _entities(run):
        length = len(json.dumps(one)) + 2
        full = len(batch["params"]) + len(batch["metrics"]) == MAX_ENTITIES or size + length > MAX_BYTES
        if full or (kind == "params" and len(batch["params"]) == MAX_FEW):
            yield batch
            batch, size = {"params": [], "metrics": []}, 0
        batch[kind].append(one)
        size += length
    if size:
        yield batch


def _entities(run: Run) -> Iterator[tuple[str, Json]]:
    for name, value in run.params.items():
        yield "params", {"key": name, "value": value}
    for one in run.metrics:
        yield "metrics", one


def _metrics(case: CaseRecord, began: int) -> Iterator[Json]:
    """Every counted round's values, the step being its number, and the summaries."""
    rounds = [(step, one) for step, one in enumerate(case.rounds) if one.counted]
    names = {name: None for _, one in rounds for name in one.values}
    keys = _keys([*names, *(f"{name}.{statistic}" for name in case.metrics for statistic in STATISTICS)])
    for step, one in rounds:
        time = _milliseconds(one.started)
        for name, value in one.values.items():
            if math.isfinite(value):
                yield _point(keys[name], value, began if time is None else time, step)
    for name, metric in case.metrics.items():
        for statistic in STATISTICS:
            value = getattr(metric, statistic)
            if value is not None and math.isfinite(value):
                yield _point(keys[f"{name}.{statistic}"], value, began, 0)


def _point(key: str, value: float, time: int, step: int) -> Json:
    return {"key": key, "value": value, "timestamp": time, "step": step}


def _tags(header: Header, more: Mapping[str, str | None]) -> dict[str, str]:
    commit = header.commit
    tags = {
        SESSION: header.session.id,
        "llmbench.machine": header.machine.id if header.machine else None,
        "llmbench.commit": commit.short,
        "mlflow.source.git.commit": commit.id,
        "mlflow.source.git.branch": commit.branch,
        **more,
    }
    return {name: _cut(value, MAX_TAG) for name, value in tags.items() if value}


def _params(values: Mapping[str, object]) -> dict[str, str]:
    keys = _keys(values)
    return {keys[name]: _cut(_text(value), MAX_PARAM) for name, value in values.items() if value is not None}


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _keys(names: Iterable[str]) -> dict[str, str]:
    """Each name as a key can be; one that has to be changed ends in a hash, since two must not be one."""
    keys = {}
    for name in dict.fromkeys(names):
        plain = _OTHER.sub("_", name)
        if plain != name:
            plain = f"{plain}_{_hash(name)}"
        keys[name] = _cut(plain, MAX_KEY)
    return keys


def _cut(text: str, most: int) -> str:
    """*text* in *most* characters; one that is cut ends in a hash of the whole."""
    return text if len(text) <= most else f"{text[: most - _HASH - 1]}_{_hash(text)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:_HASH]


def _milliseconds(date: str | None) -> int | None:
    try:
        return None if date is None else round(1000 * read_iso(date))
    except ValueError:
        return None
