"""Which cases of the index does a person ask for?

Conditions such as ``backend=llamacpp``, ``model~llama``, ``quantization=q4_0,q8_0`` and ``ttft.p95<500ms``
become a statement with bound values. The columns are those of the tables, and METRIC or METRIC.STATISTIC of
every metric that the index has.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Integer, Select, String, Text, and_, func, or_, select, true

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.metrics.reading import NUMBER, factors
from pytest_llmbench.results.index.tables import STATISTICS, Moment, cases, metrics, sessions

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, FromClause

    from pytest_llmbench.results.index.connection import Database

_CONDITION = re.compile(r"\s*([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)?)\s*(<=|>=|!=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
MOST = 1000
"""Rows of a page."""
_MOST_CONDITIONS, _MOST_COLUMNS, _LONGEST = 32, 64, 500
_GROUPED = 200_000
"""Rows from which groups are made; more are refused."""
DEFAULT_STATISTIC = "median"
_OF_METRIC = ("level", "n", "processes", *STATISTICS)
_HIDDEN = frozenset({"id", "params", "prompts", "position"})
_OF_SESSION = (
    "host", "machine", "cpu", "gpus", "memory", "hardware", "hardware_count", "market", "matrix", "cell",
    "cell_key", "commit_id", "commit_time", "branch", "dirty", "state",
)  # fmt: skip
OWN: dict[str, ColumnElement[Any]] = {
    **{column.name: column for column in cases.columns if column.name not in _HIDDEN},
    **{name: sessions.columns[name] for name in _OF_SESSION},
    "session": cases.columns["session_id"],
}
"""The columns that are of no metric."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked."""

    where: Sequence[str] = ()
    """Conditions, all of which hold."""
    columns: Sequence[str] = ()
    """What a row has beside the case's id."""
    sort: Sequence[str] = ()
    """Columns, the first first; ``-`` before one turns it around. By default the newest first."""
    limit: int = 50
    after: str | None = None
    """The cursor of the page before."""
    latest: bool = False
    """Of cases that compare, but for engine and weights, the newest alone that may be compared with; each
    machine has its own."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    ids: tuple[int, ...]
    """Of the cases, row by row."""
    next: str | None = None
    """The cursor of the next page; None for the last."""


@dataclass(slots=True)
class _Names:
    """The columns of one statement; a metric is joined once."""

    known: frozenset[str]
    joins: dict[str, FromClause] = field(default_factory=dict)

    def column(self, name: str) -> ColumnElement[Any]:
        """The column of a name.

        :raises UsageError: with the nearest one.
        """
        if name in OWN:
            return OWN[name]
        metric, _, statistic = name.partition(".")
        statistic = statistic or DEFAULT_STATISTIC
        if metric not in self.known:
            known = [*OWN, *sorted(self.known)]
            msg = f"there is no column {name[:80]!r}{suggest(metric, known)}"
            raise UsageError(msg)
        if statistic not in _OF_METRIC:
            msg = f"{name[:80]!r}: a metric has {', '.join(_OF_METRIC)}{suggest(statistic, _OF_METRIC)}"
            raise UsageError(msg)
        if metric not in self.joins:
            self.joins[metric] = metrics.alias(f"m{len(self.joins)}")
        return self.joins[metric].c[statistic]

    def joined(self, asked: Select[Any]) -> Select[Any]:
        """*asked*, of all tables that are needed."""
        tables: FromClause = cases.join(sessions, sessions.c.id == cases.c.session_id)
        for metric, alias in self.joins.items():
            same = and_(
                alias.c.started == cases.c.started, alias.c.case_id == cases.c.id, alias.c.name == metric
            )
            tables = tables.outerjoin(alias, same)
        return asked.select_from(tables)


def metric_names(connection: Connection) -> frozenset[str]:
    """The metrics that there are: those of this version, and what documents say of others."""
    from pytest_llmbench.metrics.table import METRICS
    from pytest_llmbench.results.index.tables import metric_rows
    from pytest_llmbench.results.records import MetricRow

    newest = select(metric_rows.c.name, metric_rows.c.row).order_by(metric_rows.c.session_id.desc())
    found = set(METRICS)
    for name, row in connection.execute(newest.where(metric_rows.c.name.not_in(found))):
        if name not in METRICS:
            METRICS.learn(MetricRow(**row).metric(name))
        found.add(name)
    return frozenset(found)


def run(database: Database, query: Query) -> Page:
    """The rows that *query* asks for.

    :raises UsageError: for a condition, a column or a cursor that cannot be.
    :raises ResultsError: if the database does not answer.
    """
    for what, given, most in (
        ("conditions", query.where, _MOST_CONDITIONS),
        ("columns", (*query.columns, *query.sort), _MOST_COLUMNS),
    ):
        if len(given) > most:
            msg = f"there are {len(given)} {what}; {most} can be asked at once"
            raise UsageError(msg)
    if not 1 <= query.limit <= MOST:
        msg = f"the limit is {query.limit}; it can be 1 to {MOST}"
        raise UsageError(msg)
    with database.reading() as connection:
        names = _Names(metric_names(connection))
        shown = [names.column(name) for name in query.columns]
        order = _order(query.sort, names)
        conditions = _conditions(query, names)
        if query.after is not None:
            conditions.append(_behind(query, order))
        keys = [column for column, _ in order]
        asked = names.joined(select(cases.c.id, *shown, *keys)).where(true(), *conditions)
        for column, down in order:
            # Where nothing can be missing, an index has the order already.
            if column.table not in (cases, sessions) or column.nullable:
                asked = asked.order_by(column.is_(None))
            asked = asked.order_by(column.desc() if down else column.asc())
        found = connection.execute(asked.limit(query.limit + 1)).all()
    page = found[: query.limit]
    more = len(found) > query.limit
    width = 1 + len(shown)
    return Page(
        tuple(query.columns),
        tuple(tuple(row[1:width]) for row in page),
        tuple(row[0] for row in page),
        _cursor(query, tuple(page[-1][width:])) if more else None,
    )


def groups(
    database: Database, query: Query, by: Sequence[str], values: Sequence[str]
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Cases in groups of equal columns *by*: how many, and of each of *values* median, least and most.

    :return: the heads of the columns, and the rows, sorted.
    :raises UsageError: as :func:`run`, or for more cases than can be grouped.
    """
    with database.reading() as connection:
        names = _Names(metric_names(connection))
        shown = [names.column(name) for name in (*by, *values)]
        asked = names.joined(select(*shown)).where(true(), *_conditions(query, names)).limit(_GROUPED + 1)
        found = connection.execute(asked).all()
    if len(found) > _GROUPED:
        msg = f"more than {_GROUPED} cases are asked for; add conditions"
        raise UsageError(msg)
    grouped: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in found:
        grouped.setdefault(tuple(row[: len(by)]), []).append(tuple(row[len(by) :]))
    rows = []
    for key, members in grouped.items():
        cells: list[Any] = [len(members)]
        for column in zip(*members, strict=True):
            there = [value for value in column if isinstance(value, int | float)]
            cells += [statistics.median(there), min(there), max(there)] if there else [None] * 3
        rows.append((*key, *cells))
    heads = [f"{name} {what}" for name in values for what in ("median", "min", "max")]
    return (*by, "cases", *heads), sorted(rows, key=lambda row: tuple(str(cell) for cell in row[: len(by)]))


