"""What would decide a case that is not decided?

The one addition to the command that will most likely decide it, with the time that it takes here as far as
that is known; where no option would, what to do instead.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_llmbench.backends.cpu_time import comparable, comparable_with_one_thread
from pytest_llmbench.backends.threads import THREADS
from pytest_llmbench.gate.paired import DEFAULT_SCREEN, LONG_LOOKS, LOOKS
from pytest_llmbench.measure.run import marks, too_many_disturbed
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import count, span
from pytest_llmbench.results.verdict import UNDECIDED, Judgment, Verdict

if TYPE_CHECKING:
    from pytest_llmbench.gate.compare import CaseComparison
    from pytest_llmbench.results.records import CaseRecord

_CLOCK, _BUDGET, _PROCESSES = "--llm-clock", "--llm-budget", "--llm-processes"
_MOSTLY_ENOUGH = LOOKS[0][1]
"""Pairs by which most cases are decided, and nearly all by CPU times."""
_MOST_PROCESSES = 50
"""More than these are not asked for: the limit is about what was measured."""
_LONGEST = 100
"""Letters of an expression for ``-k``: a longer one is not read."""
# What pytest reads as one name in -k, since its release 7.
_NAME = re.compile(r"[\w:+\-.\[\]/]+")
_QUIETER = "end what else runs on the machine"


@dataclass(frozen=True, slots=True)
class Remedy:
    """What would decide: options to add, or where none would, what to do instead."""

    options: Mapping[str, str | int] = field(default_factory=dict)
    """Options of pytest and their values; of one whose value is a number, more does no harm."""
    seconds: float | None = None
    """How long that takes here; None where it is not known."""
    instead: str = ""
    """In words, where there are no options."""

    @property
    def command(self) -> str:
        """The options as they are typed; empty for none."""
        return " ".join(f"{name}={value}" for name, value in self.options.items())

    @property
    def said(self) -> str:
        """In words: ``add --llm-clock=cpu (about 40 s)``."""
        if not self.options:
            return self.instead
        return f"add {self.command}{about(self.seconds)}"


@dataclass(frozen=True, slots=True)
class NextStep:
    """One command that would decide these cases of a session."""

    nodeids: tuple[str, ...]
    remedy: Remedy
    selection: str = ""
    """``-k EXPRESSION``, by which only those run again; empty where all are to, or no expression says it."""

    def said(self, total: int) -> str:
        """The step in one line, of a session that judged so many cases."""
        n = len(self.nodeids)
        which = ("it" if n == 1 else "all") if n == total else f"{n} of {count(total, 'case')}"
        if not self.remedy.options:
            return f"to decide {which}: {self.remedy.instead}"
        added = " ".join(part for part in (self.remedy.command, self.selection) if part)
        return f"to decide {which}: add {added}{about(self.remedy.seconds)}"


def about(seconds: float | None) -> str:
    """`` (about 40 s)``; empty where it is not known."""
    return "" if seconds is None else f" (about {span(math.ceil(seconds))})"


def remedy_of(case: CaseComparison) -> Remedy | None:
    """What would decide a case; None where it is decided, or the reason of its verdict says all there is."""
    if case.verdict not in UNDECIDED:
        return None
    undecided = [one for one in case.judgments if one.verdict in UNDECIDED and one.decided_by is None]
    paired = [one for one in undecided if one.method == "signed-rank" and one.details.get("pairs")]
    tried = case.case.clock == "cpu" or any(one.stands_for for one in case.judgments)
    if paired:
        return _of_pairs(case.case, paired, tried=tried)
    limits = [one for one in undecided if one.method == "limit"]
    stored = [one for one in undecided if one.threshold is not None and one.method != "exact"]
    if stored:
        return _of_stored(case.case, stored, tried=tried)
    return _of_limits(case.case, limits) if limits else None


def next_steps(cases: Sequence[CaseComparison]) -> list[NextStep]:
    """The commands that would decide what is not decided of a session's *cases*, the one for most first."""
    groups: dict[tuple[object, ...], list[tuple[CaseComparison, Remedy]]] = {}
    for case in cases:
        if (remedy := remedy_of(case)) is not None:
            kind = {name: value if isinstance(value, str) else None for name, value in remedy.options.items()}
            groups.setdefault((*sorted(kind.items()), remedy.instead), []).append((case, remedy))
    steps = []
    for group in sorted(groups.values(), key=len, reverse=True):
        these = [case for case, _ in group]
        together = [remedy for _, remedy in group]
        steps.append(
            NextStep(
                tuple(dict.fromkeys(case.nodeid for case in these)),
                replace(together[0], options=_most(together), seconds=_sum(one.seconds for one in together)),
                _selection(these, cases) if together[0].options else "",
            )
        )
    return steps


