"""How does a verdict become that test's failure?

A case is judged when its test's body has passed, still in the test's call: so JUnit, ``-x``,
``--lf``, rerun plugins and the exit status see a regression like any other failure.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.bench.session import SESSION
from pytest_llmbench.errors import LLMBenchError, ResultsError, UsageError, shown
from pytest_llmbench.gate.ab import BASE_SUFFIX, BaseSide, parse_base_side
from pytest_llmbench.gate.budget import Budget, parse_budget
from pytest_llmbench.gate.calibration import calibrated_noise
from pytest_llmbench.gate.compare import (
    CaseComparison,
    Comparison,
    Gate,
    Policy,
    missing_policy,
)
from pytest_llmbench.gate.exact import judge_exact
from pytest_llmbench.gate.failures import parse_allowed, why_failed
from pytest_llmbench.gate.measured import EXACT_METRICS, Measured
from pytest_llmbench.gate.paired import PairedTest
from pytest_llmbench.gate.thresholds import (
    GATED_METRICS,
    Threshold,
    default_thresholds,
    merge_thresholds,
    parse_thresholds,
    thresholds_of,
)
from pytest_llmbench.gate.verdict import Judgment, Verdict, worst
from pytest_llmbench.measure.pairs import MeasuredPair, PairSource
from pytest_llmbench.measure.run import Run
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import UNTIMED, explain_untimed
from pytest_llmbench.models.paths import interpreter
from pytest_llmbench.plugin.options import locate_options
from pytest_llmbench.plugin.paths import command_line_folder, session_path
from pytest_llmbench.plugin.xdist import session_id
from pytest_llmbench.results.baselines import (
    Place,
    find_baselines,
    find_place,
    fitness,
    save_baseline,
    take_place,
)
from pytest_llmbench.results.brief import read_brief
from pytest_llmbench.results.document import gc_paused
from pytest_llmbench.results.records import DEFAULT_MEASUREMENT, Case, Header, ResultsDocument

if TYPE_CHECKING:
    from pytest_llmbench.results.store import Store


# Of memory, so many values show by how much it varies.
_FEW_PAIRS = 5
# Why a pair has no difference of a metric.
_NO_VALUE = "it was not measured"
_ZERO = "a value of 0 has no relative change"


class Gating:
    """The gate of one session. Use :meth:`open`."""

    def __init__(
        self,
        *,
        policy: Policy,
        command_line: Sequence[Threshold],
        metrics: Sequence[str],
        gate: Gate,
        base: BaseSide | None,
        budget: Budget,
        cases: int,
        session: str,
        notes: Sequence[str] = (),
        place: Place | None = None,
    ) -> None:
        self.policy = policy
        self.base = base
        self.notes = list(notes)
        self.place = place
        """The baseline that this session is to replace if all goes well."""
        self._command_line = tuple(command_line)
        self._metrics = tuple(metrics)
        self._gate = gate
        self._budget = budget
        self._cases = cases
        # What the coins show is told by the session's id, which is in its document.
        self._coins = random.Random(session)
        self._failure: BaseException | None = None
        self._paired: list[CaseComparison] = []
        self._ab: dict[int, list[Judgment]] = {}

    @classmethod
    def open(cls, config: pytest.Config, store: Store, items: Sequence[pytest.Item]) -> Gating:
        """The gate that the command line asks for; without a base side, it judges limits.

        :raises UsageError: for options that cannot be meant, or baselines that are not there.
        """
        refs: list[str] = config.getoption("llm_compare") or []
        ab: str | None = config.getoption("llm_ab")
        if refs and ab is not None:
            msg = "--llm-compare and --llm-ab are two ways to have a base side; give one of them"
            raise UsageError(msg)
        written = config.getoption("llm_threshold") or config.getini("llm_threshold") or []
        command_line = [one for text in written for one in parse_thresholds(text)]
        metrics = _metrics(config)
        default_thresholds(metrics)  # refuses a metric that there is not
        policy = _policy(config)
        budget_text: str | None = config.getoption("llm_budget")
        budget = Budget() if budget_text is None else parse_budget(budget_text)
        base = None if ab is None else _base_side(config, ab)
        update: bool = config.getoption("llm_update_baseline")
        if update and len(refs) != 1:
            what = "several are compared" if refs else "none is compared"
            msg = f"--llm-update-baseline replaces the baseline of --llm-compare, and {what}: give it one"
            raise UsageError(msg)
        if base is None and budget_text is not None:
            msg = "--llm-budget bounds the pairs of an A/B session: give --llm-ab too"
            raise UsageError(msg)
        notes: list[str] = []
        thresholds = thresholds_of(command_line, metrics)
        gate = Gate((), thresholds=thresholds)
        if refs:
            try:
                paths = find_baselines(
                    refs, store, notes, root=config.rootpath, here=command_line_folder(config)
                )
                with gc_paused():
                    documents = [read_brief(path) for path in paths]
            except ResultsError as error:
                msg = f"--llm-compare: {error}"
                raise UsageError(msg) from None
            present = {item.nodeid for item in items}
            gate = Gate(
                documents,
                present=present,
                thresholds=thresholds,
                noise=calibrated_noise(store, notes),
            )
        return cls(
            policy=policy,
            command_line=command_line,
            metrics=metrics,
            gate=gate,
            base=base,
            budget=budget,
            cases=len(items),
            notes=notes,
            place=_place(config, store, refs[0]) if update else None,
            session=session_id(config),
        )

    def failed_by(self, error: BaseException | None) -> bool:
        """Whether the last test that was judged ended by its verdict, which *error* is then."""
        return error is not None and error is self._failure

    @property
    def compares(self) -> bool:
        """Whether there is a base side."""
        return self.base is not None or bool(self._gate.baselines.documents)

    # -- A/B --------------------------------------------------------------------------------

    def coin(self) -> random.Random:
        """The coin of the next measurement in pairs, independent of every other's."""
        return random.Random(self._coins.getrandbits(64))

    def measure(self, source: PairSource, run: Run, base_run: Run, marker: Sequence[Threshold]) -> None:
        """Measure pairs of both sides until every metric is decided, or the budget is spent.

        :param run: where *source* puts what it measures of the side that is judged; likewise *base_run*.
        """
        thresholds = self._thresholds(marker)
        if tails := [t.name for t in thresholds if t.percentile is not None and t.relative is not None]:
            msg = (
                f"{', '.join(tails)}: a percentile is not judged in pairs; give it a limit "
                "(ttft.p99:<300ms), or compare with stored sessions"
            )
            raise UsageError(msg)
        relative = [t for t in thresholds if t.relative is not None and t.percentile is None]
        noisy = [
            t for t in relative if t.metric not in EXACT_METRICS and METRICS[t.metric].scope in source.scopes
        ]
        tests = {t.metric: self._test(t, noisy) for t in noisy}
        asked = {t.metric for t in noisy if t.asked}
        end = None if self._budget.seconds is None else time.monotonic() + self._budget.seconds
        invalid, over, pairs = None, False, 0
        # Memory and limits have no test that asks for pairs; and what is not gated is measured too.
        others = any(t.metric in EXACT_METRICS or t.limit is not None for t in thresholds)
        enough = min(_FEW_PAIRS, self._budget.pairs or _FEW_PAIRS) if others else 1
        while not over and (any(not test.done for test in tests.values()) or (not tests and pairs < enough)):
            pair = source.pair()
            pairs += 1
            invalid = pair.invalid
            if invalid is None:
                _feed(tests, asked, pair)
            over = invalid is not None or (end is not None and time.monotonic() >= end)
        judgments = []
        for test in tests.values():
            if invalid is None and over:
                test.finish()
            judgments.append(_judged(test))
        if invalid is not None:
            # What failed, failed by the pairs before.
            judgments = [
                j if j.verdict is Verdict.FAIL else replace(j, verdict=Verdict.INVALID, reason=invalid)
                for j in judgments
            ]
        if source.order is not None:
            judgments = [replace(j, details={**j.details, "order": source.order}) for j in judgments]
        for t in relative:
            if t.metric in EXACT_METRICS and run.metric(t.metric).n and base_run.metric(t.metric).n:
                base_values, now = base_run.metric(t.metric).values, run.metric(t.metric).values
                found = judge_exact(t.metric, base_values, now, t.relative or 0.0)
                judgments.append(
                    found if invalid is None else replace(found, verdict=Verdict.INVALID, reason=invalid)
                )
        self._ab[id(run)] = judgments

    def _test(self, threshold: Threshold, noisy: Sequence[Threshold]) -> PairedTest:
        metrics = {t.metric for t in noisy}
        # One is the other's reciprocal: they are wrong together.
        if {"tpot", "decode_throughput"} <= metrics:
            metrics.discard("decode_throughput")
        return PairedTest(
            threshold.relative or 0.0,
            metric=threshold.metric,
            comparisons=max(1, self._cases * len(metrics)),
            budget=self._budget.pairs,
        )

    # -- verdicts ---------------------------------------------------------------------------

    def judge(
        self,
        runs: Sequence[Run],
        case_of: Callable[[Run], Case],
        header: Header,
        *,
        failures: str,
        warn: Callable[[str], None],
    ) -> None:
        """Judge what a test measured, after its body has passed.

        :param failures: how many requests of a load level may fail.
        :param warn: takes what the policy says to warn of, in one line.
        :raises pytest.fail.Exception: if the policy says that a verdict fails the test, or requests did.
        """
        from pytest_llmbench.report.comparison import explain_case, headline

        allowed = parse_allowed(failures)
        failed: list[tuple[str, str]] = []
        for run in runs:
            case = case_of(run)
            label = "" if case.measurement == DEFAULT_MEASUREMENT else f"{case.measurement}: "
            found = self._compare(run, case, header)
            if found is not None:
                run.judged = found
                action = self.policy.action(found)
                if action == "fail":
                    failed.append((label + headline(found), explain_case(found)))
                elif action == "warn":
                    warn(label + headline(found))
            if not case.measurement.endswith(BASE_SUFFIX) and (why := why_failed(run.processes, allowed)):
                first, _, more = why.partition("\n")
                failed.append((label + first, more))
        if failed:
            heads, texts = zip(*failed, strict=True)
            # The first line says it for a list of failures.
            text = shown("\n".join(["; ".join(heads), *texts]))
            self._failure = pytest.fail.Exception(text, pytrace=False)
            raise self._failure

    def _compare(self, run: Run, case: Case, header: Header) -> CaseComparison | None:
        found = self._gate.judge(case, header)
        if self.base is None or case.measurement.endswith(BASE_SUFFIX):
            return found
        judgments = self._ab.get(id(run))
        limits = () if found is None else found.judgments
        if judgments is None:
            found = CaseComparison(
                case,
                worst([Verdict.NEW, *(j.verdict for j in limits)]),
                limits,
                reason="only measure() has a base side: generate() is not judged in pairs",
            )
        else:
            judgments = [*judgments, *limits]
            verdict = worst([j.verdict for j in judgments])
            reason = None if judgments else "no metric that gates was measured"
            found = CaseComparison(case, verdict, tuple(judgments), reason=reason)
        self._paired.append(found)
        return found

    def comparison(self, header: Header, expected: Callable[[str], bool]) -> Comparison | None:
        """Everything that was judged; None if nothing was.

        *expected* says of a test's id whether this session was asked to run it: of the others, none
        is missing.
        """
        if self.base is not None:
            return Comparison(header, (), tuple(self._paired)) if self._paired else None
        found = self._gate.comparison(header)
        found = replace(found, missing=tuple(m for m in found.missing if expected(m.nodeid)))
        return found if self.compares or found.cases else None

    def why_not_promoted(self, header: Header, failed: int) -> str | None:
        """What keeps the session from replacing its baseline; None if nothing does.

        :param failed: how many tests of the session failed, measured or not.
        """
        if self.place is None:
            return None
        # A test that fails before it measures has no case.
        why = _bad(header.session.outcomes) or (f"{failed} failed" if failed else "")
        if not why and header.session.state == "interrupted":
            why = "the session was interrupted"
        comparison = self._gate.comparison(header)
        if not why and (missing := comparison.missing):
            why = f"it would lose {missing[0].nodeid}{_more(missing)}, not measured now"
        spoiled = [one for one in comparison.cases if Measured(one.case, header).spoiled]
        if not why and spoiled:
            why = f"{spoiled[0].nodeid}{_more(spoiled)}: too disturbed to compare with"
        if not why:
            return None
        name = self.place.name
        how = f"'llmbench baseline update {name} --force'" if name is not None else "a copy of its document"
        return (
            f"the baseline {self.place.label} was not changed: {why}; {how} makes this session the "
            "baseline all the same"
        )

    def _thresholds(self, marker: Sequence[Threshold]) -> tuple[Threshold, ...]:
        return merge_thresholds(default_thresholds(self._metrics), marker, self._command_line)


