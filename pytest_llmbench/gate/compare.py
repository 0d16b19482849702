"""Which cases got slower than the baseline?"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.gate.clock import ClockOf, beside_load, clock_of, no_cpu_time
from pytest_llmbench.gate.exact import judge_exact
from pytest_llmbench.gate.limits import judge_exceedance, judge_limit
from pytest_llmbench.gate.matching import Baselines, Key, Match, Mismatch
from pytest_llmbench.gate.stored import (
    ENOUGH_SESSIONS,
    CalibratedNoise,
    SessionNoise,
    judge_stored,
    pool_sessions,
)
from pytest_llmbench.gate.thresholds import ClockChoice, Threshold, by_clock, on_cpu, thresholds_of
from pytest_llmbench.metrics.table import METRICS, chances
from pytest_llmbench.processes.garbage import gc_paused
from pytest_llmbench.results.brief import BriefDocument
from pytest_llmbench.results.measured import Identity, Measured, later_turn, other_work
from pytest_llmbench.results.records import CaseRecord, Header, ResultsDocument
from pytest_llmbench.results.verdict import Judgment, Verdict, verdicts_of, with_cpu_time, worst

Action = Literal["pass", "warn", "fail"]
ThresholdsOf = Callable[[CaseRecord], Sequence[Threshold]]
NoiseOf = Callable[[str, Measured], CalibratedNoise | None]
"""What a calibration says of a metric of a case, by what was measured now."""


_ONLY_WORSE = frozenset({"s", "tokens/s", "requests/s"})
"""The units of what the load of others makes worse and never better: times and rates."""


@dataclass(frozen=True, slots=True)
class CaseComparison:
    """The verdict on one case, with everything that it stands on."""

    case: CaseRecord
    verdict: Verdict
    judgments: tuple[Judgment, ...] = ()
    mismatch: Mismatch | None = None
    """Why there is nothing to compare with."""
    reason: str | None = None
    """Why the whole case is what it is, where no single metric says it."""
    sessions: tuple[str, ...] = ()
    """The sessions of the baseline that it was judged against, the newest first."""
    left_out: tuple[str, ...] = ()
    """Sessions of the baseline that have the case and were not used, each with the reason."""

    @property
    def nodeid(self) -> str:
        """The test's id."""
        return self.case.nodeid

    @property
    def improved(self) -> bool:
        """Nothing is wrong, and a metric is better beyond its threshold and beyond doubt."""
        return self.verdict is Verdict.PASS and any(one.improved for one in self.judgments)


@dataclass(frozen=True, slots=True)
class Policy:
    """What follows from a verdict: the same for pytest and the command line."""

    regression: Action = "fail"
    missing: Action = "warn"
    """For what has nothing to be compared with, and for what the baseline has and was not measured."""
    inconclusive: Action = "warn"
    """Also for ``invalid``: neither can say anything."""
    improvement: Action = "pass"

    def action(self, case: CaseComparison) -> Action:
        """What follows for one case."""
        match case.verdict:
            case Verdict.FAIL:
                return self.regression
            case Verdict.INCONCLUSIVE | Verdict.INVALID:
                return self.inconclusive
            case Verdict.NEW:
                return self.missing
            case _:
                return self.improvement if case.improved else "pass"


def missing_policy(environ: Mapping[str, str]) -> Action:
    """``fail`` under CI, where a warning is not read; ``warn`` elsewhere."""
    return "fail" if under_ci(environ) else "warn"


