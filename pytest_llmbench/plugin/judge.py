"""How does a verdict become that test's failure?

A case is judged when its test's body has passed, still in the test's call: so JUnit, ``-x``,
``--lf``, rerun plugins and the exit status see a regression like any other failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_llmbench.bench.measurement import Measurement
from pytest_llmbench.errors import LLMBenchError, ResultsError, UsageError, saying_where, shown
from pytest_llmbench.gate.ab import BASE_SUFFIX, BaseSide, parse_base_side
from pytest_llmbench.gate.budget import parse_budget
from pytest_llmbench.gate.calibration import calibrated_noise
from pytest_llmbench.gate.compare import CaseComparison, Gate, Policy, missing_policy
from pytest_llmbench.gate.failures import parse_allowed, why_failed
from pytest_llmbench.gate.judge import Judge, PairedJudge, StoredJudge
from pytest_llmbench.gate.pairing import Pairing
from pytest_llmbench.gate.thresholds import (
    default_thresholds,
    parse_thresholds,
    thresholds_of,
)
from pytest_llmbench.metrics.table import gated_metrics
from pytest_llmbench.models.paths import interpreter
from pytest_llmbench.plugin.options import check_program
from pytest_llmbench.plugin.paths import command_line_folder, session_path
from pytest_llmbench.plugin.xdist import session_id, worker_id
from pytest_llmbench.results.baselines import Place, find_baselines, find_place
from pytest_llmbench.results.brief import read_brief
from pytest_llmbench.results.document import gc_paused
from pytest_llmbench.results.records import DEFAULT_MEASUREMENT, Case, Header
from pytest_llmbench.settings.options import BackendOptions
from pytest_llmbench.settings.sources import Source

if TYPE_CHECKING:
    import pytest

    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.cases.selection import Selector
    from pytest_llmbench.results.store import Store


@dataclass(frozen=True, slots=True)
class Gating:
    """The gate of one session, as the command line asks for it."""

    judge: Judge
    policy: Policy
    pairing: Pairing | None = None
    """Set where cases are measured in pairs."""
    place: Place | None = None
    """The baseline that this session is to replace if all goes well."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gate says of one test."""

    verdicts: Mapping[str, CaseComparison]
    """By measurement; one of which nothing can be said has none."""
    failure: str | None
    """Why the test fails; None if it does not."""
    warnings: tuple[str, ...]
    """What the policy says to warn of, a line each."""


def judge_test(
    gating: Gating, measured: Iterable[tuple[Case, Measurement]], header: Header, failures: str
) -> Judged:
    """Judge what a test measured, after its body has passed.

    :param measured: each measurement, and as the document keeps it.
    :param failures: how many requests of a load level may fail.
    """
    from pytest_llmbench.report.comparison import explain_case, headline

    allowed = parse_allowed(failures)
    verdicts: dict[str, CaseComparison] = {}
    failed: list[tuple[str, str]] = []
    warnings: list[str] = []
    for case, measurement in measured:
        label = "" if case.measurement == DEFAULT_MEASUREMENT else f"{case.measurement}: "
        found = gating.judge.judge(case, header, measurement.paired)
        if found is not None:
            verdicts[case.measurement] = found
            action = gating.policy.action(found)
            if action == "fail":
                failed.append((label + headline(found), explain_case(found)))
            elif action == "warn":
                warnings.append(label + headline(found))
        processes = measurement.run.processes
        if not case.measurement.endswith(BASE_SUFFIX) and (why := why_failed(processes, allowed)):
            first, _, more = why.partition("\n")
            failed.append((label + first, more))
    failure = None
    if failed:
        heads, texts = zip(*failed, strict=True)
        # The first line says it for a list of failures.
        failure = shown("\n".join(["; ".join(heads), *texts]))
    return Judged(verdicts, failure, tuple(warnings))


def open_gate(
    config: pytest.Config,
    registry: Registry,
    selector: Selector,
    store: Store,
    items: Sequence[pytest.Item],
) -> Gating:
    """The gate that the command line asks for; without a base side, it judges limits.

    :raises UsageError: for options that are not valid, or baselines that are not there.
    """
    refs: list[str] = config.getoption("llm_compare") or []
    ab: str | None = config.getoption("llm_ab")
    if refs and ab is not None:
        msg = "--llm-compare and --llm-ab are two ways to have a base side; give one of them"
        raise UsageError(msg)
    written = config.getoption("llm_threshold") or config.getini("llm_threshold") or []
    with saying_where("--llm-threshold"):
        command_line = [one for text in written for one in parse_thresholds(text)]
    metrics = _metrics(config)
    default_thresholds(metrics)  # refuses a metric that there is not
    policy = _policy(config)
    budget_text: str | None = config.getoption("llm_budget")
    budget = None if budget_text is None else parse_budget(budget_text)
    base = None if ab is None else _base_side(config, registry, selector, ab)
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
            paths = find_baselines(refs, store, notes, root=config.rootpath, here=command_line_folder(config))
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
    if (refs or base is not None) and worker_id(config) is not None:
        msg = "a comparison needs all results in one place: run it without pytest-xdist (-n 0)"
        raise UsageError(msg)
    pairing = None
    if base is not None:
        pairing = Pairing(
            base,
            session_id(config),
            cases=len(items),
            thresholds=command_line,
            metrics=metrics,
            budget=budget,
        )
    return Gating(
        StoredJudge(gate) if pairing is None else PairedJudge(gate),
        policy,
        pairing,
        _place(config, store, refs[0]) if update else None,
        tuple(notes),
    )


def _base_side(config: pytest.Config, registry: Registry, selector: Selector, text: str) -> BaseSide:
    """The base side of ``--llm-ab``, its paths as they were typed here.

    :raises UsageError: for one that names what there is not, listing what there is.
    """
    base, here = parse_base_side(text), command_line_folder(config)
    options = BackendOptions(base.options).located(registry, here)
    base = replace(base, python=interpreter(base.python, here), options=options.given)
    if base.python is not None:
        check_program(base.python, "--llm-ab python")
    named: dict[str, Any] = {"backend_options": options}
    if base.base_url is not None:
        named["base_url"] = (base.base_url,)
    if base.model is not None:
        named["models"] = (base.model,)
    if base.quantization is not None:
        named["quantizations"] = (base.quantization,)
    selector.check_marker(Source.of(named))
    return base


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


def _metrics(config: pytest.Config) -> tuple[str, ...]:
    given = config.getoption("llm_gate") or config.getini("llm_gate")
    if not given:
        return gated_metrics()
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
