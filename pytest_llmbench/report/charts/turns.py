"""What does a conversation cost turn by turn, and what does the cache save of it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.cases import (
    axis_of,
    bounded,
    entries,
    head_of,
    median_of,
    names_of,
    parts,
    slug,
)
from pytest_llmbench.report.charts.model import MOST_SERIES, Axis, Chart, Column, Series
from pytest_llmbench.report.rows import is_turn
from pytest_llmbench.report.turns import Held, Turn, held

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord, ResultsDocument

_NO_TURNS = "no conversation was held; suites hold them with conversation: NAME, and tests with llm_chat"
_TURN = Axis(label="turn")


@dataclass(frozen=True, slots=True)
class _Talk:
    name: str
    turns: tuple[Turn, ...]


def turns(documents: Sequence[ResultsDocument]) -> list[Chart]:
    """TTFT of each turn, with an empty cache and a warm one, and which share of its prompt the cache had."""
    found = _talks(documents)
    shown, note = bounded(found, (one.name for one in found), MOST_SERIES // 2)
    return [_latency(shown, note, "ttft"), _cached(shown, note)]


def _talks(documents: Sequence[ResultsDocument]) -> list[_Talk]:
    by_case = {id(entry.case): entry for entry in entries(documents)}
    found: list[Held] = []
    for document in documents:
        cases = [case for case in document.cases if is_turn(case) and case.metrics]
        found += [one for one in held(cases) if not one.label.endswith(BASE_SUFFIX)]
    told = [{**parts(by_case[id(one.first)]), "measurement": one.label} for one in found]
    return [_Talk(name, one.turns) for name, one in zip(names_of(told), found, strict=True)]


def _latency(shown: Sequence[_Talk], note: str | None, metric: str) -> Chart:
    ways: tuple[tuple[str, Callable[[Turn], CaseRecord | None]], ...] = (
        ("warm", lambda turn: turn.warm),
        ("cold", lambda turn: turn.cold),
    )
    series = []
    for place, talk in enumerate(shown):
        for way, of in ways:
            # A conversation's first turn has nothing to be warm with.
            points = [
                (float(turn.number), median_of(case, metric), _hit(case))
                for turn in talk.turns
                if (case := of(turn) or (turn.cold if turn.number == 1 else None)) is not None
            ]
            if any(of(turn) is not None for turn in talk.turns if turn.number > 1 or way == "cold"):
                series.append(
                    Series(
                        name=f"{talk.name}, {way}" if len(shown) > 1 else way,
                        points=tuple(point[:2] for point in points),
                        labels=tuple(point[2] for point in points),
                        color=place,
                        style="solid" if way == "warm" else "dashed",
                    )
                )
    drawn = any(one.drawn for one in series)
    unit = METRICS[metric].unit
    return Chart(
        id=slug("turns", metric),
        title=f"{head_of(metric)} by turn",
        question="How long does the first token take as a conversation grows, and what does the cache save?",
        x=_TURN,
        y=axis_of(metric),
        series=tuple(series) if drawn else (),
        columns=(
            Column(head="conversation"),
            Column(head="turn"),
            Column(head="prompt", unit="tokens"),
            Column(head=f"{head_of(metric)} cold", unit=unit),
            Column(head=f"{head_of(metric)} warm", unit=unit),
            Column(head="cached", unit="tokens"),
            Column(head="possible", unit="tokens"),
        ),
        rows=tuple(
            (
                talk.name,
                turn.number,
                _prompt(turn.shown),
                None if turn.cold is None else median_of(turn.cold, metric),
                None if turn.warm is None else median_of(turn.warm, metric),
                median_of(turn.shown, "cached_tokens"),
                median_of(turn.shown, "cached_possible"),
            )
            for talk in shown
            for turn in talk.turns
        ),
        note=note,
        missing=None if drawn else _NO_TURNS if not shown else f"no turn has {metric}",
    )


def _cached(shown: Sequence[_Talk], note: str | None) -> Chart:
    series = []
    for place, talk in enumerate(shown):
        for metric, style in (("cached_tokens", "solid"), ("cached_possible", "dotted")):
            points = []
            for turn in talk.turns:
                case = turn.shown
                prompt, tokens = _prompt(case), median_of(case, metric)
                share = None if not prompt or tokens is None else tokens / prompt
                points.append((float(turn.number), share))
            if any(share is not None for _, share in points):
                said = head_of(metric)
                series.append(
                    Series(
                        name=f"{talk.name}, {said}" if len(shown) > 1 else said,
                        points=tuple(points),
                        labels=tuple(_hit(turn.shown) for turn in talk.turns),
                        color=place,
                        style="solid" if style == "solid" else "dotted",
                    )
                )
    return Chart(
        id="turns-cached",
        title="Share of the prompt that lay in the cache, by turn",
        question="Which share of each prompt did the cache have, of what it could have had?",
        x=_TURN,
        y=Axis(label="share of the prompt", unit="share"),
        series=tuple(series),
        columns=(
            Column(head="conversation"),
            Column(head="turn"),
            Column(head="prompt", unit="tokens"),
            Column(head="cached", unit="tokens"),
            Column(head="possible", unit="tokens"),
        ),
        rows=tuple(
            (
                talk.name,
                turn.number,
                _prompt(turn.shown),
                median_of(turn.shown, "cached_tokens"),
                median_of(turn.shown, "cached_possible"),
            )
            for talk in shown
            for turn in talk.turns
        ),
        note=note,
        missing=None
        if series
        else _NO_TURNS
        if not shown
        else "no turn says how many tokens the cache had; a server has to report cached_tokens",
    )


def _prompt(case: CaseRecord) -> float | None:
    """The median of its prompts' tokens."""
    from statistics import median

    known = [one.prompt_tokens for one in case.rounds if one.prompt_tokens is not None]
    return float(median(known)) if known else None


def _hit(case: CaseRecord) -> str:
    """``688 of 746 prompt tokens cached``; empty where that is not known."""
    cached, prompt = median_of(case, "cached_tokens"), _prompt(case)
    return "" if cached is None or prompt is None else f"{cached:.10g} of {prompt:.10g} prompt tokens cached"
