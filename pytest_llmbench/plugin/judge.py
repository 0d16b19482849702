"""How does a verdict become that test's failure?

A case is judged when its test's body has passed, still in the test's call: so JUnit, ``-x``,
``--lf``, rerun plugins and the exit status see a regression like any other failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmbench.bench.measurement import Measurement
from pytest_llmbench.errors import LLMBenchError, ResultsError, UsageError, shown
from pytest_llmbench.gate.ab import BASE_SUFFIX, BaseSide
from pytest_llmbench.gate.calibration import calibrated_noise
from pytest_llmbench.gate.compare import CaseComparison, Policy, missing_policy
from pytest_llmbench.gate.failures import parse_allowed, why_failed
from pytest_llmbench.gate.judge import Judge, PairedJudge, StoredJudge
from pytest_llmbench.gate.pairing import Pairing
from pytest_llmbench.gate.thresholds import thresholds_of
from pytest_llmbench.metrics.table import gated_metrics
from pytest_llmbench.plugin.xdist import session_id, worker_id
from pytest_llmbench.processes.garbage import gc_paused
from pytest_llmbench.results.baselines import Place, find_baselines, find_place
from pytest_llmbench.results.brief import read_brief
from pytest_llmbench.results.records import DEFAULT_MEASUREMENT, CaseRecord, Header
from pytest_llmbench.settings.options import BackendOptions
from pytest_llmbench.settings.session import SessionSettings, check_program
from pytest_llmbench.settings.sources import Source

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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
    gating: Gating, measured: Iterable[tuple[CaseRecord, Measurement]], header: Header, failures: str
) -> Judged:
    """Judge what a test measured, after its body has passed.

    :param measured: each measurement, and as the document keeps it.
    :param failures: how many requests of a load level may fail.
    """
    from pytest_llmbench.report.comparison import explain_case
    from pytest_llmbench.report.together import turns_said
    from pytest_llmbench.report.verdicts import headline

    allowed = parse_allowed(failures)
    verdicts: dict[str, CaseComparison] = {}
    failed: list[tuple[str, str]] = []
    warned: dict[str, list[str]] = {}
    for case, measurement in measured:
        label = "" if case.measurement == DEFAULT_MEASUREMENT else f"{case.measurement}: "
        found = gating.judge.judge(case, header, measurement.paired)
        if found is not None:
            verdicts[case.measurement] = found
            action = gating.policy.action(found)
            if action == "fail":
                failed.append((label + headline(found), explain_case(found)))
            elif action == "warn":
                warned.setdefault(headline(found), []).append(case.measurement)
        processes = measurement.run.processes
        if not case.measurement.endswith(BASE_SUFFIX) and (why := why_failed(processes, allowed)):
            first, _, more = why.partition("\n")
            failed.append((label + first, more))
    failure = None
    if failed:
        heads, texts = zip(*failed, strict=True)
        # The first line says it for a list of failures.
        failure = shown("\n".join(["; ".join(heads), *texts]))
    warnings = []
    for told, labels in warned.items():
        said = turns_said(one for one in labels if one != DEFAULT_MEASUREMENT)
        warnings.append(f"{said}: {told}" if said else told)
    return Judged(verdicts, failure, tuple(warnings))


def open_gate(
    config: pytest.Config,
    settings: SessionSettings,
    selector: Selector,
    store: Store,
    items: Sequence[pytest.Item],
) -> Gating:
    """The gate that the command line asks for; without a base side, it judges limits.

    :raises UsageError: for options that are not valid, or baselines that are not there.
    """
    refs, base, metrics = settings.compare, settings.ab, settings.gate or gated_metrics()
    here = config.invocation_params.dir
    if base is not None:
        _check_base_side(base, selector)
    notes: list[str] = []
    thresholds = thresholds_of(settings.threshold, metrics)
    judge: Judge = StoredJudge(thresholds=thresholds) if base is None else PairedJudge(thresholds=thresholds)
    if refs:
        try:
            paths = find_baselines(refs, store, notes, root=config.rootpath, here=here)
            with gc_paused():
                documents = [read_brief(path) for path in paths]
        except ResultsError as error:
            msg = f"--llm-compare: {error}"
            raise UsageError(msg) from None
        present = {item.nodeid for item in items}
        judge = StoredJudge(
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
            thresholds=settings.threshold,
            metrics=metrics,
            budget=settings.budget,
            disturbed=settings.disturbed,
        )
    return Gating(
        judge,
        Policy(
            missing=settings.missing or missing_policy(os.environ),
            inconclusive=settings.inconclusive,
            improvement="fail" if settings.fail_on_improvement else "pass",
        ),
        pairing,
        _place(settings, store, here) if settings.update_baseline else None,
        tuple(notes),
    )


def _check_base_side(base: BaseSide, selector: Selector) -> None:
    """Refuse a base side that names what there is not.

    :raises UsageError: listing what there is.
    """
    if base.python is not None:
        check_program(base.python, "--llm-ab python")
    named: dict[str, object] = {"backend_options": BackendOptions(base.options)}
    if base.base_url is not None:
        named["base_url"] = (base.base_url,)
    if base.model is not None:
        named["models"] = (base.model,)
    if base.quantization is not None:
        named["quantizations"] = (base.quantization,)
    selector.check_marker(Source.of(named))


def _place(settings: SessionSettings, store: Store, here: Path) -> Place:
    """The baseline that ``--llm-update-baseline`` replaces."""
    try:
        place = find_place(settings.compare[0], store, here=here)
    except LLMBenchError as error:
        msg = f"--llm-update-baseline: {error}"
        raise UsageError(msg) from None
    if settings.json is not None and settings.json.resolve() == place.path.resolve():
        msg = (
            f"--llm-json={settings.json} would overwrite the baseline also where --llm-update-baseline does "
            "not: leave it out, or name another file"
        )
        raise UsageError(msg)
    return place
