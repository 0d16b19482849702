"""Which configuration should I take, and why that one?

What is asked stands in the address: limits, a budget, a use case, and what matters beyond them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pytest_llmbench.catalog.ask import Ask
from pytest_llmbench.catalog.criteria import CRITERIA, USUAL
from pytest_llmbench.catalog.entries import told
from pytest_llmbench.catalog.uses import USES
from pytest_llmbench.errors import UsageError
from pytest_llmbench.metrics import units
from pytest_llmbench.report.advice import TITLES
from pytest_llmbench.results.records import Market
from pytest_llmbench.service.pages.asked import Answer as PageAnswer
from pytest_llmbench.service.pages.asked import Asked, page
from pytest_llmbench.service.pages.pareto import Measure, Point, front_chart

if TYPE_CHECKING:
    from pytest_llmbench.catalog.answer import Answer, Configuration, Entry
    from pytest_llmbench.report.charts.model import Chart

LIMITS = (
    ("ttft", "First token (TTFT)", "p95<500ms"),
    ("tpot", "Each next token (TPOT)", "p95<50ms"),
    ("e2e_latency", "Whole answer (E2E)", "p95<10s"),
    ("system_throughput", "All requests together", "median>500"),
)
"""Limits that have a field: the metric, the label, and how one is written."""
AXES = (
    ("models", "Models", "llama-*"),
    ("hardware", "Hardware", "L4, A100-80GB"),
    ("engines", "Engines", "vllm"),
    ("quantizations", "Quantizations", "q8_0, q4_0"),
    ("loads", "Loads", "c8, c32"),
)
"""What may be chosen among, by commas."""
MOST_DRAWN = 300
"""Configurations in the picture."""
MOST_WORKLOADS = 100


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the form: its name, label, how it may be filled, and what was."""

    name: str
    label: str
    example: str
    value: str


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration of the ranking."""

    rank: int
    label: str
    where: str
    score: str
    between: str
    cells: tuple[str, ...]
    why: str
    more: tuple[str, ...]


def show(asked: Asked) -> PageAnswer:
    """The form, and what the catalog answers to it; without a query, what it says of all alike."""
    question, answer, chart, problem = None, None, None, None
    try:
        question = read(asked)
        answer = asked.service.recommend(question)
        if answer.ranked:
            every = question.model_copy(update={"every": True, "top": MOST_DRAWN})
            chart = picture(asked.service.recommend(every))
    except UsageError as error:
        problem = str(error)
    names = [] if answer is None else _columns(answer)
    return page(
        asked,
        "recommend.html",
        status=200 if problem is None else 422,
        use=asked.one("use"),
        uses=[(name, f"{name}: {use.description}") for name, use in USES.items()],
        limits=_fields(asked, LIMITS, "slo."),
        axes=_fields(asked, AXES),
        more=any(asked.one(name) for name, _, _ in AXES) or bool(asked.one("min_quality")),
        budget=asked.one("budget"),
        min_quality=asked.one("min_quality"),
        market=asked.one("market") or "on_demand",
        markets=[(name, name.replace("_", " ")) for name in get_args(Market)],
        workload=asked.one("workload"),
        workloads=_workloads(answer),
        weights=[
            Field(f"weight.{name}", row.head, f"{_usual(asked).get(name, 0):g}", asked.one(f"weight.{name}"))
            for name, row in CRITERIA.items()
        ],
        weighted=any(asked.one(f"weight.{name}") for name in CRITERIA),
        every=asked.one("every") == "yes",
        answer=answer,
        said=[] if answer is None else _said(answer),
        heads=[CRITERIA[name].head for name in names],
        rows=[] if answer is None else [_row(entry, names) for entry in answer.ranked],
        excluded=[] if answer is None else [one for one in answer.excluded if one.count or one.unknown],
        bests=[] if answer is None else _bests(answer),
        charts=[] if chart is None else [chart],
        told=told,
        where=where,
        question=None if question is None else json.dumps(question.model_dump(exclude_defaults=True)),
        problem=problem,
    )


def read(asked: Asked) -> Ask:
    """What the query asks for.

    :raises UsageError: in one line, for what cannot be.
    """
    weights = {}
    for name in CRITERIA:
        if text := asked.one(f"weight.{name}"):
            try:
                weights[name] = float(text)
            except ValueError:
                msg = f"the weight of {CRITERIA[name].head} is {text!r}; it has to be a number, such as 2"
                raise UsageError(msg) from None
    lists = {
        name: [part.strip() for part in asked.one(name).split(",") if part.strip()] for name, _, _ in AXES
    }
    given: dict[str, Any] = {
        "slo": {name: text for name, _, _ in LIMITS if (text := asked.one(f"slo.{name}"))},
        "weights": weights,
        "every": asked.one("every") == "yes",
        **lists,
        **{name: asked.one(name) or None for name in ("use", "budget", "min_quality", "workload", "market")},
        "top": 10,
    }
    return Ask.of(**given)


def where(configuration: Configuration) -> str:
    """The page of what measured it."""
    return f"/ui/cases/{configuration.session}/{configuration.position}"


def picture(answer: Answer) -> Chart | None:
    """The configurations that meet the limits, by those two criteria of which most depends."""
    heaviest = sorted(answer.weights, key=lambda name: -answer.weights[name])
    names = list(dict.fromkeys([*heaviest, *_columns(answer)]))[:2]
    if len(names) < 2:
        return None
    points = [
        Point(entry.configuration.label, entry.configuration.engine, right, up)
        for entry in answer.ranked
        if (right := entry.values[names[0]]) is not None and (up := entry.values[names[1]]) is not None
    ]
    if not points:
        return None
    x, y = (
        Measure(CRITERIA[name].head, CRITERIA[name].unit, "lower" if CRITERIA[name].lower else "higher")
        for name in names
    )
    note = None
    if answer.meeting > len(points):
        note = f"Shown are the best {len(points)} of the {answer.meeting} that meet every limit."
    title = f"{x.head[0].upper()}{x.head[1:]} against {y.head}"
    return front_chart(points, x, y, chart_id="recommend", title=title, note=note)


def _fields(asked: Asked, rows: tuple[tuple[str, str, str], ...], prefix: str = "") -> list[Field]:
    return [
        Field(f"{prefix}{name}", label, example, asked.one(f"{prefix}{name}"))
        for name, label, example in rows
    ]


def _usual(asked: Asked) -> dict[str, float]:
    use = next((one for name, one in USES.items() if name == asked.one("use")), None)
    return dict(USUAL if use is None else use.weights)


def _workloads(answer: Answer | None) -> list[tuple[str, str]]:
    if answer is None or not answer.test:
        return []
    return [(name, name) for name in (answer.test, *answer.others)[:MOST_WORKLOADS]]


def _columns(answer: Answer) -> list[str]:
    """The criteria that count, and those of which anything is known."""
    known = [
        name
        for name in CRITERIA
        if name not in answer.weights and any(entry.values.get(name) is not None for entry in answer.ranked)
    ]
    return [*answer.weights, *known]


def _row(entry: Entry, names: list[str]) -> Row:
    cells = tuple(told(entry.values.get(name), CRITERIA[name].unit) for name in names)
    ties = ", ".join(map(str, entry.ties))
    low, high = entry.interval
    return Row(
        entry.rank,
        entry.configuration.label,
        where(entry.configuration),
        f"{entry.score:.3f}",
        f"{low:.3f} to {high:.3f}",
        cells,
        entry.why,
        (*((f"noise alone tells it from rank {ties}",) if ties else ()), *entry.unknown),
    )


def _said(answer: Answer) -> list[str]:
    """How many configurations are left after what."""
    said = [f"{answer.meeting:,} of {units.count(answer.evaluated, 'configuration')} meet every limit"]
    if answer.beaten:
        said.append(f"{answer.beaten:,} of them are beaten by another one in everything that counts")
    if answer.shown_once:
        said.append(f"{answer.shown_once:,} more are not shown, since their model has a better place")
    return said


def _bests(answer: Answer) -> list[tuple[str, Configuration]]:
    return [(TITLES[name], found) for name, found in answer.lists.items() if found is not None]
