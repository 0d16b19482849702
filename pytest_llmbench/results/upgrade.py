"""How does what an earlier schema wrote become what is written today?

A step takes a part of a document as JSON has it and changes it in place; steps are applied in their order.
They are never changed once they are released: a document that was kept for years goes through all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.records import SCHEMA_VERSION

Step = Callable[[Json], None]


_ROUND_OF_1 = (
    "ttft",
    "tpot",
    "e2e_latency",
    "prefill_throughput",
    "decode_throughput",
    "output_throughput",
    "tpot_all_tokens",
    "energy",
)
_PROCESS_OF_1 = ("load_time", "peak_rss", "peak_vram", "request_throughput", "system_throughput", "goodput")
_PER_TOKEN_OF_1 = {"energy": "energy_per_token", "instructions": "instructions_per_token"}
_CLIENT_OF_1 = ("stamps", "stamps_reason", "read_lag", "receiver", "real_time", "processes")


def _case_of_1(case: Json) -> None:
    """From schema 1, in which each metric had a key of its own, and one by the token had none."""
    _rename(case, "judgements", "judgments")
    model = case.get("model")
    if isinstance(model, dict) and model.get("backend") == "openai":
        model["backend"] = "server"
    for part in (case, *case["processes"]):
        if part.get("hardware") is not None:
            found = part["hardware"]["disturbance"]
            _gather(found, "figures", tuple(found.keys() - {"codes", "seconds", "unknown"}))
    for process in case["processes"]:
        process["values"] = _taken(process, _PROCESS_OF_1)
        for one in process["rounds"]:
            amounts = {name: one.get(name) for name in _PER_TOKEN_OF_1}
            one["values"] = _taken(one, _ROUND_OF_1)
            for name, by_token in _PER_TOKEN_OF_1.items():
                amount, tokens = amounts[name], one["output_tokens"]
                # What is no number is left to whoever checks it.
                if isinstance(amount, int | float) and isinstance(tokens, int) and tokens:
                    one["values"][by_token] = amount / tokens
        if process.get("load") is not None:
            _rename(process["load"], "client_processes", "processes")
            _gather(process["load"], "client", _CLIENT_OF_1)
        for failure in process.get("failures", ()):
            _rename(failure, "sent", "at")
            _gather(failure, "request", ("number", "at", "status", "attempts"))


def _taken(part: Json, names: Iterable[str]) -> Json:
    return {name: value for name in names if (value := part.pop(name, None)) is not None}


_CASES: dict[int, Step] = {1: _case_of_1}
"""By the major version from which a step leads to the next one. No header has changed yet."""

OLDEST = min(_CASES)
"""The oldest major version that is read."""
NOW = int(SCHEMA_VERSION.split(".")[0])


def _gather(part: Json, name: str, keys: tuple[str, ...]) -> None:
    """Have *keys* in an object of their own."""
    part[name] = {key: part.pop(key) for key in keys if key in part}


def _rename(part: Json, old: str, new: str) -> None:
    if old in part:
        part[new] = part.pop(old)


def major_of(schema_version: object) -> int:
    """The major version; today's where none is told, for whoever reads it refuses it."""
    text = str(schema_version).partition(".")[0]
    return int(text) if text.isdecimal() else NOW


def upgrade_case(case: Json, major: int) -> Json:
    """A case of a document of the *major* version, as today's schema has it."""
    for version in range(major, NOW):
        _CASES[version](case)
    return case


def upgrade_header(header: Json, major: int) -> Json:
    """Everything of a document but its cases, likewise."""
    if major < NOW:
        header["schema_version"] = SCHEMA_VERSION
    return header


def upgrade_document(document: Json, major: int) -> Json:
    """A whole document, likewise."""
    upgrade_header(document, major)
    cases = document.get("cases")
    for case in cases if isinstance(cases, list) else ():
        if isinstance(case, dict):
            upgrade_case(case, major)
    return document
