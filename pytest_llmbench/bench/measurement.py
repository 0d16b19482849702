"""What did a test measure, and how does it become a case?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pytest_llmbench.gate.kept import keep_verdict
from pytest_llmbench.gate.thresholds import as_text
from pytest_llmbench.measure.run import Run
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.records import Case, Outcome
from pytest_llmbench.secrets import learn_command, mask

if TYPE_CHECKING:
    from pytest_llmbench.gate.compare import CaseComparison
    from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
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
) -> Case:
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