def under_ci(environ: Mapping[str, str]) -> bool:
    """Whether a service runs it, and a person reads the last lines at most."""
    return environ.get("CI", "").lower() not in ("", "0", "false", "no")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One session against its baselines."""

    now: Header
    bases: tuple[Header, ...]
    """The newest first."""
    cases: tuple[CaseComparison, ...]
    missing: tuple[Mismatch, ...] = ()
    """What the baseline has and was not measured now; not what was renamed."""
    notes: tuple[str, ...] = field(default=())
    """What else differs between the sessions: information."""

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many cases have which verdict."""
        counted = Counter(case.verdict for case in self.cases)
        return {verdict: counted[verdict] for verdict in Verdict if counted[verdict]}

    @property
    def verdict(self) -> Verdict:
        """The worst of all cases."""
        return worst([case.verdict for case in self.cases])

    @property
    def unmatched(self) -> tuple[Mismatch, ...]:
        """What was not compared, for whatever reason."""
        return (*(case.mismatch for case in self.cases if case.mismatch is not None), *self.missing)

    def action(self, policy: Policy) -> Action:
        """The gravest of what follows from its cases."""
        actions = {policy.action(case) for case in self.cases} | ({policy.missing} if self.missing else set())
        return "fail" if "fail" in actions else "warn" if "warn" in actions else "pass"


