"""What of a comparison belongs together: the turns of one conversation?

Each turn, and each way in which it was asked, is a case with verdicts of its own. A person reads them as one:
what failed or improved in rows, and of the others how many turns have the same to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmbench.report.judgment import judged_name
from pytest_llmbench.results.verdict import Judgment, Verdict

if TYPE_CHECKING:
    from pytest_llmbench.gate.compare import CaseComparison

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TURN = re.compile(r"(?P<label>.+) turn (?P<number>\d{1,9})(?P<cold> cold)?")
"""What a turn's measurement is called."""


class Summed(NamedTuple):
    """What became of the turns of a conversation."""

    rows: list[tuple[str, Judgment]]
    """What failed or improved: the turn, and its judgment."""
    lines: list[tuple[Verdict, str]]
    """What is to be said of the others, each with the verdict that it explains."""


def conversation_of(measurement: str) -> str | None:
    """What the conversation is called of which a measurement is a turn; None if it is not one."""
    found = _TURN.fullmatch(measurement)
    return None if found is None else found["label"]


def together(cases: Iterable[CaseComparison]) -> list[list[CaseComparison]]:
    """*cases*, the turns of one conversation in one list, and each other one in a list of its own."""
    found: dict[tuple[str, str, bool], list[CaseComparison]] = {}
    for one in cases:
        label = conversation_of(one.case.measurement)
        key = (one.nodeid, one.case.measurement if label is None else label, label is not None)
        found.setdefault(key, []).append(one)
    return list(found.values())


def turns_said(measurements: Iterable[str]) -> str:
    """``rag turn 1-3, 5, cold 1-6`` of the measurements of turns; other ones as they are called."""
    found: dict[str, dict[bool, list[int]]] = {}
    for one in measurements:
        match = _TURN.fullmatch(one)
        ways = found.setdefault(one if match is None else match["label"], {})
        if match is not None:
            ways.setdefault(match["cold"] is not None, []).append(int(match["number"]))
    return ", ".join(f"{label} {_ways(ways)}".strip() for label, ways in found.items())


def summed(cases: Sequence[CaseComparison]) -> Summed:
    """What is to be said of the turns of one conversation."""
    rows: list[tuple[str, Judgment]] = []
    others: dict[tuple[Verdict, str], dict[str, list[str]]] = {}
    for one in cases:
        turn = _turn(one.case.measurement)
        if one.verdict is Verdict.PASS and not one.improved:
            others.setdefault((one.verdict, ""), {}).setdefault("", []).append(one.case.measurement)
            continue
        if one.reason and one.mismatch is None:
            others.setdefault((one.verdict, one.reason), {}).setdefault("", []).append(one.case.measurement)
        for judgment in one.judgments:
            if judgment.decided_by is not None:
                continue
            if judgment.verdict is Verdict.FAIL or judgment.improved:
                rows.append((turn, judgment))
            elif judgment.verdict is not Verdict.PASS:
                key = (judgment.verdict, judgment.reason or "")
                metrics = others.setdefault(key, {})
                metrics.setdefault(judged_name(judgment), []).append(one.case.measurement)
    return Summed(rows, _lines(others))


def _lines(others: Mapping[tuple[Verdict, str], Mapping[str, list[str]]]) -> list[tuple[Verdict, str]]:
    """A line for each reason, of which those are one that differ in their numbers alone."""
    alike: dict[tuple[Verdict, tuple[str, ...]], tuple[list[str], dict[str, list[str]]]] = {}
    for (verdict, why), which in others.items():
        reasons, all_metrics = alike.setdefault((verdict, tuple(_NUMBER.split(why))), ([], {}))
        reasons.append(why)
        for metric, measurements in which.items():
            all_metrics.setdefault(metric, []).extend(measurements)
    return [
        (verdict, _line(verdict, _from_to(reasons), which))
        for (verdict, _), (reasons, which) in alike.items()
    ]


def _from_to(reasons: Sequence[str]) -> str:
    """Reasons that differ in their numbers alone, as one: ``about 9 to 300 pairs would decide it``."""
    said = zip(*(_NUMBER.findall(why) for why in reasons), strict=True)
    numbers = (sorted(dict.fromkeys(values), key=float) for values in said)
    spans = (found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}" for found in numbers)
    words = _NUMBER.split(reasons[0])
    return "".join([*(word + span for word, span in zip(words, spans, strict=False)), words[-1]])


def _line(verdict: Verdict, why: str, which: dict[str, list[str]]) -> str:
    """``inconclusive: turn 1-6, cold 1-6: ttft, tpot: WHY``."""
    by_turns: dict[str, list[str]] = {}
    for metric, measurements in which.items():
        by_turns.setdefault(_turns(measurements), []).append(metric)
    parts = [": ".join(filter(None, (turns, ", ".join(metrics)))) for turns, metrics in by_turns.items()]
    return ": ".join(filter(None, (verdict.value, "; ".join(parts), why)))


def _turn(measurement: str) -> str:
    """``turn 3``, ``turn 3 cold``."""
    found = _TURN.fullmatch(measurement)
    return measurement if found is None else f"turn {found['number']}{found['cold'] or ''}"


def _turns(measurements: Sequence[str]) -> str:
    label = conversation_of(measurements[0]) or ""
    return turns_said(measurements).removeprefix(f"{label} ")


def _ways(ways: dict[bool, list[int]]) -> str:
    if False not in ways:
        return f"cold turn {_ranges(ways[True])}" if ways else ""
    cold = f", cold {_ranges(ways[True])}" if True in ways else ""
    return f"turn {_ranges(ways[False])}{cold}"


def _ranges(numbers: Iterable[int]) -> str:
    """``1-3, 5``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