# --- Pairs ---------------------------------------------------------------------------------------


def _of_pairs(case: CaseRecord, judgments: Sequence[Judgment], *, tried: bool) -> Remedy | None:
    """Of a case that was measured in pairs; *tried*: its CPU times were judged and did not decide either."""
    pairs = max(int(one.details["pairs"]) for one in judgments)
    seconds = judgments[0].details.get("seconds")
    each = None if seconds is None else float(seconds) / pairs
    spoiled = {one.details.get("spoiled_by") for one in judgments}
    if "threads" in spoiled:
        return Remedy(instead=f"{_QUIETER}, or give both sides the same number of threads")
    if "unusable" in spoiled:
        return None
    noise = spoiled != {None} or any(one.noise or one.dropped for one in judgments)
    if noise and not tried and (options := _on_cpu(case, judgments)) is not None:
        return Remedy(options, _times(_MOSTLY_ENOUGH, each))
    if "one_sided" in spoiled:
        return Remedy(instead=_QUIETER)
    if "load" in spoiled:
        return Remedy({"--llm-disturbed": "auto"}, _times(_MOSTLY_ENOUGH, each))
    if any(one.verdict is Verdict.INVALID for one in judgments):
        return None
    # CPU times that were judged stand for the others, and take fewer pairs.
    deciding = [one for one in judgments if METRICS[one.metric].clock == "cpu"] if tried else []
    needed = {one.metric: _pairs_needed(one, pairs) for one in deciding or judgments}
    if None in needed.values():
        close = next(metric for metric, n in needed.items() if n is None)
        return Remedy(
            instead=f"allow another change (--llm-threshold={close}:...): it is about as large as what is "
            "allowed, which hardly any number of pairs tells apart"
        )
    most = max(n for n in needed.values() if n is not None)
    return Remedy({_BUDGET: most}, _times(most, each))


def _on_cpu(case: CaseRecord, judgments: Iterable[Judgment]) -> dict[str, str | int] | None:
    """The options by which CPU times are judged instead; None where that would say nothing."""
    rows = [METRICS[one.metric] for one in judgments]
    engines = [process.engine for process in case.processes]
    if any(row.on_cpu is None for row in rows) or not all(map(comparable_with_one_thread, engines)):
        return None
    options: dict[str, str | int] = {_CLOCK: "cpu"}
    if not all(map(comparable, engines)) and case.protocol.options.get(THREADS) is not None:
        # Who set a number of threads is to have it, by any clock.
        options["--llm-option"] = f"{case.model.backend}.{THREADS}=1"
    return options


def _pairs_needed(judgment: Judgment, pairs: int) -> int | None:
    """A budget by which a metric would likely be decided, of those that there are looks for; None for none.

    :param pairs: that were measured, with those that were left out.
    """
    wanted = judgment.details.get("pairs_wanted")
    looks = (*LOOKS[0], *LONG_LOOKS)
    if judgment.n < DEFAULT_SCREEN:
        # So few do not show yet how many it takes.
        return _MOSTLY_ENOUGH
    if wanted is None:
        return None
    least = max(int(wanted), int(judgment.details["looks"][-1]) + 1)
    least = math.ceil(least * pairs / max(judgment.n, 1)) if judgment.dropped else least
    return next((look for look in looks if look >= least), None)


# --- Stored sessions, and limits -----------------------------------------------------------------


def _of_stored(case: CaseRecord, judgments: Sequence[Judgment], *, tried: bool) -> Remedy | None:
    """Of a case that was compared with stored sessions."""
    pairs = "compare A/B pairs (--llm-ab)"
    # CPU times that were judged stand for the others, and take less.
    if by_cpu := [one for one in judgments if METRICS[one.metric].clock == "cpu"]:
        judgments = by_cpu
    if _disturbed(case) and any(one.verdict is Verdict.INVALID for one in judgments):
        engines = [process.engine for process in case.processes]
        if not tried and all(map(comparable, engines)) and case.values("cpu_time_per_token"):
            # The clock was the wall's: else CPU times had been judged.
            return Remedy({_CLOCK: "cpu"}, _times(len(case.processes), _each(case)))
        return Remedy(instead=f"{_QUIETER} and measure again, or {pairs}, which use disturbed rounds too")
    if all(one.verdict is Verdict.INVALID for one in judgments):
        return None
    few = [one.details.get("processes_wanted") for one in judgments]
    if most := max((n for n in few if n), default=0):
        return Remedy({_PROCESSES: most}, _times(most, _each(case)))
    known = [one.details["sessions_wanted"] for one in judgments if "sessions_wanted" in one.details]
    if not known and not by_cpu:
        return None
    if None in known or not known:
        # Also CPU times of which one side alone was measured beside load.
        return Remedy(instead=pairs)
    return Remedy(instead=f"store {max(known)} sessions (--llm-save=NAME), or {pairs}")