class Gate:
    """Judges cases, one at a time, against the sessions of a baseline.

    :param baselines: the sessions of the baseline, in any order; without any, limits alone are judged.
    :param present: the ids of all tests of the session that is judged.
    :param thresholds: of each case; by default what its document kept, and the default ones.
    :param noise: what a calibration says of this machine's sessions, for a baseline of one or two.
    :param clock: by which each case is judged; by default what its document kept.
    """

    def __init__(
        self,
        baselines: Iterable[ResultsDocument | BriefDocument],
        *,
        present: Collection[str] = (),
        thresholds: ThresholdsOf | None = None,
        noise: NoiseOf | None = None,
        clock: ClockOf | None = None,
    ) -> None:
        self.baselines = Baselines(baselines, present)
        self._clock = clock or clock_of()
        self._thresholds = thresholds or thresholds_of()
        self._calibrated = noise
        self._pooled: dict[str, dict[tuple[str, ...], SessionNoise | None]] = {}
        self._judged: dict[Key, CaseComparison] = {}

    @cached_property
    def comparisons(self) -> int:
        """How many chances there are to fail by noise: they share the error of the whole session."""
        count = 0
        for bases in self.baselines.cases:
            case = bases[0].case
            if case.nodeid in self.baselines.present:
                gated, clock = self._gated(case)
                noisy = {one.metric for one in gated if one.relative is not None}
                if clock == "auto" and bases[0].incomparable is None:
                    noisy.update(one.metric for one in on_cpu(gated))
                count += sum(any(base.has(name) for base in bases) for name in chances(noisy))
        return max(count, 1)

    def _gated(self, case: CaseRecord) -> tuple[Sequence[Threshold], ClockChoice]:
        """What a case may not cross, by its clock."""
        clock = self._clock(case)
        thresholds = by_clock(self._thresholds(case), clock)
        if later_turn(case):
            # What the process has itself is the first turn's.
            thresholds = tuple(one for one in thresholds if METRICS[one.metric].scope != "process")
        return thresholds, clock

    @cached_property
    def _groups(self) -> list[Sequence[Measured]]:
        """What of the baseline compares with each other: one case, of one or more sessions, a group."""
        usable = ([base for base in bases if base.usable] for bases in self.baselines.cases)
        return [group for bases in usable for group in _alike(bases)]

    def judge(self, case: CaseRecord, header: Header) -> CaseComparison | None:
        """Judge one case; None for one that was skipped, and for the base side of pairs.

        Without a baseline, also None for a case without a limit.
        """
        if case.outcome == "skipped" or case.measurement.endswith(BASE_SUFFIX):
            return None
        if not self.baselines.documents and all(one.limit is None for one in self._gated(case)[0]):
            return None
        judged = self._case(Measured(case, header))
        # A test that is run again replaces what its first run was judged.
        self._judged[case.key] = judged
        return judged

    def comparison(self, header: Header) -> Comparison:
        """Everything that was judged so far, and what of the baseline was not."""
        seen = set()
        for one in self._judged.values():
            seen.add(self.baselines.key_of(one.case))
            if one.mismatch is not None and one.mismatch.base_key is not None:
                seen.add(one.mismatch.base_key)
        documents = self.baselines.documents
        return Comparison(
            now=header,
            bases=tuple(documents),
            cases=tuple(self._judged.values()),
            missing=tuple(self.baselines.missing(seen)),
            notes=_notes(documents[0], header) if documents else (),
        )

    def _case(self, now: Measured) -> CaseComparison:
        case = now.case
        if now.impossible is not None:
            return CaseComparison(case, Verdict.INVALID, reason=now.impossible)
        if not now.rounds:
            error = (case.error or "").strip().splitlines()
            why = f"nothing was measured: {error[0]}" if error else "nothing was measured"
            return CaseComparison(case, Verdict.INVALID, reason=why)
        limits_alone = not self.baselines.documents
        bases, mismatch, others = Match((), None, ()) if limits_alone else self.baselines.match(now)
        sessions = tuple(base.session for base in bases)
        work = next((said for base in bases if (said := other_work(base, now))), None)
        if work is not None:
            return CaseComparison(case, Verdict.INVALID, reason=work, sessions=sessions)
        # Limits need no baseline, so a case that has none is judged by them.
        thresholds, clock = self._gated(case)
        gated = [one for one in thresholds if (bases and not one.off) or one.limit is not None]
        given = [(one, found) for one in gated if (found := self._judge(one, bases, now)) is not None]
        judgments = [found for _, found in given]
        judgments += no_cpu_time(gated, judgments, clock, "prediction")
        if clock == "auto" and bases:
            judgments = self._with_cpu_time(thresholds, given, bases, now)
        verdicts = verdicts_of(judgments)
        reason: str | None = None
        if mismatch is not None:
            verdicts.append(Verdict.NEW)
            reason = f"{mismatch.kind}: {mismatch.reason}"
        elif not judgments:
            verdicts.append(Verdict.INCONCLUSIVE)
            reason = "no metric that gates was measured on either side"
        left_out = [f"{one.session}: {one.reason}" for one in others]
        left_out += _left_out(bases, {one.metric for one in judgments})
        return CaseComparison(
            case, worst(verdicts), tuple(judgments), mismatch, reason, sessions, tuple(left_out)
        )

    def _judge(self, threshold: Threshold, bases: Sequence[Measured], now: Measured) -> Judgment | None:
        """The judgment by one threshold; None where neither side has the metric and it was not asked for."""
        metric = threshold.metric
        spoiled = now.spoiled_for(metric)
        values = now.values(metric)
        compared = threshold.relative is not None
        clean = [base for base in bases if not base.spoiled_for(metric) and base.centers(metric)]
        clean = clean if compared else []
        had = any(base.has(metric) for base in bases) if compared and not clean else bool(clean)
        if not values and (why := now.unknown(metric)) is not None:
            return unjudged(threshold, Verdict.INVALID, why)
        if not values and not (had or threshold.asked or (spoiled and now.has(metric))):
            return None
        center = statistics.median(now.centers(metric)) if values else None
        if spoiled:
            if (kept := _kept_all_the_same(threshold, now)) is not None:
                return kept
            return unjudged(threshold, Verdict.INVALID, f"{spoiled}{now.remedy_for(metric)}", center)
        if center is None:
            reason = "the baseline has it, and it was not measured now" if had else "it was not measured"
            return unjudged(threshold, Verdict.INVALID, reason)
        if compared and not clean:
            if why := next(
                (f"{why} in session {b.session}" for b in bases if (why := b.spoiled_for(metric))), ""
            ):
                return unjudged(threshold, Verdict.INVALID, f"the baseline is spoiled: {why}", center)
            if lacking := next(filter(None, (base.unknown(metric) for base in bases)), None):
                reason = f"the baseline does not have it: {lacking}"
                return unjudged(threshold, Verdict.INVALID, reason, center)
            return unjudged(threshold, Verdict.NEW, "the baseline does not have it", center)
        judged = self._judged_by(threshold, clean, now, values)
        return beside_load(judged, clean, now) if compared else judged

    def _with_cpu_time(
        self,
        thresholds: Sequence[Threshold],
        given: Sequence[tuple[Threshold, Judgment]],
        bases: Sequence[Measured],
        now: Measured,
    ) -> list[Judgment]:
        """The judgments *given*, and beside those that noise leaves undecided CPU time's, if it compares."""
        judgments = [found for _, found in given]
        noisy = [
            found
            for one, found in given
            if one.relative is not None and one.percentile is None and _left_by_noise(found, bases, now)
        ]
        if not noisy or now.incomparable is not None:
            return judgments
        able = [base for base in bases if base.incomparable is None]
        names = {METRICS[one.metric].on_cpu for one in noisy}
        beside: list[Judgment] = []
        for one in on_cpu(thresholds):
            clean = [base for base in able if base.spoiled_for(one.metric) is None]
            there = now.spoiled_for(one.metric) is None and now.values(one.metric)
            if one.metric in names and there and any(base.values(one.metric) for base in clean):
                beside += filter(None, [self._judge(one, clean, now)])
        told = iter(with_cpu_time(noisy, beside, {one.metric for one in noisy}))
        # A percentile may have an equal judgment, for the same reason.
        replaced = {id(one) for one in noisy}
        return [next(told) if id(one) in replaced else one for one in judgments] + list(told)

    def _judged_by(
        self,
        threshold: Threshold,
        bases: Sequence[Measured],
        now: Measured,
        values: Sequence[Sequence[float]],
    ) -> Judgment:
        metric = threshold.metric
        dropped = now.dropped_for(metric)
        if threshold.percentile is not None:
            judged = judge_exceedance(threshold, [base.values(metric) for base in bases], values)
        elif threshold.limit is not None:
            judged = judge_limit(threshold, values, exact=METRICS[metric].exact)
        else:
            sessions = [base.centers(metric) for base in bases]
            new = now.centers(metric)
            allowed = threshold.relative or 0.0
            if METRICS[metric].exact:
                return judge_exact(metric, [value for session in sessions for value in session], new, allowed)
            if min(map(min, [*sessions, new])) <= 0:
                return unjudged(threshold, Verdict.INVALID, "a value of 0 has no relative change")
            return judge_stored(
                metric,
                sessions,
                new,
                allowed,
                comparisons=self.comparisons,
                noise=self._noise_of(metric, tuple(base.session for base in bases), now),
                dropped=dropped,
            )
        return replace(judged, dropped=dropped, details={**judged.details, "written": threshold.value})

    def _noise_of(self, metric: str, sessions: tuple[str, ...], now: Measured) -> SessionNoise | None:
        """How far sessions lie apart: those of the baseline by all their cases, or a calibration's."""
        pooled = self._pooled_over(metric, sessions) if len(sessions) > 1 else None
        if pooled is None and len(sessions) < ENOUGH_SESSIONS and self._calibrated is not None:
            return self._calibrated(metric, now)
        return pooled

    def _pooled_over(self, metric: str, sessions: tuple[str, ...]) -> SessionNoise | None:
        if metric not in self._pooled:
            rows: dict[tuple[str, ...], list[list[list[float]]]] = defaultdict(list)
            for group in self._groups:
                clean = (base for base in group if base.spoiled_for(metric) is None)
                found = [(base.session, base.centers(metric)) for base in clean]
                found = [(session, values) for session, values in found if values and min(values) > 0]
                rows[tuple([session for session, _ in found])].append([values for _, values in found])
            self._pooled[metric] = {
                key: pool_sessions(cases) if len(key) > 1 else None for key, cases in rows.items()
            }
        return self._pooled[metric].get(sessions)