def why_not_saved(name: str, document: ResultsDocument) -> str | None:
    """What keeps the session from being added to the baseline *name*.

    That is failures, which it would hide, and that no later session could be judged by it.
    """
    not_changed = f"the baseline {name!r} was not changed"
    if bad := _bad(document.session.outcomes):
        return f"{not_changed}: {bad}; fix the cases, or leave them out with -k"
    fit, lines = fitness(document)
    if fit:
        return None
    why = lines[0] + _more(lines) if lines else "nothing was measured"
    return f"{not_changed}, for no session could be judged by this one: {why}"


def save(name: str, store: Store, document: ResultsDocument) -> str:
    """Add the session's document to the baseline *name*. Returns what to tell.

    :raises UsageError: if the name cannot be one, or the document cannot be written.
    """
    try:
        lines = [f"baseline {name!r}: {save_baseline(store, name, document)}", *fitness(document)[1]]
        return "\nResults: ".join(lines)
    except LLMBenchError as error:
        msg = f"the baseline {name!r} could not be saved: {error}"
        raise UsageError(msg) from None


def promote(place: Place, store: Store, document: ResultsDocument) -> str:
    """Let the session replace the baseline that it was compared with. Returns what to tell.

    :raises ResultsError: if it cannot be written.
    """
    return f"baseline {place.label}: {take_place(place, store, document)}"


