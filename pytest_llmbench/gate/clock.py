"""By which clock is a case judged, and what can CPU times not say?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.thresholds import ClockChoice, Threshold
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import percent
from pytest_llmbench.results.measured import Measured
from pytest_llmbench.results.verdict import Judgment, Verdict

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord

ClockOf = Callable[["CaseRecord"], ClockChoice]


def clock_of(given: ClockChoice | None = None) -> ClockOf:
    """The clock of each case: the one that is *given*, then what its document kept, then ``auto``."""
    return lambda case: given or case.clock or "auto"


def read_clock(text: str) -> ClockChoice:
    """The clock of a name.

    :raises UsageError: for a name that is not one's.
    """
    names: tuple[ClockChoice, ...] = get_args(ClockChoice)
    for name in names:
        if name == text:
            return name
    msg = f"{text!r} is not a clock; use {', '.join(names[:-1])} or {names[-1]}"
    raise UsageError(msg)


def no_cpu_time(
    thresholds: Iterable[Threshold], judgments: Iterable[Judgment], clock: ClockChoice, method: str
) -> tuple[Judgment, ...]:
    """What is to be said of a case that the CPU's clock judges and of which neither side has a CPU time.

    :param thresholds: of the case, by its clock (:func:`.by_clock`).
    :param judgments: what was found; empty is what is returned if one is of the CPU's clock.
    :param method: how it would have been judged.
    """
    on_cpu = [t for t in thresholds if METRICS[t.metric].clock == "cpu" and t.relative is not None]
    if clock != "cpu" or not on_cpu or any(METRICS[j.metric].clock == "cpu" for j in judgments):
        return ()
    why = (
        "the clock is cpu, and CPU time was not measured: this engine does not tell it; judge it by "
        "--llm-clock wall"
    )
    first = on_cpu[0]
    return (Judgment(first.metric, Verdict.INVALID, method, threshold=first.relative, reason=why),)


def beside_load(judged: Judgment, bases: Sequence[Measured], now: Measured) -> Judgment:
    """What is left of a judgment on CPU times where one side alone ran beside the load of others.

    Such load makes the CPU time of the same work some percent longer, and never shorter: it shares caches,
    the memory and the cores' clock. So of a session beside load it can be doubted only that it got slower,
    and of one whose baseline was measured beside load only that it did not.
    """
    if METRICS[judged.metric].clock != "cpu":
        return judged
    if judged.verdict is Verdict.FAIL and now.crowd and not any(base.crowd for base in bases):
        beside, quiet, what = "this session", "no session of the baseline did", "look slower than it is"
        crowded = now
    elif judged.verdict is Verdict.PASS and not now.crowd and all(base.crowd for base in bases):
        beside, quiet, what = "the baseline", "this session did not", "hide that it got slower"
        crowded = bases[0]
    else:
        return judged
    codes = ", ".join(f"{code} in {percent(n / crowded.rounds)}" for code, n in crowded.crowd.items())
    reason = (
        f"{beside} ran beside the load of others ({codes} of its rounds) and {quiet}: such load makes "
        f"CPU times some percent longer, which may {what}; sessions that were measured beside the same load "
        "would decide it, and so would A/B pairs"
    )
    return replace(judged, verdict=Verdict.INCONCLUSIVE, improved=False, reason=reason)
