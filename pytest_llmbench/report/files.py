"""What do a session's four files say: of each conversation, of each of its turns, and of the system?

``NAME.csv`` has a row a conversation, ``NAME.json`` everything with its turns, ``NAME.md`` the same for a
person, and ``NAME_system.json`` the machine, the versions and the commit. NAME is the session's id. A case
that is not of a conversation stands as one of a single turn.

Turns differ in their prompts, so their values are never pooled: a conversation's number is the mean of the
medians of its turns; of memory it is the highest of them, and tokens are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import pydantic_core

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import UNKNOWN, cell, quantity
from pytest_llmbench.report.markdown import escaped, markdown_table
from pytest_llmbench.report.rows import is_turn
from pytest_llmbench.report.turns import held
from pytest_llmbench.results.exports.about import settings, system
from pytest_llmbench.results.exports.text import csv_text
from pytest_llmbench.results.records import label_of
from pytest_llmbench.results.rows import STATISTICS, Cell, case_row

if TYPE_CHECKING:
    from pytest_llmbench.processes.wire import Json
    from pytest_llmbench.results.records import CaseRecord, ResultsDocument


@dataclass(frozen=True, slots=True)
class Conversation:
    """The turns of one conversation, asked in one way; or the one case that is not of any."""

    name: str
    turns: Sequence[CaseRecord]

    @property
    def first(self) -> CaseRecord:
        return self.turns[0]

    @property
    def outcome(self) -> str:
        """That of the first turn that did not pass."""
        return next((case.outcome for case in self.turns if case.outcome != "passed"), "passed")

    @property
    def cache(self) -> str | None:
        """``warm`` where any turn was; None of what is not a conversation."""
        ways = [way for case in self.turns if (way := case.protocol.way) is not None]
        return None if not ways else "warm" if "warm" in ways else "cold"

    def tokens(self, which: str) -> int | None:
        """Those of all its turns: ``prompt_tokens`` or ``output_tokens``; None where one is not known."""
        counts = [
            next((count for one in case.rounds if (count := getattr(one, which)) is not None), None)
            for case in self.turns
        ]
        return None if None in counts else sum(count for count in counts if count is not None)

    def values(self) -> dict[str, tuple[float, str, str]]:
        """By metric the value, how it was made of the turns' (``mean``, ``max``, ``sum``), and the unit.

        A metric of a whole case is left out: there is no mean of shares.
        """
        found: dict[str, tuple[float, str, str]] = {}
        for name in dict.fromkeys(name for case in self.turns for name in case.metrics):
            records = [record for case in self.turns if (record := case.metrics.get(name)) is not None]
            unit, medians = records[0].unit, [record.median for record in records]
            how = _HOW.get(unit, "mean")
            # Of a sum, no part may be missing.
            if METRICS[name].scope != "case" and (how != "sum" or len(medians) == len(self.turns)):
                found[name] = (_MADE[how](medians), how, unit)
        return found

    def hit_rate(self) -> float | None:
        """Cached tokens over prompt tokens, each of all turns."""
        cached, prompts = self.values().get("cached_tokens"), self.tokens("prompt_tokens")
        return cached[0] / prompts if cached is not None and prompts else None


_HOW = {"bytes": "max", "tokens": "sum"}
_MADE: Mapping[str, Callable[[Sequence[float]], float]] = {"mean": fmean, "max": max, "sum": sum}


def conversations(cases: Iterable[CaseRecord]) -> Iterator[Conversation]:
    """The conversations of *cases*; one that was asked in both ways is two."""
    cases = list(cases)
    for one in held(case for case in cases if is_turn(case)):
        cold = [turn.cold for turn in one.turns if turn.cold is not None]
        name = one.first.protocol.conversation or one.label
        if len(cold) == len(one.turns):
            yield Conversation(name, cold)
        if any(turn.warm is not None for turn in one.turns):
            yield Conversation(name, [turn.shown for turn in one.turns])
    yield from (Conversation(case.measurement, [case]) for case in cases if not is_turn(case))


def to_files(document: ResultsDocument) -> Mapping[str, bytes]:
    """The four files by their names."""
    name, found = document.session.id, list(conversations(document.cases))
    return {
        f"{name}.csv": csv_text([{one.head: one.value for one in _cells(talk)} for talk in found]).encode(),
        f"{name}.json": _json(_whole(document, found)),
        f"{name}.md": _markdown(document, found).encode(),
        f"{name}_system.json": _json(system(document)),
    }


def _json(data: Json) -> bytes:
    return pydantic_core.to_json(data, indent=2, inf_nan_mode="null") + b"\n"


def _cells(one: Conversation) -> Iterator[Cell]:
    case = one.first
    yield Cell("nodeid", case.nodeid)
    yield Cell("conversation", one.name)
    yield Cell("backend", case.model.backend)
    yield Cell("model", case.model.name)
    yield Cell("quantization", case.model.quantization)
    yield Cell("cache", one.cache)
    yield Cell("outcome", one.outcome)
    yield Cell("turns", len(one.turns))
    yield Cell("prompt_tokens", one.tokens("prompt_tokens"))
    yield Cell("output_tokens", one.tokens("output_tokens"))
    yield Cell("cache_hit_rate", one.hit_rate(), "number", METRICS["cache_hit_rate"].unit)
    for name, (value, how, unit) in one.values().items():
        yield Cell(f"{name}_{how}", value, "number", unit)


def _whole(document: ResultsDocument, found: Sequence[Conversation]) -> Json:
    return {
        "metadata": {
            "session": document.session.id,
            "started": document.session.started,
            "ended": document.session.ended,
            "state": document.session.state,
            "schema_version": document.schema_version,
        },
        "system": system(document),
        "conversations": [
            {
                **{its.name: its.value for its in _cells(one)},
                "configuration": settings(one.first),
                "turns": [_turn(document, case) for case in one.turns],
            }
            for one in found
        ],
    }


def _turn(document: ResultsDocument, case: CaseRecord) -> Json:
    row = case_row(document, case)
    facts = ("measurement", "turn", "cache", "outcome", "error", "prompt_tokens", "output_tokens", "rounds")
    return {
        **{name: row[name] for name in facts},
        "verdict": case.verdict,
        "disturbance": case.disturbance,
        "started": next((one.started for one in case.rounds), None),
        "metrics": {
            name: {"unit": record.unit, **{one: getattr(record, one) for one in STATISTICS}}
            for name, record in case.metrics.items()
        },
    }


# -- for a person ------------------------------------------------------------------------------


def _markdown(document: ResultsDocument, found: Sequence[Conversation]) -> str:
    session = document.session
    parts = [
        f"# Benchmark {escaped(session.id)}",
        f"{escaped(session.state.capitalize())}, started {escaped(session.started)}.",
        "## System\n\n" + _list(_system_facts(document)),
        "## Configuration\n\n" + _list(_common(found)),
        "## Summary\n\n" + _summary(found),
        "## Results\n\n" + markdown_table(document.cases),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _list(facts: Iterable[tuple[str, object]]) -> str:
    return "\n".join(f"- {escaped(name)}: {escaped(str(value))}" for name, value in facts) or UNKNOWN


def _system_facts(document: ResultsDocument) -> Iterator[tuple[str, object]]:
    machine = document.machine
    if machine is not None:
        cores = machine.cpu.get("physical_cores") or machine.cpu.get("logical_cores")
        yield "CPU", f"{machine.cpu.get('model') or UNKNOWN}, {cores or UNKNOWN} cores"
        memory = machine.memory.get("total")
        yield "memory", quantity(memory, "bytes") if isinstance(memory, int | float) else UNKNOWN
        yield "GPUs", ", ".join(str(gpu.get("name")) for gpu in machine.gpus) or "none"
        yield "system", machine.os.get("distribution") or machine.os.get("system") or UNKNOWN
    yield "commit", document.commit.short or UNKNOWN
    yield from sorted(document.versions.items())


def _common(found: Sequence[Conversation]) -> Iterator[tuple[str, object]]:
    """The settings that all cases have alike: what differs is in their names and tables."""
    every = [settings(case) for one in found for case in one.turns]
    for name, value in every[0].items() if every else ():
        if all(name in one and one[name] == value for one in every):
            yield name, value


def _summary(found: Sequence[Conversation]) -> str:
    """A row a conversation: what its table of cases has of metrics, over its turns."""
    rows = [row for row in METRICS.values() if any(shown.table == "cases" for shown in row.shown)]
    values = [one.values() for one in found]
    rows = [row for row in rows if any(row.name in known for known in values)]
    heads = ["test", "conversation", "cache", "turns", *(row.head or row.name for row in rows)]
    lines = [heads, [":---", ":---", ":---", *("---:" for _ in heads[3:])]]
    for one, its in zip(found, values, strict=True):
        cells = [its.get(row.name) for row in rows]
        name = label_of(one.first.nodeid, "default" if is_turn(one.first) else one.first.measurement)
        lines.append(
            [
                escaped(name + ("" if one.outcome == "passed" else f" ({one.outcome})")),
                escaped(one.name) if is_turn(one.first) else UNKNOWN,
                one.cache or UNKNOWN,
                str(len(one.turns)),
                *(UNKNOWN if known is None else cell(known[0], known[2]) for known in cells),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
