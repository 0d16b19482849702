"""How often is the gate wrong that compares a session with stored ones?

Sessions of the plain engine and of one that is worse by a known share follow each other in turn. Each
is judged by the last five plain ones before it, which are its baseline.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from delayed import Burden
from gate_engine import Natural, Work, plan
from machine import HEADS, Meanwhile, Watch, columns
from tables import listed, markdown, rate

from pytest_llmbench.gate.clock import clock_of
from pytest_llmbench.gate.compare import CaseComparison, compare
from pytest_llmbench.gate.thresholds import ClockChoice
from pytest_llmbench.hardware.monitor import HardwareMonitor
from pytest_llmbench.measure.loop import EnginePool, Plan
from pytest_llmbench.measure.loop import measure as measure_run
from pytest_llmbench.measure.run import Run
from pytest_llmbench.metrics.table import METRICS, gated_metrics
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.environment import snapshot
from pytest_llmbench.results.measured import Measured
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.results.verdict import Judgment, Verdict

SESSIONS = 10
BASELINE = 5
WORSE = 0.20
_PROCESSES = 5
_NOT_JUDGED = "not judged"
_NODEID = "benchmarks/overhead/gate.py::stored"


def baseline_of(worse: Sequence[bool], index: int) -> tuple[int, ...] | None:
    """The five plain sessions that session *index* is judged by; None where there are not so many.

    ``worse[i]`` tells whether session i was measured on the worse engine.
    """
    plain = [i for i in range(index) if not worse[i]][-BASELINE:]
    return tuple(plain) if len(plain) == BASELINE else None


def apart(windows: Sequence[tuple[int, ...]]) -> list[int]:
    """Which of *windows* share no session with one before them that is taken, each given by its sessions."""
    taken: set[int] = set()
    found = []
    for number, window in enumerate(windows):
        if taken.isdisjoint(window):
            taken.update(window)
            found.append(number)
    return found


@dataclass(frozen=True, slots=True)
class Session:
    """One session, and what the gate says of it."""

    number: int
    worse: bool
    document: ResultsDocument
    meanwhile: Meanwhile
    baseline: tuple[int, ...] | None = None
    """The numbers of the sessions that it was judged by."""
    judged: Mapping[ClockChoice, CaseComparison] = field(default_factory=dict)
    """What each clock says; empty for a session that had no baseline yet."""

    @property
    def window(self) -> tuple[int, ...]:
        """Every session that its verdicts stand on."""
        return (*(self.baseline or ()), self.number)

    def judgment(self, clock: ClockChoice, metric: str) -> Judgment | None:
        return next((one for one in self.judged[clock].judgments if one.metric == metric), None)

    def __str__(self) -> str:
        said = "; ".join(f"{clock} {_said(found)}" for clock, found in self.judged.items())
        side = f"+{WORSE:.0%}" if self.worse else "plain"
        seen = f"{self.meanwhile.seconds:.0f} s, load {self.meanwhile.load:.1f}"
        return f"session {self.number}, {side}: {said or 'for the baseline'} in {seen}"

    def to_json(self) -> dict[str, Any]:
        measured = Measured(self.document.cases[0], self.document)
        walls = gated_metrics()
        cpus = (METRICS[metric].on_cpu for metric in walls)
        metrics = dict.fromkeys((*walls, *(name for name in cpus if name is not None)))
        return {
            "session": self.number,
            "id": self.document.session.id,
            "worse": WORSE if self.worse else 0.0,
            "processes": {metric: measured.centers(metric) for metric in metrics},
            "spoiled": measured.spoiled,
            "baseline": self.baseline,
            "verdicts": {clock: found.verdict for clock, found in self.judged.items()},
            "left_out": {clock: found.left_out for clock, found in self.judged.items()},
            "judgments": {c: [asdict(one) for one in found.judgments] for c, found in self.judged.items()},
            "machine": self.meanwhile.to_json(),
            "document": self.document.model_dump(mode="json"),
        }


def _said(found: CaseComparison) -> str:
    return f"{found.verdict} ({', '.join(f'{one.metric} {one.verdict}' for one in found.judgments)})"


def measure(
    sessions: int,
    interval: float,
    work: Work,
    clocks: Sequence[ClockChoice],
    natural: Natural,
    monitor: HardwareMonitor | None,
) -> Iterator[Session]:
    """So many sessions of each side; *interval* are seconds from the start of one to that of the next."""
    plans = {
        False: plan(Burden(), work, processes=_PROCESSES),
        True: plan(natural.worse(WORSE), work, processes=_PROCESSES),
    }
    done: list[Session] = []
    for number in range(2 * sessions):
        began = time.monotonic()
        worse = number % 2 == 1
        watch = Watch()
        document = _document(plans[worse], monitor)
        session = _judged(Session(number, worse, document, watch.seen()), done, clocks)
        done.append(session)
        yield session
        if number + 1 < 2 * sessions:
            time.sleep(max(0.0, began + interval - time.monotonic()))


def _document(planned: Plan, monitor: HardwareMonitor | None) -> ResultsDocument:
    """Measure one session, as the plugin would keep it."""
    header = snapshot(Path(__file__).parent)
    run = Run("default", planned.protocol())
    measure_run(planned, run, EnginePool(), monitor, Progress())
    document = ResultsDocument.model_validate(header.model_dump())
    document.cases = [
        case_from_run(run, nodeid=_NODEID, backend="delayed", model=planned.engine.model, outcome="passed")
    ]
    return document


def judge_again(kept: Sequence[Mapping[str, Any]], clocks: Sequence[ClockChoice]) -> Iterator[Session]:
    """Judge sessions again that were kept by :meth:`Session.to_json`, in their order."""
    done: list[Session] = []
    for told in kept:
        document = ResultsDocument.model_validate(told["document"])
        session = Session(told["session"], told["worse"] > 0, document, Meanwhile(**told["machine"]))
        session = _judged(session, done, clocks)
        done.append(session)
        yield session


def _judged(session: Session, before: Sequence[Session], clocks: Sequence[ClockChoice]) -> Session:
    worse = [one.worse for one in before]
    baseline = baseline_of([*worse, session.worse], session.number)
    if baseline is None:
        return session
    documents = [before[i].document for i in baseline]
    judged = {clock: compare(documents, session.document, clock=clock_of(clock)).cases[0] for clock in clocks}
    return replace(session, baseline=baseline, judged=judged)


def table(sessions: Sequence[Session]) -> str:
    """A row for each side, clock and metric, and one for whole cases, which are their worst metric."""
    heads = ("now", "clock", "metric", "windows", "`fail`", "rate", "95% bound")
    lines: list[tuple[str, ...]] = [
        (
            *heads,
            "`fail` of windows apart",
            "their 95% bound",
            "other verdicts",
            "noisy",
            "change seen",
            *HEADS,
        )
    ]
    for worse in (False, True):
        judged = [one for one in sessions if one.worse == worse and one.judged]
        for clock in dict.fromkeys(clock for one in judged for clock in one.judged):
            lines += _rows(worse, clock, judged)
    return markdown(lines)


def _rows(worse: bool, clock: ClockChoice, sessions: Sequence[Session]) -> Iterator[tuple[str, ...]]:
    """Those of one side and clock."""
    side = f"+{WORSE:.0%}" if worse else "A/A"
    separate = apart([one.window for one in sessions])
    cases = [one.judged[clock] for one in sessions]
    noisy = sum(any(j.noise for j in one.judgments if j.decided_by is None) for one in cases)
    counts = _counted([one.verdict for one in cases], separate, wanted=worse)
    yield side, clock, "any", *counts, str(noisy), "", *columns([one.meanwhile for one in sessions])
    for metric in dict.fromkeys(j.metric for one in cases for j in one.judgments):
        found = [one.judgment(clock, metric) for one in sessions]
        verdicts = [_NOT_JUDGED if one is None else one.verdict for one in found]
        changes = [one.change for one in found if one is not None and one.change is not None]
        seen = f"{fmean(changes):+.1%}" if changes else "–"
        noisy = sum(one is not None and bool(one.noise) for one in found)
        counts = _counted(verdicts, separate, wanted=worse)
        yield side, clock, f"`{metric}`", *counts, str(noisy), seen, "", ""


def _counted(verdicts: Sequence[str], separate: Sequence[int], *, wanted: bool) -> tuple[str, ...]:
    """The columns of counts; *separate* are the windows apart."""
    fails = verdicts.count(Verdict.FAIL)
    alone = [verdicts[i] for i in separate].count(Verdict.FAIL)
    return (
        str(len(verdicts)),
        str(fails),
        *rate(fails, len(verdicts), wanted=wanted),
        f"{alone} of {len(separate)}",
        rate(alone, len(separate), wanted=wanted)[1],
        listed({v: n for v, n in Counter(verdicts).items() if v != Verdict.FAIL}),
    )