def _more(found: Sequence[object]) -> str:
    return f" and {len(found) - 1} more" if len(found) > 1 else ""


def _bad(outcomes: Mapping[str, int]) -> str:
    return ", ".join(
        f"{n} {outcome}" for outcome, n in outcomes.items() if outcome not in ("passed", "skipped")
    )


def _base_side(config: pytest.Config, text: str) -> BaseSide:
    """The base side of ``--llm-ab``, its paths as they were typed here."""
    base, here = parse_base_side(text), command_line_folder(config)
    registry = config.stash[SESSION].registry
    options = {name: dict(values) for name, values in base.options.items()}
    for name in options.keys() & set(registry.names()):
        locate_options(options[name], registry.get(name), here)
    return replace(base, python=interpreter(base.python, here), options=options)


def _place(config: pytest.Config, store: Store, ref: str) -> Place:
    """The baseline that ``--llm-update-baseline`` replaces."""
    try:
        place = find_place(ref, store, here=command_line_folder(config))
    except LLMBenchError as error:
        msg = f"--llm-update-baseline: {error}"
        raise UsageError(msg) from None
    written = session_path(config, "llm_json")
    if written is not None and written.resolve() == place.path.resolve():
        msg = (
            f"--llm-json={config.getoption('llm_json')} would overwrite the baseline also where "
            "--llm-update-baseline does not: leave it out, or name another file"
        )
        raise UsageError(msg)
    return place


