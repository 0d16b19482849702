"""What does one session say of a metric of a case, where sessions are followed over time?

The documents tell it, and the index of a store, which was made of them by the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pytest_llmbench.gate.matching import Key
from pytest_llmbench.results.brief import BriefDocument
from pytest_llmbench.results.index.facts import level_of, prompts_of, work_of
from pytest_llmbench.results.measured import Measured
from pytest_llmbench.results.records import ResultsDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One case of one session, and what it has of one metric."""

    session: str
    """Its id."""
    started: str
    """ISO 8601, UTC."""
    commit: str | None
    """In short, as :attr:`Commit.short`."""
    commit_time: str | None
    """ISO 8601; None where it is not known."""
    key: Key
    machine: str | None
    engine: str | None
    """The engine's distribution and version."""
    weights: str | None
    work: str
    """As :attr:`CaseFacts.work`."""
    prompts: frozenset[str] | None
    """As :attr:`CaseFacts.prompts`."""
    failed: bool
    """Whether the test failed."""
    left_out: str | None
    """Why it is not among the others; None if it is."""
    value: float | None
    """The median of the processes' medians, in the metric's unit; None where it was not measured."""
    processes: int

    def compares(self, other: Past) -> bool:
        """Whether they are of the same thing, but perhaps for the engine's version.

        Two unknown machines are not the same machine. Another engine may cut the same prompt into other
        tokens, so that prompts tell something of one engine alone.
        """
        if self.machine is None or (self.machine, self.weights, self.work) != (
            other.machine,
            other.weights,
            other.work,
        ):
            return False
        if self.engine != other.engine or self.prompts is None or other.prompts is None:
            return True
        return not self.prompts.isdisjoint(other.prompts)


def pasts_of(documents: Iterable[ResultsDocument | BriefDocument], text: str, metric: str) -> Iterator[Past]:
    """What *documents* say of *metric* of every case with *text* in its id, or of this measurement."""
    for document in documents:
        for case in document.cases:
            if text in case.nodeid or text == case.measurement:
                yield _past(Measured(case, document), metric)


def _past(measured: Measured, metric: str) -> Past:
    case, header = measured.case, measured.header
    same = measured.identity
    left_out = measured.spoiled_for(metric) or measured.left_out
    level = level_of(measured, metric) if left_out is None else None
    return Past(
        session=measured.session,
        started=header.session.started,
        commit=header.commit.short,
        commit_time=header.commit.time,
        key=case.key,
        machine=same.machine,
        engine=same.engine,
        weights=same.weights,
        work=work_of(measured),
        prompts=None if (prompts := prompts_of(measured)) is None else frozenset(prompts),
        failed=case.outcome == "failed",
        left_out=left_out,
        value=None if level is None else level.value,
        processes=0 if level is None else level.processes,
    )
