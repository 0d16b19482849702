"""What of a case does the index keep, so that sessions compare without their documents?

All that tells whether two measurements of one test are of the same thing, and the values that a comparison
takes: those of :class:`Measured`, which leave out what other load disturbed. Measurements of one test compare
where machine, engine, weights, ``work`` and, of one engine, prompts are the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.results.measured import Measured, protocol
from pytest_llmbench.results.records import CaseRecord, Header

_DIGITS = 16
"""Of a hash in hexadecimal that are kept: two of a billion are the same once in ten."""
_OPTIONS = "options."
LEVELS = frozenset({"arrivals", "concurrency", "conversations", "request_rate"})
"""What of a protocol is the load level."""


class Level(NamedTuple):
    """Of a case's metric: what comparisons take."""

    value: float
    """The median of the medians of the processes, in the metric's unit."""
    processes: int
    """That have a value."""


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What is kept of one case beside what its record says."""

    left_out: str | None
    """Why it has no place among the sessions of its case; None if it has."""
    spoiled: str | None
    """Why its times say nothing, if they do not."""
    spoiled_cpu: str | None
    """The same of CPU times."""
    engine_version: str | None
    """The engine's distribution and version."""
    weights: str | None
    """The digest of the weights; of a server that ran already, the model's name."""
    work: str
    """A hash of what has to be equal beside machine, engine and weights: backend, quantization, parameters
    and protocol."""
    workload: str
    """The same as ``task`` without the load level: what one asks who looks for the level that serves best."""
    task: str
    """A hash of what was asked, whatever model and engine answered: the test, its own parameters and
    the protocol. Of equal tasks on equal hardware one can be called better than another."""
    prompts: tuple[str, ...] | None
    """Of what was asked, the first digits of its hashes; None under load, where they are others each time."""
    levels: dict[str, Level]
    """By metric; none where no value counts."""


def case_facts(case: CaseRecord, header: Header) -> CaseFacts:
    """What the index keeps of *case*."""
    measured = Measured(case, header)
    same = measured.identity
    asked = {name: value for name, value in protocol(case).items() if not name.startswith(_OPTIONS)}
    test = case.nodeid.partition("[")[0]
    return CaseFacts(
        left_out=measured.left_out,
        spoiled=measured.spoiled_on("wall"),
        spoiled_cpu=measured.spoiled_on("cpu"),
        engine_version=same.engine,
        weights=same.weights,
        work=work_of(measured),
        workload=_workload(case, measured, asked),
        task=_hash([test, case.measurement, same.params, sorted(asked.items())]),
        prompts=prompts_of(measured),
        levels={name: level for name in _names(case) if (level := level_of(measured, name)) is not None},
    )


def _workload(case: CaseRecord, measured: Measured, asked: Mapping[str, str]) -> str:
    rest = {name: value for name, value in asked.items() if name not in LEVELS}
    params = [one for one in measured.identity.params if one[0] not in LEVELS]
    return _hash([case.nodeid.partition("[")[0], case.measurement, params, sorted(rest.items())])


def level_of(measured: Measured, metric: str) -> Level | None:
    """What comparisons take of a metric; None where no value counts."""
    centers = measured.centers(metric)
    value = statistics.median(centers) if centers else math.nan
    # A document that somebody else wrote may hold what is not a number.
    return Level(value, len(centers)) if math.isfinite(value) else None


def prompts_of(measured: Measured) -> tuple[str, ...] | None:
    """What :attr:`CaseFacts.prompts` says."""
    return None if measured.under_load else tuple(sorted(map(_digits, measured.prompts)))


def work_of(measured: Measured) -> str:
    """What :attr:`CaseFacts.work` says."""
    same = measured.identity
    return _hash([same.backend, same.quantization, same.params, same.protocol])


def _names(case: CaseRecord) -> Iterable[str]:
    """The metrics of which a case may have a value that counts."""
    found = {**case.metrics, **case.case_values}
    for process in case.processes:
        found.update(process.values)
        for r in process.rounds:
            found.update(r.values)
    return [name for name in found if name in METRICS]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:_DIGITS]


def _digits(hashed: str) -> str:
    return hashed.rpartition(":")[2][:_DIGITS]