def compare(
    baselines: Iterable[ResultsDocument | BriefDocument],
    now: ResultsDocument | BriefDocument,
    thresholds: ThresholdsOf | None = None,
    *,
    noise: NoiseOf | None = None,
    clock: ClockOf | None = None,
) -> Comparison:
    """Judge every case of *now* against the cases of *baselines* that match it.

    :param thresholds: as for :class:`Gate`, like *noise* and *clock*.
    :raises UsageError: if there is no baseline but *now* itself.
    """
    documents = [document for document in baselines if document.session.id != now.session.id]
    if not documents:
        msg = f"session {now.session.id} cannot be compared with itself: name another baseline"
        raise UsageError(msg)
    present = {case.nodeid for case in now.cases if case.outcome != "skipped"}
    with gc_paused():
        gate = Gate(documents, present=present, thresholds=thresholds, noise=noise, clock=clock)
        for case in now.cases:
            gate.judge(case, now)
        return gate.comparison(now)


def _alike(bases: Sequence[Measured]) -> Collection[Sequence[Measured]]:
    """*bases* in groups that compare with each other."""
    if len(bases) < 2 or all(base.written == bases[0].written for base in bases[1:]):
        return [bases] if bases else []
    groups: dict[Identity, list[Measured]] = defaultdict(list)
    for base in bases:
        groups[base.identity].append(base)
    return groups.values()


