"""Who has the verdict on the cases of a session?

:class:`StoredJudge` compares with stored sessions, or has limits alone; :class:`PairedJudge` goes by pairs
that were measured in this session. Both also hold each case to its limits, which need nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.gate.clock import ClockOf
from pytest_llmbench.gate.compare import CaseComparison, Comparison, Gate, NoiseOf, ThresholdsOf
from pytest_llmbench.results.brief import BriefDocument
from pytest_llmbench.results.records import CaseRecord, Header, ResultsDocument
from pytest_llmbench.results.verdict import Judgment, Verdict, verdicts_of, worst

Expected = Callable[[str], bool]
"""Whether this session was asked to run the test with an id: of the others, none is missing."""


class Judge(Protocol):
    """Judges one case after the other, and knows at the end what all of them were."""

    @property
    def compares(self) -> bool:
        """Whether it has something to compare with, beside limits."""

    def judge(
        self, case: CaseRecord, header: Header, paired: Sequence[Judgment] | None = None
    ) -> CaseComparison | None:
        """The verdict on one case; None where there is nothing to judge it by.

        :param header: of the session that measured it.
        :param paired: what its pairs showed (:meth:`.Pairing.measure`); None where there were none.
        """

    def comparison(self, header: Header, expected: Expected | None = None) -> Comparison | None:
        """Everything that was judged so far, and what is missing; None if nothing was."""


class StoredJudge:
    """Compares with the sessions of a baseline; without any, it has limits alone.

    :param baselines: their documents, in any order (:func:`.read_document`, or :func:`.read_brief` in half
        the time).
    :param present: the ids of all tests of the session that is judged; one that the baseline has and this
        session was not to run is not taken for a test that was renamed.
    :param thresholds: of each case; by default the case's own, and the default ones.
    :param noise: what a calibration says of this machine's sessions (:func:`.calibrated_noise`).
    :param clock: by which each case is judged (:func:`.clock_of`); by default what its document kept.
    """

    def __init__(
        self,
        baselines: Iterable[ResultsDocument | BriefDocument] = (),
        *,
        present: Collection[str] = (),
        thresholds: ThresholdsOf | None = None,
        noise: NoiseOf | None = None,
        clock: ClockOf | None = None,
    ) -> None:
        self._gate = Gate(baselines, present=present, thresholds=thresholds, noise=noise, clock=clock)

    @property
    def compares(self) -> bool:
        """Whether there is a document to compare with."""
        return bool(self._gate.baselines.documents)

    def judge(
        self, case: CaseRecord, header: Header, paired: Sequence[Judgment] | None = None
    ) -> CaseComparison | None:
        """As :meth:`.Gate.judge`."""
        del paired
        return self._gate.judge(case, header)

    def comparison(self, header: Header, expected: Expected | None = None) -> Comparison | None:
        """Everything that was judged so far, and what of the baseline was not; None if there is neither."""
        found = self._gate.comparison(header)
        if expected is not None:
            found = replace(found, missing=tuple(m for m in found.missing if expected(m.nodeid)))
        return found if self.compares or found.cases else None


class PairedJudge:
    """Goes by the pairs of each case, and by its limits.

    :param thresholds: of each case, of which the limits are used; by default the case's own.
    """

    compares = True

    def __init__(self, *, thresholds: ThresholdsOf | None = None) -> None:
        self._limits = Gate((), thresholds=thresholds)
        self._judged: dict[tuple[str, str], CaseComparison] = {}

    def judge(
        self, case: CaseRecord, header: Header, paired: Sequence[Judgment] | None = None
    ) -> CaseComparison | None:
        """The worst of what its pairs and its limits say; the base side itself is not judged."""
        found = self._limits.judge(case, header)
        if case.measurement.endswith(BASE_SUFFIX):
            return found
        limits = () if found is None else found.judgments
        if paired is None:
            verdict = worst([Verdict.NEW, *verdicts_of(limits)])
            reason: str | None = (
                "only measure() and run() have a base side: generate() is not judged in pairs, nor is turn()"
            )
        else:
            limits = (*paired, *limits)
            verdict = worst(verdicts_of(limits))
            reason = None if limits else "no metric that gates was measured"
        judged = CaseComparison(case, verdict, limits, reason=reason)
        # A test that is run again replaces what its first run was judged.
        self._judged[case.key] = judged
        return judged

    def comparison(self, header: Header, expected: Expected | None = None) -> Comparison | None:
        """Everything that was judged so far; None if nothing was."""
        del expected
        return Comparison(header, (), tuple(self._judged.values())) if self._judged else None