def _feed(tests: dict[str, PairedTest], asked: Collection[str], pair: MeasuredPair) -> None:
    """Give a pair to the tests; a metric that there is not, and that nobody *asked* for, has none."""
    if (codes := pair.dropped) is not None:
        for test in tests.values():
            test.drop(codes)
        return
    for metric, test in list(tests.items()):
        base, now = pair.value("base", metric), pair.value("now", metric)
        difference = pair.difference(metric)
        if difference is not None:
            test.add(difference, base, now)
        elif (why := pair.unknown(metric)) is not None:
            test.drop(why)
        elif base is None and now is None and metric not in asked and not test.differences:
            del tests[metric]
        else:
            test.drop(_NO_VALUE if base is None or now is None else _ZERO)


def _judged(test: PairedTest) -> Judgment:
    judgment = test.judgment()
    if test.differences or not set(test.dropped) <= {_NO_VALUE, _ZERO, *UNTIMED}:
        return judgment
    # No machine was disturbed, so that a quieter one is no advice.
    known: dict[str, str] = {why: explain_untimed(why) for why in UNTIMED}
    said = "; ".join(known.get(reason, reason) for reason in test.dropped)
    return replace(judgment, reason=said or judgment.reason)


def _metrics(config: pytest.Config) -> tuple[str, ...]:
    given = config.getoption("llm_gate") or config.getini("llm_gate")
    if not given:
        return tuple(GATED_METRICS)
    names = [given] if isinstance(given, str) else given
    return tuple(name.strip() for text in names for name in text.split(",") if name.strip())


def _policy(config: pytest.Config) -> Policy:
    def choice(name: str, allowed: Sequence[str], default: str) -> Any:
        flag = "--llm-" + name.removeprefix("llm_").replace("_", "-")
        value = config.getoption(name) or config.getini(name) or default
        if value not in allowed:
            msg = f"{flag}={value}: not one of {', '.join(allowed)}"
            raise UsageError(msg)
        return value

    return Policy(
        missing=choice("llm_missing", ("fail", "warn"), missing_policy(os.environ)),
        inconclusive=choice("llm_inconclusive", ("warn", "fail", "pass"), "warn"),
        improvement="fail" if config.getoption("llm_fail_on_improvement") else "pass",
    )