def _left_out(bases: Sequence[Measured], metrics: Collection[str]) -> Iterator[str]:
    """Which sessions of the baseline were not used for all *metrics* that were judged, and why."""
    noisy = {metric for metric in metrics if not METRICS[metric].exact}
    spoiled = [base for base in bases if base.spoiled is not None]
    lacking = [(base, sum(base.spoiled_for(metric) is not None for metric in noisy)) for base in spoiled]
    yield from (f"{base.session}: {base.spoiled}" for base, n in lacking if n and n == len(noisy))
    if in_part := [base for base, n in lacking if 0 < n < len(noisy)]:
        more = f" and {len(in_part) - 1} more" if len(in_part) > 1 else ""
        yield f"{in_part[0].session}{more}, but for CPU times: {in_part[0].spoiled}"


def _left_by_noise(judged: Judgment, bases: Sequence[Measured], now: Measured) -> bool:
    """Whether a change could not be judged for noise: that of the numbers, or too much was disturbed."""
    metric = judged.metric
    if METRICS[metric].on_cpu is None:
        return False
    if judged.verdict is not Verdict.INVALID:
        return judged.verdict is Verdict.INCONCLUSIVE
    had = [base for base in bases if base.has(metric)]
    return (
        now.has(metric) and bool(had) and (now.held_up(metric) or all(base.held_up(metric) for base in had))
    )


def _kept_all_the_same(threshold: Threshold, now: Measured) -> Judgment | None:
    """That a limit is kept by what was disturbed, too, if it is: other load only makes times longer."""
    metric = threshold.metric
    if threshold.limit is None or METRICS[metric].unit not in _ONLY_WORSE or not now.held_up(metric):
        return None
    values = now.values(metric, disturbed=True)
    if not values:
        return None
    if threshold.percentile is not None:
        judged = judge_exceedance(threshold, (), values)
    else:
        judged = judge_limit(threshold, values, exact=False)
    if judged.verdict is not Verdict.PASS:
        return None
    details = {**judged.details, "written": threshold.value}
    return replace(judged, noise=now.disturbed(metric), details=details)


def unjudged(threshold: Threshold, verdict: Verdict, reason: str, now: float | None = None) -> Judgment:
    """The judgment without a base value or a limit, with the reason."""
    return Judgment(
        metric=threshold.metric,
        verdict=verdict,
        now=now,
        threshold=threshold.relative,
        method="limit" if threshold.limit is not None else "prediction",
        reason=reason,
        details={"written": threshold.value},
    )


def _notes(base: Header, now: Header) -> tuple[str, ...]:
    """What differs between the newest baseline and now, and does not keep them from being compared."""
    found = [_changed("commit", _commit(base), _commit(now))]
    names = {**base.versions, **now.versions}
    found += [_changed(name, base.versions.get(name), now.versions.get(name)) for name in names]
    if base.machine is not None and now.machine is not None:
        found.append(_changed("kernel", base.machine.os.get("release"), now.machine.os.get("release")))
        drivers = [{str(gpu.get("driver")) for gpu in side.gpus} for side in (base.machine, now.machine)]
        found.append(_changed("GPU driver", *(", ".join(sorted(names)) or None for names in drivers)))
    return tuple(note for note in found if note)


def _commit(header: Header) -> str | None:
    commit = header.commit
    if commit.short is None:
        return None
    return f"{commit.short} on {commit.branch}" if commit.branch else commit.short


def _changed(what: str, base: object, now: object) -> str:
    if base == now:
        return ""
    return f"{what}: {'none' if base is None else base} → {'none' if now is None else now}"
