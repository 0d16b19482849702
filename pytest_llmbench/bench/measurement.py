"""What did a test measure, and how does it become a case?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, cast

from pytest_llmbench.cases.target import Target
from pytest_llmbench.errors import NoRoomError
from pytest_llmbench.gate.kept import keep_verdict
from pytest_llmbench.gate.thresholds import as_text
from pytest_llmbench.measure.loop import Plan
from pytest_llmbench.measure.run import Run
from pytest_llmbench.report.pace import Planned
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.records import CaseRecord, Outcome
from pytest_llmbench.secrets import learn_command, mask
from pytest_llmbench.servers.options import SERVER

if TYPE_CHECKING:
    from pytest_llmbench.bench.runtime import Runtime
    from pytest_llmbench.cases.case import Case
    from pytest_llmbench.cases.need import Need
    from pytest_llmbench.gate.compare import CaseComparison
    from pytest_llmbench.gate.judge import Judge
    from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
    from pytest_llmbench.results.session import ResultsSession
    from pytest_llmbench.results.verdict import Judgment
    from pytest_llmbench.settings.case import CaseSettings
    from pytest_llmbench.settings.kinds import Fixture
    from pytest_llmbench.settings.options import BackendOptions

TargetT = TypeVar("TargetT", bound=Target)


@dataclass(slots=True)
class Measurement:
    """One measurement of a test."""

    run: Run
    paired: tuple[Judgment, ...] | None = None
    """What its pairs showed of each metric that gates; None where it was not measured in pairs."""


@dataclass(slots=True, repr=False)
class CaseFixture(ABC, Generic[TargetT]):
    """What a test measures one case with: its ``llm_model`` or its ``llm_load``."""

    fixture: ClassVar[Fixture]

    _runtime: Runtime
    _case: Case[TargetT]
    settings: CaseSettings
    """Every setting as it holds for this test."""
    _folder: Path
    """Of the test's file, from which its calls mean their paths."""
    _with_room: BackendOptions | None = field(default=None, init=False)
    measurements: list[Measurement] = field(default_factory=list, init=False)
    """Every measurement of this test so far, the base sides of an A/B session among them."""

    @classmethod
    def each(cls, runtime: Runtime, **settings: object) -> Iterator[Self]:
        """One for each case that *settings* stand for, without pytest.

        :param settings: as those of ``@pytest.mark.llm(...)``: ``models``, ``backends``, ``rounds``, ...
        :raises UsageError: as :meth:`.Runtime.select`.
        """
        cases, held = runtime.select(cls.fixture, settings)
        runtime.progress.plan([Planned(case.id, case.id, ("",)) for case in cases])
        for case in cases:
            runtime.progress.case(case.id)
            measures = cls(runtime, cast("Case[TargetT]", case), held, Path.cwd())
            yield measures
            measures.finish()

    def __repr__(self) -> str:
        return f"<{self.fixture} {self._case.id}>"

    @property
    def id(self) -> str:
        """What test ids call the case: ``llamacpp-tiny-q8_0``."""
        return self._case.id

    @property
    def runs(self) -> list[Run]:
        """What every measurement of this test so far yielded."""
        return [measured.run for measured in self.measurements]

    @property
    def backend(self) -> str:
        """The backend's name; ``server`` of a server."""
        return self._case.target.name

    @property
    def quantization(self) -> str | None:
        """The quantization that the test asked for; None for the model's own."""
        return self._case.spec.quantization

    @property
    def _given(self) -> BackendOptions:
        """The options of the test, with a context that holds what was last asked for."""
        return self._with_room or self.settings.backend_options

    @property
    def _options(self) -> BackendOptions:
        """Of the backend; where CPU times are judged, it has one thread unless something says otherwise."""
        given = self._given
        return given.over(self._case.target.one_thread) if self.settings.clock == "cpu" else given

    def _make_room(self, need: Need) -> None:
        """Have the next start hold what is asked, where the test does not say how long its context is.

        :raises NoRoomError: if memory cannot hold it.
        """
        target, spec = self._case.target, self._case.spec
        fit = self._runtime.selector.space.fit(target, spec, self.settings)
        if need.informed and fit.outline is None and target.form is not None and target.name != SERVER:
            # It is needed in any case, and then its files say what it was trained for.
            self._runtime.resolve(spec, target.form)
        if (reason := fit.lacks(need)) is not None:
            raise NoRoomError(reason)
        self._with_room = fit.holding(need)

    @property
    @abstractmethod
    def resolved(self) -> ResolvedModel | ModelSpec:
        """The model as far as it is known."""

    @abstractmethod
    def finish(self) -> None:
        """The test is over; once is enough."""


@dataclass(slots=True, repr=False)
class ModelFixture(CaseFixture[Target]):
    """What asks a model one thing at a time, wherever it runs."""

    @property
    def name(self) -> str:
        """The model as the test named it."""
        return self._case.spec.name

    @property
    def resolved(self) -> ResolvedModel | ModelSpec:
        """The model with its files, or only its spec where nothing was measured yet."""
        return self._case.target.resolved(self._case.spec, self._given, self._runtime)

    def _base_plan(self, held: CaseSettings) -> Plan:
        """What of a plan the settings of a call say, whatever is asked."""
        return Plan(
            engine=self._case.target.startable(self._case.spec, self._options, self._runtime),
            params=held.params,
            rounds=held.rounds,
            warmup_rounds=held.warmup_rounds,
            processes=held.processes,
            timeout=held.timeout,
            isolation=held.isolation,
        )


def case_of(
    fixture: CaseFixture[Any],
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
        backend=fixture.backend,
        model=run.model or fixture.resolved,
        outcome=outcome,
        measurement=run.label,
        error=None if error is None else mask(error),
        params=params,
    )
    case.thresholds = as_text(fixture.settings.thresholds) or None
    case.clock = None if fixture.settings.clock == "auto" else fixture.settings.clock
    if verdict is not None:
        keep_verdict(case, verdict)
    return case


@contextmanager
def recorded(
    fixture: CaseFixture[Any], nodeid: str, results: ResultsSession, judge: Judge | None = None
) -> Iterator[list[CaseComparison]]:
    """Keep everything that *fixture* measures inside, also where that ends by an exception.

    :param nodeid: what the document calls the case, ``FILE::NAME``: the same in each session that compares.
    :param results: where each measurement becomes a case.
    :param judge: judges what was measured without an exception; None judges nothing.
    :return: the verdicts, in the order of the measurements, once the block has ended.
    :raises ResultsError: if the journal cannot be written; the cases go into the document all the same.
    """
    verdicts: list[CaseComparison] = []
    try:
        yield verdicts
        fixture.finish()
    except BaseException as error:
        outcome: Outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        cases = [
            case_of(fixture, measured, nodeid, outcome=outcome, error=f"{type(error).__name__}: {error}")
            for measured in fixture.measurements
        ]
        results.append(*cases)
        raise
    for measured in fixture.measurements:
        case = case_of(fixture, measured, nodeid)
        verdict = None if judge is None else judge.judge(case, results.document, measured.paired)
        if verdict is not None:
            keep_verdict(case, verdict)
            verdicts.append(verdict)
        results.append(case)
