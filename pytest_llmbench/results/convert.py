"""How does what was measured become a case of the document?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from pydantic import BaseModel

from pytest_llmbench.hardware.facts import HardwareSummary
from pytest_llmbench.measure.facts import FailedRequest
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.summary import Summary
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import NANO
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel, spec_of
from pytest_llmbench.results.records import (
    DEFAULT_MEASUREMENT,
    CacheRecord,
    CaseRecord,
    FailureRecord,
    HardwareRecord,
    LoadRecord,
    MetricRecord,
    ModelRecord,
    Outcome,
    ProcessRecord,
    ProtocolRecord,
    RequestRecord,
    RoundRecord,
    TurnRecord,
)
from pytest_llmbench.secrets import mask, mask_data, mask_setting
from pytest_llmbench.times import iso_of_reading


def case_from_run(
    run: Run | None,
    *,
    nodeid: str,
    backend: str,
    model: ResolvedModel | ModelSpec,
    outcome: Outcome,
    measurement: str = DEFAULT_MEASUREMENT,
    error: str | None = None,
    params: Mapping[str, object] | None = None,
    protocol: Mapping[str, object] | None = None,
    hardware: HardwareSummary | None = None,
) -> CaseRecord:
    """The case of one measurement.

    *run* is what was measured, as far as it got; None where nothing was (the model could not be
    loaded, the test was skipped), with *protocol* as it was meant to be. *model* is a
    :class:`ModelSpec` where it could not be resolved. *params* are the user's own parametrize
    values. *hardware* is the summary of the samples over the whole case.
    """
    file, _, rest = nodeid.partition("::")
    return CaseRecord(
        nodeid=nodeid,
        measurement=measurement,
        name=_last_name(rest),
        file=file,
        params={name: mask_setting(name, str(value)) for name, value in (params or {}).items()},
        model=_model_record(model, backend),
        protocol=ProtocolRecord.model_validate(dict(run.protocol if run is not None else protocol or {})),
        processes=[_process_record(p) for p in run.processes] if run is not None else [],
        case_values=_finite(run.values) if run is not None else {},
        metrics=_metric_records(run) if run is not None else {},
        unknown=dict(run.unknown) if run is not None else {},
        hardware=_record(HardwareRecord, hardware),
        disturbance=_listed(None if run is None else run.disturbance),
        outcome=outcome,
        error=error,
    )


def _listed(codes: Sequence[str] | None) -> list[str] | None:
    return None if codes is None else list(codes)


def _last_name(rest: str) -> str:
    """``Class::test[a::b]`` to ``test[a::b]``: a parameter may hold the separator."""
    head, bracket, parameters = rest.partition("[")
    return head.rpartition("::")[2] + bracket + parameters


def _model_record(model: ResolvedModel | ModelSpec, backend: str) -> ModelRecord:
    spec = spec_of(model)
    record = ModelRecord(
        name=spec.name,
        alias=spec.alias,
        backend=backend,
        quantization=spec.quantization,
        revision=spec.revision,
    )
    if isinstance(model, ResolvedModel):
        record.quantization = spec.quantization or model.quantization
        record.digest = model.digest
        record.parameters = model.parameters
        record.size = model.size
    return record


def _process_record(process: ProcessRun) -> ProcessRecord:
    return ProcessRecord(
        pid=process.pid,
        engine=mask_data(process.engine),
        versions=dict(process.versions),
        values=_finite(process.values),
        hardware=_record(HardwareRecord, process.hardware),
        unwatched=process.unwatched,
        watch_lost=process.watch_lost,
        load=_record(LoadRecord, process.load),
        failures=[_failure_record(failure) for failure in process.failures],
        rounds=[round_record(r) for r in process.rounds],
    )


_Kept = TypeVar("_Kept", bound=BaseModel)


def _record(kind: type[_Kept], facts: object | None) -> _Kept | None:
    """The record of what was measured; its class has the facts' fields."""
    return None if facts is None else kind.model_validate(facts, from_attributes=True)


def _failure_record(failure: FailedRequest) -> FailureRecord:
    masked = replace(failure, detail=None if failure.detail is None else mask(failure.detail))
    return FailureRecord.model_validate(masked, from_attributes=True)


def round_record(measured: Round) -> RoundRecord:
    """One round, its times in seconds since the call, exact to the nanosecond."""
    timeline = measured.timeline
    sent = timeline.sent
    times = [round((t - sent) * NANO, 9) for t in timeline.token_times]
    return RoundRecord(
        started=iso_of_reading(sent),
        values=_finite(measured.values),
        instructions=measured.instructions,
        cpu_wait=measured.cpu_wait,
        prompt_tokens=timeline.prompt_tokens or None,
        output_tokens=timeline.output_tokens,
        prompt_hash=timeline.prompt_hash,
        output_hash=timeline.output_hash,
        finish_reason=timeline.finish_reason,
        tokenized=round((timeline.tokenized - sent) * NANO, 9),
        prefilled=None if timeline.prefilled is None else round((timeline.prefilled - sent) * NANO, 9),
        token_times=times,
        first_tokens=timeline.first_tokens,
        hidden_tokens=timeline.hidden_tokens,
        untimed=timeline.untimed,
        done=round((timeline.done - sent) * NANO, 9),
        disturbance=_listed(measured.disturbance),
        request=_record(RequestRecord, measured.request),
        cache=_record(CacheRecord, measured.cache),
        turn=_record(TurnRecord, measured.turn),
        own_words=measured.own_words,
        invalid=measured.invalid,
        counted=measured.counted,
    )


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    # JSON has no infinity and no NaN: they would come back as a damaged document.
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _metric_records(run: Run) -> dict[str, MetricRecord]:
    found = {
        name: metric_record(summary)
        for name, summary in run.metrics.items()
        if all(math.isfinite(value) for value in summary.values)
    }
    if any(process.load is not None for process in run.processes):
        from pytest_llmbench.measure.intervals import summary_intervals

        for name, record in found.items():
            # Gaps of requests that overlap are in no order of time, so their dependence cannot be seen.
            if METRICS[name].scope == "round":
                record.intervals = summary_intervals(run.metric(name).values) or None
    return found


def metric_record(summary: Summary) -> MetricRecord:
    """A summary as the document keeps it; it must have values."""
    return MetricRecord(**summary.to_json())
