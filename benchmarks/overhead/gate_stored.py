"""How often is the gate wrong that compares a session with stored ones?

Sessions of the plain engine and of one that is worse by a known share follow each other in turn. Each
is judged by the last five plain ones before it, which are its baseline.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from delayed import Burden
from gate_engine import Natural, Work, plan
from machine import HEADS, Meanwhile, Watch, columns
from tables import listed, markdown, rate

from pytest_llmbench.gate.compare import CaseComparison, compare
from pytest_llmbench.gate.measured import Measured
from pytest_llmbench.gate.thresholds import Clock, by_clock, default_thresholds
from pytest_llmbench.hardware.monitor import HardwareMonitor
from pytest_llmbench.measure.loop import EnginePool, Plan
from pytest_llmbench.measure.loop import measure as measure_run
from pytest_llmbench.measure.run import Run
from pytest_llmbench.metrics.table import METRICS, gated_metrics
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.environment import snapshot
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
    judged: CaseComparison | None = None
    clock: Clock = "wall"

    @property
    def window(self) -> tuple[int, ...]:
        """Every session that its verdicts stand on."""
        return (*(self.baseline or ()), self.number)

    def judgment(self, metric: str) -> Judgment | None:
        found = self.judged.judgments if self.judged is not None else ()
        return next((one for one in found if one.metric == metric), None)

    def __str__(self) -> str:
        said = self.judged.verdict if self.judged is not None else "for the baseline"
        side = f"+{WORSE:.0%}" if self.worse else "plain"
        metrics = self.judged.judgments if self.judged is not None else ()
        each = f" ({', '.join(f'{one.metric} {one.verdict}' for one in metrics)})" if metrics else ""
        seen = f"{self.meanwhile.seconds:.0f} s, load {self.meanwhile.load:.1f}"
        return f"session {self.number}, {side}: {said}{each} in {seen}"

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
            "verdict": None if self.judged is None else self.judged.verdict,
            "clock": self.clock,
            "machine": self.meanwhile.to_json(),
            "left_out": [] if self.judged is None else self.judged.left_out,
            "judgments": [] if self.judged is None else [asdict(one) for one in self.judged.judgments],
        }


def measure(
    sessions: int,
    interval: float,
    work: Work,
    clock: Clock,
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
        session = _judged(Session(number, worse, document, watch.seen(), clock=clock), done)
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


def _judged(session: Session, before: Sequence[Session]) -> Session:
    worse = [one.worse for one in before]
    baseline = baseline_of([*worse, session.worse], session.number)
    if baseline is None:
        return session
    thresholds = by_clock(default_thresholds(), session.clock)
    found = compare([before[i].document for i in baseline], session.document, lambda _: thresholds)
    return replace(session, baseline=baseline, judged=found.cases[0])


def table(sessions: Sequence[Session]) -> str:
    """A row for each side and metric, and one for whole cases: those are the worst of their metrics."""
    heads = ("now", "metric", "windows", "`fail`", "rate", "95% bound")
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
        side = f"+{WORSE:.0%}" if worse else "A/A"
        judged = [one for one in sessions if one.worse == worse and one.judged is not None]
        separate = apart([one.window for one in judged])
        if judged:
            cases = [one.judged.verdict for one in judged if one.judged is not None]
            noisy = sum(
                any(j.noise for j in one.judged.judgments) for one in judged if one.judged is not None
            )
            machine = columns([one.meanwhile for one in judged])
            counts = _counted(cases, separate, wanted=worse)
            lines.append((side, "any", *counts, str(noisy), "", *machine))
        named = (j.metric for one in judged if one.judged is not None for j in one.judged.judgments)
        for metric in dict.fromkeys(named):
            found = [one.judgment(metric) for one in judged]
            if any(found):
                verdicts = [_NOT_JUDGED if one is None else one.verdict for one in found]
                changes = [one.change for one in found if one is not None and one.change is not None]
                seen = f"{fmean(changes):+.1%}" if changes else "–"
                noisy = sum(one is not None and one.noise is not None for one in found)
                counts = _counted(verdicts, separate, wanted=worse)
                lines.append((side, f"`{metric}`", *counts, str(noisy), seen, "", ""))
    return markdown(lines)


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
