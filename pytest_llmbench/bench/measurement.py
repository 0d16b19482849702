"""What did a test measure, and how does it become a case?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pytest_llmbench.gate.kept import keep_verdict
from pytest_llmbench.gate.thresholds import as_text
from pytest_llmbench.measure.run import Run
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.records import CaseRecord, Outcome
from pytest_llmbench.secrets import learn_command, mask

if TYPE_CHECKING:
    from pytest_llmbench.gate.compare import CaseComparison
    from pytest_llmbench.gate.judge import Judge
    from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
    from pytest_llmbench.results.session import ResultsSession
    from pytest_llmbench.results.verdict import Judgment
    from pytest_llmbench.settings.case import CaseSettings


@dataclass(slots=True)
class Measurement:
    """One measurement of a test."""

    run: Run
    paired: tuple[Judgment, ...] | None = None
    """What its pairs showed of each metric that gates; None where it was not measured in pairs."""


class Instrument(Protocol):
    """What a test measures with: its ``llm_model`` or its ``llm_load``."""

    measurements: list[Measurement]
    """Every measurement of the test so far."""
    settings: CaseSettings

    @property
    def backend(self) -> str: ...

    @property
    def resolved(self) -> ResolvedModel | ModelSpec: ...

    def finish(self) -> None: ...


def case_of(
    instrument: Instrument,
    measured: Measurement,
    nodeid: str,
    *,
    outcome: Outcome = "passed",
    error: str | None = None,
    params: Mapping[str, object] | None = None,
    verdict: CaseComparison | None = None,
) -> CaseRecord:
    """One measurement as the document keeps it.

    :param nodeid: the test's id.
    :param outcome: how the test ended, and *error* the last words of its failure.
    :param params: the values of the user's own ``parametrize``.
    :param verdict: of the gate; None where nothing was judged.
    """
    params = params or {}
    learn_command(f"{name}={value}" for name, value in params.items())
    run = measured.run
    case = case_from_run(
        run,
        nodeid=mask(nodeid),
        backend=instrument.backend,
        model=run.model or instrument.resolved,
        outcome=outcome,
        measurement=run.label,
        error=None if error is None else mask(error),
        params=params,
    )
    case.thresholds = as_text(instrument.settings.thresholds) or None
    if verdict is not None:
        keep_verdict(case, verdict)
    return case


@contextmanager
def recorded(
    instrument: Instrument, nodeid: str, results: ResultsSession, judge: Judge | None = None
) -> Iterator[list[CaseComparison]]:
    """Keep everything that *instrument* measures inside, also where that ends by an exception.

    :param nodeid: what the document calls the case, ``FILE::NAME``: the same in each session that compares.
    :param results: where each measurement becomes a case.
    :param judge: judges what was measured without an exception; None judges nothing.
    :return: the verdicts, in the order of the measurements, once the block has ended.
    :raises ResultsError: if the journal cannot be written; the cases go into the document all the same.
    """
    verdicts: list[CaseComparison] = []
    try:
        yield verdicts
        instrument.finish()
    except BaseException as error:
        outcome: Outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        cases = [
            case_of(instrument, measured, nodeid, outcome=outcome, error=f"{type(error).__name__}: {error}")
            for measured in instrument.measurements
        ]
        results.append(*cases)
        raise
    for measured in instrument.measurements:
        case = case_of(instrument, measured, nodeid)
        verdict = None if judge is None else judge.judge(case, results.document, measured.paired)
        if verdict is not None:
            keep_verdict(case, verdict)
            verdicts.append(verdict)
        results.append(case)
