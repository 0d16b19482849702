"""Which measured cases are like that?

The state of the page is its address: the filters, further conditions as ``llmbench query`` takes them, and
how it is sorted.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pytest_llmbench.errors import UsageError
from pytest_llmbench.metrics import units
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.results.index.query import Query, run
from pytest_llmbench.results.records import label_of
from pytest_llmbench.results.verdict import Verdict
from pytest_llmbench.service.pages.asked import Answer, Asked, Choice, page
from pytest_llmbench.service.pages.jobs import Pages
from pytest_llmbench.service.pages.leaderboard import BESIDE, metric_choices
from pytest_llmbench.service.pages.look import address

ROWS = 50
_IDENTITY = (
    "session", "nodeid", "measurement", "model", "alias", "backend", "quantization", "outcome",
    "verdict", "started",
)  # fmt: skip
_FILTERS = (("model", "Model"), ("backend", "Backend"), ("quantization", "Quantization"))
_VALUES = 200
"""Of a filter."""
ORDERS = (("", "best first"), ("worst", "worst first"))


@dataclass(frozen=True, slots=True)
class Row:
    """One case."""

    name: str
    where: str
    session_where: str
    started: datetime
    model: str
    backend: str
    quantization: str | None
    values: tuple[str, ...]
    outcome: str
    verdict: str | None


def show(asked: Asked) -> Answer:
    """Cases by the filters of the query, fifty at a time."""
    chosen = {name: asked.one(name) for name in ("model", "backend", "quantization", "verdict")}
    where, sort = asked.one("where"), asked.one("sort")
    rows: list[Row] = []
    following, problem = None, None
    try:
        query = _query(chosen, where, sort, asked.one("order"), asked.one("after"))
        found = run(asked.service.database, query)
        rows = _rows(asked, found.rows, found.ids)
        following = found.next
    except UsageError as error:
        problem = str(error)
    return page(
        asked,
        "results.html",
        status=200 if problem is None else 422,
        filters=_filters(asked, chosen),
        where=where,
        sort=sort,
        sorts=[("", "newest"), *metric_choices()],
        order=asked.one("order"),
        orders=ORDERS,
        filtered=bool(where or any(chosen.values())),
        heads=[METRICS[name].head or name for name in BESIDE],
        cases=rows,
        count_said=f"{units.count(len(rows), 'case')} on this page",
        page=Pages(
            address("/ui/results", asked.query, after=None) if asked.one("after") else None,
            address("/ui/results", asked.query, after=following) if following else None,
        ),
        problem=problem,
    )


def _query(chosen: dict[str, str], where: str, sort: str, order: str, after: str) -> Query:
    if (verdict := chosen["verdict"]) and verdict not in {one.value for one in Verdict}:
        msg = f"there is no verdict {verdict!r}; there are {', '.join(one.value for one in Verdict)}"
        raise UsageError(msg)
    try:
        conditions = shlex.split(where)
    except ValueError:
        msg = "the conditions have a quotation mark that is not closed"
        raise UsageError(msg) from None
    conditions += [f"{name}={value}" for name, value in chosen.items() if value]
    by: list[str] = []
    if sort:
        falls = METRICS.named(sort).better == "higher"
        by = [f"-{sort}" if falls != (order == "worst") else sort]
    columns = (*_IDENTITY, *BESIDE)
    return Query(where=conditions, columns=columns, sort=by, limit=ROWS, after=after or None)


def _rows(asked: Asked, found: tuple[tuple[Any, ...], ...], ids: tuple[int, ...]) -> list[Row]:
    from sqlalchemy import select

    from pytest_llmbench.results.index.tables import cases

    with asked.service.database.reading() as connection:
        found_places = connection.execute(select(cases.c.id, cases.c.position).where(cases.c.id.in_(ids)))
        places = {row[0]: row[1] for row in found_places}
    rows = []
    for case, cells in zip(ids, found, strict=True):
        one = dict(zip((*_IDENTITY, *BESIDE), cells, strict=True))
        rows.append(
            Row(
                label_of(one["nodeid"].rpartition("/")[2], one["measurement"]),
                f"/ui/cases/{one['session']}/{places.get(case, 0)}",
                f"/ui/sessions/{one['session']}",
                one["started"],
                one["alias"] or one["model"],
                one["backend"],
                one["quantization"],
                tuple(units.quantity(one[name], METRICS[name].unit) for name in BESIDE),
                one["outcome"],
                one["verdict"],
            )
        )
    return rows


def _filters(asked: Asked, chosen: dict[str, str]) -> list[Choice]:
    from sqlalchemy import select

    from pytest_llmbench.results.index.tables import cases

    made = []
    with asked.service.database.reading() as connection:
        for name, label in _FILTERS:
            column = cases.c[name]
            known = select(column).where(column.is_not(None)).distinct().order_by(column).limit(_VALUES)
            values = [str(value) for value in connection.execute(known).scalars()]
            made.append(Choice(name, label, [(value, value) for value in values], chosen[name]))
    verdicts = [(one.value, one.value) for one in Verdict]
    return [*made, Choice("verdict", "Verdict", verdicts, chosen["verdict"])]