def _conditions(query: Query, names: _Names) -> list[ColumnElement[bool]]:
    found = [_condition(text, names) for text in query.where]
    return [*found, _latest()] if query.latest else found


def _condition(text: str, names: _Names) -> ColumnElement[bool]:
    found = _CONDITION.fullmatch(text) if len(text) <= _LONGEST and _is_text(text) else None
    if found is None:
        msg = (
            f"{text[:80]!r} is not a condition; write COLUMN=VALUE, or with <, <=, >, >=, != or ~ (contains)"
        )
        raise UsageError(msg)
    name, sign, said = found.groups()
    column = names.column(name)
    if sign == "~":
        if not isinstance(column.type, String | Text):
            msg = f"{text[:80]!r}: {name} is not a text, and contains nothing"
            raise UsageError(msg)
        return func.lower(column).contains(said.lower(), autoescape=True)
    if sign in ("=", "!="):
        several = [_value(column, name, part, text) for part in said.split(",")]
        equal = or_(*(column.is_(None) if one is None else column == one for one in several))
        return equal if sign == "=" else ~equal if None in several else or_(~equal, column.is_(None))
    value = _value(column, name, said, text)
    if value is None or isinstance(value, bool):
        msg = f"{text[:80]!r}: {said!r} has no order; use = or !="
        raise UsageError(msg)
    ordered: dict[str, ColumnElement[bool]] = {
        "<": column < value,
        "<=": column <= value,
        ">": column > value,
        ">=": column >= value,
    }
    return ordered[sign]


