"""How did a metric of a case go over the sessions, and where does its line break?"""

from __future__ import annotations

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.trend import pasts_of_index, trends
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.service.pages.asked import Answer, Asked, page
from pytest_llmbench.service.pages.charts import trend_charts
from pytest_llmbench.service.pages.leaderboard import metric_choices

MOST_CHARTS = 20
MOST_KNOWN = 200
MOST_LEFT_OUT = 20
DEFAULT = "decode_throughput"


def show(asked: Asked) -> Answer:
    """The lines of the cases with ``case`` in their ids, of ``metric``."""
    case, metric = asked.one("case"), asked.one("metric") or DEFAULT
    problem = None if metric in METRICS else f"there is no metric {metric!r}; choose one of the list"
    found = []
    if case and problem is None:
        try:
            found = trends(pasts_of_index(asked.service.database, case, metric), metric)
        except UsageError as error:
            problem = str(error)
        if not found and problem is None:
            problem = f"no session measured {metric} of a case with {case!r} in its id"
    left_out = [text for one in found for text in one.left_out]
    if len(found) > MOST_CHARTS:
        left_out.insert(0, f"{len(found) - MOST_CHARTS} more cases; write more of the id")
    return page(
        asked,
        "trends.html",
        status=200 if problem is None else 404,
        case=case,
        metric=metric,
        name=case if found else "",
        known=_known(asked),
        metrics=metric_choices(),
        charts=trend_charts(found[:MOST_CHARTS]),
        left_out=left_out[:MOST_LEFT_OUT],
        problem=problem,
    )


def _known(asked: Asked) -> list[str]:
    """The ids of cases, those that were measured last first."""
    from sqlalchemy import func, select

    from pytest_llmbench.results.index.tables import cases

    newest = func.max(cases.c.started)
    wanted = select(cases.c.nodeid).group_by(cases.c.nodeid).order_by(newest.desc()).limit(MOST_KNOWN)
    with asked.service.database.reading() as connection:
        return list(connection.execute(wanted).scalars())
