"""Levels, failed requests and hardware with the facts that a test is about, and plain ones for the rest."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pytest_llmbench.client.facts import ClientFacts, RequestFacts
from pytest_llmbench.hardware.facts import Assessment, Energy, HardwareSummary
from pytest_llmbench.measure.facts import FailedRequest, Level
from pytest_llmbench.results.records import FailureRecord, HardwareRecord, LoadRecord

_PLAIN: dict[str, Any] = {
    "start": 0.0,
    "end": 2.0,
    "why": "steady",
    "trimmed": (0, 0),
    "sent": 20,
    "successful": 20,
    "failed": {},
    "warmup_failed": 0,
    "request_throughput": 10.0,
    "system_throughput": 40.0,
    "goodput": None,
    "goodput_unknown": None,
    "send_lag": None,
    "client_cpu": 0.2,
    "client": ClientFacts(stamps="kernel"),
    "tokens_per_chunk": 1.0,
    "hidden_tokens": 0,
    "untimed": None,
    "buffered": 0.0,
    "read_together": 0.0,
    "token_sources": {"usage": 20},
    "ignored_parts": {},
    "output_mismatch": 0,
    "in_flight": 4.0,
    "saturated": None,
    "saturation": "why",
    "invalid": None,
}


def a_level(**facts: Any) -> Level:
    return Level(**{**_PLAIN, **facts})


def a_load_record(**facts: Any) -> LoadRecord:
    return LoadRecord.model_validate(a_level(**facts), from_attributes=True)


def a_failure(
    kind: str = "status", detail: str = "overloaded", *, number: int = 0, status: int | None = 503
) -> FailedRequest:
    request = RequestFacts(number=number, at=0.0, status=status)
    return FailedRequest(kind=kind, detail=detail, ended=1.0, request=request)


def a_failure_record(*facts: Any, **more: Any) -> FailureRecord:
    return FailureRecord.model_validate(a_failure(*facts, **more), from_attributes=True)


def a_hardware_summary(**facts: Any) -> HardwareSummary:
    plain: dict[str, Any] = {
        "duration": 1.0,
        "samples": 10,
        "rate": 10.0,
        "values": {"rss": {"mean": 1.0, "max": 2.0}},
        "held_back": {},
        "energy": Energy(None, None, "there is no counter", {}),
        "peak_rss": 2,
        "peak_vram": None,
        "disturbance": Assessment((), {"steal": 0.0}, 1.0),
        "unavailable": {},
        "methods": {},
        "sampler_cpu": 0.1,
        "missed_beats": 0,
    }
    return HardwareSummary(**{**plain, **facts})


def a_hardware_record(**more: Any) -> HardwareRecord:
    """*more* may be keys that this version does not know."""
    return HardwareRecord.model_validate({**asdict(a_hardware_summary()), **more})
