"""What is known of one case: its metrics and samples, its verdict, and what the machine did meanwhile?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from pytest_llmbench.metrics import units
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import UNTIMED, by_reason
from pytest_llmbench.report.judgment import explain
from pytest_llmbench.results.one_case import read_one_case
from pytest_llmbench.results.records import CaseRecord, Header, RoundRecord, label_of
from pytest_llmbench.results.verdict import Judgment
from pytest_llmbench.service.pages.asked import Answer, Asked, NotThereError, page
from pytest_llmbench.service.pages.charts import charts_for
from pytest_llmbench.service.pages.look import address
from pytest_llmbench.service.pages.sessions import document_path

if TYPE_CHECKING:
    from pytest_llmbench.hardware.facts import HardwareSummary

MOST_SAMPLES = 200
"""Rows: a level of load has thousands of requests."""
STATISTICS = ("median", "mean", "stddev", "min", "p90", "p95", "p99", "max")
_COLUMNS = ("ttft", "tpot", "e2e_latency", "decode_throughput", "cached_tokens", "energy")
"""Metrics of a round that stand in the table of samples, where any round has one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    name: str
    cells: tuple[str, ...]
    formula: str = ""
    left_out: bool = False
    """Whether the round is not part of the metrics."""


def show(asked: Asked) -> Answer:
    """One case of a session, by its place in the session's document."""
    position = asked.path["position"]
    if not (position.isascii() and position.isdigit() and len(position) < 8):
        msg = "A case is named by its place in the session, a number from 0."
        raise NotThereError(msg)
    document = read_one_case(document_path(asked.service, asked.path["session"]), int(position))
    case = document.cases[0]
    name = label_of(case.nodeid, case.measurement)
    heads, samples = _samples(case)
    return page(
        asked,
        "case.html",
        case={
            "name": name,
            "verdict": case.verdict,
            "outcome": case.outcome,
            "model": _model(case),
            "backend": case.model.backend,
            "error": case.error,
        },
        session=document.session.id,
        started=document.session.started,
        trend=address("/ui/trends", case=case.nodeid, metric=_first_metric(case)),
        reasons=_reasons(case),
        statistics=(*STATISTICS, "n"),
        metrics=_metrics(case),
        unknown=[
            f"{metric}: not known, {UNTIMED[why]}"
            for why, found in by_reason(case.unknown).items()
            for metric in found
        ],
        charts=charts_for(document),
        samples_head="Requests" if any(p.load for p in case.processes) else "Samples",
        sample_heads=heads,
        samples=samples[:MOST_SAMPLES],
        more_samples=max(0, len(samples) - MOST_SAMPLES),
        hardware=_hardware(document, case),
        protocol=_protocol(case),
        badge=_badge(case),
    )


def _badge(case: CaseRecord) -> dict[str, str]:
    """Where the case's badge is, and how a README shows it."""
    # What stands behind the last "/" of an id finds the case as well, and is one part of an address.
    name, metric = case.nodeid.rpartition("/")[2], _first_metric(case)
    where = address(f"/badge/{quote(name, safe='')}.svg", metric=metric)
    alt = f"{metric} of {case.name}"
    return {"where": where, "alt": alt, "markdown": f"![{alt}](http://HOST:PORT{where})"}


def _model(case: CaseRecord) -> str:
    model = case.model
    name = model.alias or model.name
    return name if model.quantization is None else f"{name} {model.quantization}"


def _first_metric(case: CaseRecord) -> str:
    return next((name for name in METRICS if METRICS[name].gates and name in case.metrics), "ttft")


def _reasons(case: CaseRecord) -> list[str]:
    """The judgments in full, the gravest first, and what holds for all of them."""
    found = [case.verdict_reason] if case.verdict_reason else []
    judgments = [
        Judgment(**{k: getattr(one, k) for k in Judgment.__dataclass_fields__}) for one in case.judgments
    ]
    found += [explain(one) for one in judgments if one.metric in METRICS]
    return found