def _of_limits(case: CaseRecord, judgments: Sequence[Judgment]) -> Remedy | None:
    """Of a case that has limits alone: more processes, if not too many."""
    wanted = [_processes_needed(one, len(case.processes)) for one in judgments]
    if any(n is None for n in wanted):
        return None
    most = max(n for n in wanted if n is not None)
    return Remedy({_PROCESSES: most}, _times(most, _each(case)))


def _processes_needed(judgment: Judgment, processes: int) -> int | None:
    """By how many the interval ends before the limit, if it shrinks as a mean's does; None for too many."""
    low, high, limit = (judgment.details.get(key) for key in ("now_low", "now_high", "limit"))
    if judgment.verdict is Verdict.INVALID or limit is None or judgment.now is None:
        return None
    if low is None or high is None:
        return max(3, processes + 1)
    gap, half = abs(judgment.now - limit), (high - low) / 2
    if gap <= 0:
        return None
    wanted = max(processes + 1, 3, math.ceil(processes * (half / gap) ** 2))
    return wanted if wanted <= _MOST_PROCESSES else None


def _disturbed(case: CaseRecord) -> bool:
    """Whether so many of its rounds were disturbed that its times say nothing."""
    counted = [(process, r) for process in case.processes for r in process.rounds if r.counted]
    bad = sum(bool(marks(r.disturbance, process.watch_lost)) for process, r in counted)
    return too_many_disturbed(bad, len(counted))


def _each(case: CaseRecord) -> float | None:
    """Seconds from the begin of one process's rounds to that of the next; None where that is not known."""
    # What is read of a document to compare it is left without.
    begins = [[getattr(r, "started", None) for r in process.rounds] for process in case.processes]
    first = (next(filter(None, those), None) for those in begins)
    times = sorted(datetime.fromisoformat(begin) for begin in first if begin is not None)
    took = (times[-1] - times[0]).total_seconds() if times else 0.0
    return took / (len(times) - 1) if took > 0 else None


# --- Several cases -------------------------------------------------------------------------------


def _most(remedies: Iterable[Remedy]) -> dict[str, str | int]:
    """The options that hold for all of them: of numbers the largest."""
    found: dict[str, str | int] = {}
    for remedy in remedies:
        for name, value in remedy.options.items():
            old = found.get(name, value)
            found[name] = max(old, value) if isinstance(old, int) and isinstance(value, int) else value
    return found


def _selection(these: Sequence[CaseComparison], cases: Sequence[CaseComparison]) -> str:
    """``-k EXPRESSION`` for these of all *cases*; empty for all, or where no short expression says it."""
    wanted, present = ({case.nodeid for case in group} for group in (these, cases))
    if wanted == present:
        return ""
    functions = {_function(nodeid) for nodeid in wanted}
    others = {_function(nodeid) for nodeid in present - wanted}
    names = [
        name
        for function in sorted(functions)
        for name in ([function] if function not in others else _names(wanted, function))
    ]
    for each in (names, sorted(functions)):
        expression = " or ".join(each)
        if all(map(_NAME.fullmatch, each)) and len(expression) <= _LONGEST:
            return f"-k {shlex.quote(expression)}"
    return ""


def _names(nodeids: Collection[str], function: str) -> list[str]:
    """The names of one function's cases, with what they are parametrized with."""
    return sorted(_name(nodeid) for nodeid in nodeids if _function(nodeid) == function)


def _name(nodeid: str) -> str:
    return nodeid[len(nodeid.partition("[")[0].rpartition("::")[0]) :].removeprefix("::")


def _function(nodeid: str) -> str:
    return _name(nodeid).partition("[")[0]


def _times(n: int, each: float | None) -> float | None:
    return None if each is None else n * each


def _sum(seconds: Iterable[float | None]) -> float | None:
    """All of them together; None where one is not known."""
    known = list(seconds)
    return None if None in known else sum(one for one in known if one is not None)