def _value(column: ColumnElement[Any], name: str, said: str, text: str) -> Any:
    """What stands behind the sign, as the column has it; ``none`` is what is not there."""
    said = said.strip()
    if said.lower() in ("none", "null"):
        return None
    if isinstance(column.type, Moment):
        try:
            moment = datetime.fromisoformat(said)
        except ValueError:
            msg = f"{text[:80]!r}: {said!r} is not a time; write 2026-11-28, or 2026-11-28T14:00"
            raise UsageError(msg) from None
        if not 1970 <= moment.year < 9999:
            msg = f"{text[:80]!r}: nothing was measured then"
            raise UsageError(msg)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if isinstance(column.type, Boolean):
        if said.lower() not in ("yes", "no", "true", "false"):
            msg = f"{text[:80]!r}: {name} is yes or no"
            raise UsageError(msg)
        return said.lower() in ("yes", "true")
    if isinstance(column.type, String | Text):
        return said
    unit = _unit(name)
    found = re.fullmatch(f"(-?(?:{NUMBER}))\\s*(.*)", said)
    factor = None if found is None else {"": 1.0, **factors(unit)}.get(found[2])
    number = math.nan if found is None or factor is None else float(found[1]) * factor
    most = 2**31 if type(column.type) is Integer else 2**63
    if not math.isfinite(number) or abs(number) >= most:
        msg = f"{text[:80]!r}: {said!r} is not a number{f' of {unit}' if unit else ''}"
        raise UsageError(msg)
    return number


def _unit(name: str) -> str:
    from pytest_llmbench.metrics.table import METRICS

    metric, _, statistic = name.partition(".")
    known = metric in METRICS and name not in OWN and statistic not in ("n", "processes")
    return METRICS[metric].unit if known else ""


def _order(sort: Iterable[str], names: _Names) -> list[tuple[ColumnElement[Any], bool]]:
    """Columns with whether they fall; a case's number last, so that no two are at one place."""
    found = [(names.column(one.removeprefix("-")), one.startswith("-")) for one in sort]
    if not found:
        found = [(cases.c.started, True), (cases.c.position, False)]
    return [*found, (cases.c.id, False)]


def _latest() -> ColumnElement[bool]:
    other, its = cases.alias("newer"), sessions.alias("newer_session")
    newer = (
        select(other.c.id)
        .join(its, its.c.id == other.c.session_id)
        .where(
            other.c.nodeid == cases.c.nodeid,
            other.c.measurement == cases.c.measurement,
            other.c.work == cases.c.work,
            its.c.machine.is_not_distinct_from(sessions.c.machine),
            other.c.left_out.is_(None),
            or_(
                other.c.started > cases.c.started,
                and_(other.c.started == cases.c.started, other.c.id > cases.c.id),
            ),
        )
        .exists()
    )
    return and_(cases.c.left_out.is_(None), ~newer)


def _behind(query: Query, order: list[tuple[ColumnElement[Any], bool]]) -> ColumnElement[bool]:
    """What comes after the last row of the page before; what is not there comes last."""
    values = _place(query, [column for column, _ in order])
    steps = []
    for index, ((column, down), value) in enumerate(zip(order, values, strict=True)):
        same = [
            one.is_(None) if held is None else one == held
            for (one, _), held in zip(order[:index], values[:index], strict=True)
        ]
        if value is None:
            continue
        beyond = column < value if down else column > value
        steps.append(and_(*same, or_(beyond, column.is_(None))))
    return or_(*steps) if steps else ~true()


def _cursor(query: Query, place: tuple[Any, ...]) -> str:
    told = [one.isoformat() if isinstance(one, datetime) else one for one in place]
    return base64.urlsafe_b64encode(json.dumps([list(query.sort), told]).encode()).decode()


def _place(query: Query, columns: Sequence[ColumnElement[Any]]) -> list[Any]:
    try:
        sort, told = json.loads(base64.urlsafe_b64decode((query.after or "")[:4000].encode()))
        if sort != list(query.sort) or not isinstance(told, list) or len(told) != len(columns):
            raise ValueError
        return [_held(column, one) for column, one in zip(columns, told, strict=True)]
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise _no_cursor() from None


def _held(column: ColumnElement[Any], told: object) -> object:
    """What a cursor says that stands in a column."""
    if told is None:
        return None
    if isinstance(column.type, Moment):
        moment = datetime.fromisoformat(told) if isinstance(told, str) else None
        if moment is None or moment.tzinfo is None or not 1970 <= moment.year < 9999:
            raise ValueError
        return moment
    text = isinstance(column.type, String | Text)
    fits = isinstance(told, str) and _is_text(told) if text else isinstance(told, int | float)
    if not fits or (not isinstance(told, str) and not -(2**63) <= told < 2**63):  # type: ignore[operator]
        raise ValueError
    return told


def _is_text(text: str) -> bool:
    """Whether databases take it: without a NUL, or a half of a character that JSON can write."""
    return "\0" not in text and not any("\ud800" <= one <= "\udfff" for one in text)


def _no_cursor() -> UsageError:
    return UsageError("the cursor is not one of this query; take it from 'next' of the page before")