def _metrics(case: CaseRecord) -> list[Row]:
    rows = []
    for name, one in case.metrics.items():
        cells = [units.quantity(getattr(one, statistic), one.unit) for statistic in STATISTICS]
        formula = METRICS[name].formula if name in METRICS else ""
        rows.append(Row(name, (*cells, str(one.n)), formula))
    return rows


def _samples(case: CaseRecord) -> tuple[list[str], list[Row]]:
    """The heads of the table of rounds, and a row a round."""
    rounds = case.rounds
    metrics = [name for name in _COLUMNS if any(name in one.values for one in rounds)]
    turns = any(one.turn is not None for one in rounds)
    heads = ["process · round", *(["turn"] if turns else []), *(METRICS[n].head or n for n in metrics)]
    heads += ["prompt tok", "output tok", "ended by", "not counted, because"]
    rows = []
    for index, process in enumerate(case.processes):
        for number, one in enumerate(process.rounds):
            cells = [_turn(one)] if turns else []
            cells += [units.quantity(one.values.get(name), METRICS[name].unit) for name in metrics]
            cells += [
                units.UNKNOWN if one.prompt_tokens is None else str(one.prompt_tokens),
                str(one.output_tokens),
                one.finish_reason,
                one.invalid or ", ".join(one.disturbance or ()) or ("" if one.counted else "not counted"),
            ]
            rows.append(Row(f"{index + 1} · {number + 1}", tuple(cells), left_out=bool(cells[-1])))
    return heads, rows


def _turn(one: RoundRecord) -> str:
    return "" if one.turn is None else f"{one.turn.turn} {one.turn.cache}"


def _hardware(header: Header, case: CaseRecord) -> list[tuple[str, str]]:
    machine = header.machine
    facts: list[tuple[str, str]] = []
    if machine is not None:
        cpu = str(machine.cpu.get("model") or "unknown")
        facts.append(("Processor", f"{cpu}, {machine.cpu.get('logical_cores') or '?'} cores"))
        facts.append(("Memory", units.size(_number(machine.memory.get("total")))))
        facts.append(("GPUs", ", ".join(str(gpu.get("name")) for gpu in machine.gpus) or "none"))
        facts.append(("Machine", machine.id))
    if (seen := case.hardware) is not None:
        facts += _seen(seen)
    facts.append(("Disturbed by", ", ".join(case.disturbance or ()) or _watched(case)))
    return facts


def _seen(seen: HardwareSummary) -> Iterable[tuple[str, str]]:
    yield "Peak memory", units.size(seen.peak_rss)
    if seen.peak_vram is not None:
        yield "Peak GPU memory", units.size(seen.peak_vram)
    joules = seen.energy.joules
    yield "Energy", units.joules(joules) if joules is not None else f"unknown: {seen.energy.reason}"
    for field, found in seen.values.items():
        if "mean" in found and "max" in found:
            yield field, f"{units.number(found['mean'])} on average, {units.number(found['max'])} at most"


def _watched(case: CaseRecord) -> str:
    unwatched = next((p.unwatched for p in case.processes if p.unwatched), None)
    return "nothing" if case.disturbance is not None else f"unknown: {unwatched or 'it was not watched'}"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _protocol(case: CaseRecord) -> Sequence[tuple[str, str]]:
    engine = case.processes[0].engine if case.processes else {}
    versions = case.processes[0].versions if case.processes else {}
    settings = {k: v for k, v in case.protocol.model_dump().items() if v not in (None, {}, [])}
    options = settings.pop("options", {})
    facts = [(name.replace("_", " "), str(value)) for name, value in settings.items()]
    facts += [(f"option: {name}", str(value)) for name, value in options.items() if value is not None]
    facts += [(f"engine: {name}", str(value)) for name, value in engine.items() if value is not None]
    facts += [(f"version of {name}", value) for name, value in versions.items()]
    if case.model.digest:
        facts.append(("weights", case.model.digest))
    return facts
