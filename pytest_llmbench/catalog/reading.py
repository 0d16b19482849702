"""How are the configurations of a catalog read from the index?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
from sqlalchemy import and_, func, select

from pytest_llmbench.catalog.row import MOST, STATISTICS, Row, name_of_test
from pytest_llmbench.errors import ResultsError
from pytest_llmbench.results.index.tables import cases, metrics, sessions
from pytest_llmbench.workloads.arrivals import level_label

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy import ColumnElement, Connection

_CONFIGURATION = (
    cases.c.nodeid,
    cases.c.measurement,
    cases.c.work,
    sessions.c.hardware,
    sessions.c.hardware_count,
    sessions.c.market,
)
"""What is equal for two cases of one configuration: ``work`` does not say which test it is, and on what."""
_FEW = 500
"""Cases that are asked for by their ids."""


def _valid() -> ColumnElement[bool]:
    """Whether a case says anything: it was measured, and nothing failed in it."""
    return and_(cases.c.outcome == "passed", cases.c.left_out.is_(None))


def read_rows(connection: Connection) -> tuple[list[Row], int]:
    """The latest valid case of each configuration, and of how many no case is valid.

    One that other load spoiled is taken only where there is none that it did not.

    :raises ResultsError: for more than :data:`.row.MOST`.
    """
    joined = cases.join(sessions, sessions.c.id == cases.c.session_id)
    number = (
        func.row_number()
        .over(
            partition_by=_CONFIGURATION,
            order_by=(cases.c.spoiled.is_not(None), cases.c.started.desc(), cases.c.id.desc()),
        )
        .label("number")
    )
    wanted = [
        cases.c.id, cases.c.session_id, cases.c.position, cases.c.nodeid, cases.c.name, cases.c.measurement,
        cases.c.workload, cases.c.task, cases.c.model, cases.c.alias, cases.c.quantization, cases.c.backend,
        cases.c.server, cases.c.engine_version, cases.c.concurrency, cases.c.conversations,
        cases.c.request_rate, cases.c.started, cases.c.prompt_tokens, cases.c.output_tokens, cases.c.spoiled,
        sessions.c.hardware, sessions.c.hardware_count, sessions.c.market, sessions.c.machine,
    ]  # fmt: skip
    newest = select(*wanted, number).select_from(joined).where(_valid()).subquery()
    asked = select(newest).where(newest.c.number == 1).order_by(newest.c.id).limit(MOST + 1)
    found = connection.execute(asked).all()
    if len(found) > MOST:
        msg = f"the index has more than {MOST:,} configurations: a catalog holds so many"
        raise ResultsError(msg)
    configurations = select(*_CONFIGURATION).select_from(joined).distinct().subquery()
    of_all = connection.execute(select(func.count()).select_from(configurations)).scalar_one()
    rows = [
        Row(
            case=one.id,
            session=_shared(one.session_id),
            position=one.position,
            nodeid=one.nodeid,
            workload=_shared(one.workload or one.task),
            test=_shared(name_of_test(one.nodeid, one.measurement)),
            model=_shared(one.alias or one.model),
            quantization=_shared(one.quantization),
            engine=_shared(one.server or one.backend),
            engine_version=_shared(one.engine_version),
            hardware=_shared(one.hardware),
            count=one.hardware_count or 1,
            market=_shared(one.market),
            load=level_label(one.concurrency, one.conversations, one.request_rate),
            measured=one.started,
            prompt_tokens=one.prompt_tokens,
            output_tokens=one.output_tokens,
            machine=_shared(one.machine),
            spoiled=_shared(one.spoiled),
        )
        for one in found
    ]
    return rows, max(0, of_all - len(rows))


def read_values(
    connection: Connection, ids: Sequence[int], names: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """The values of the cases *ids*, by ``METRIC.STATISTIC``."""
    places = {case: place for place, case in enumerate(ids)}
    shown = [metrics.c.case_id, metrics.c.name, metrics.c.level, *(metrics.c[name] for name in STATISTICS)]
    asked = select(*shown).where(metrics.c.name.in_(names))
    if len(ids) < _FEW:
        asked = asked.where(metrics.c.case_id.in_(ids))
    columns: dict[str, NDArray[np.float64]] = {}
    for case, name, level, *values in connection.execute(asked):
        place = places.get(case)
        if place is None:
            continue
        for statistic, value in zip(STATISTICS, values, strict=True):
            # What comparisons take leaves out what other load disturbed.
            value = level if statistic == "median" and level is not None else value
            if value is None:
                continue
            key = f"{name}.{statistic}"
            if key not in columns:
                columns[key] = np.full(len(ids), np.nan)
            columns[key][place] = value
    return columns


@overload
def _shared(text: str) -> str: ...
@overload
def _shared(text: str | None) -> str | None: ...
def _shared(text: str | None) -> str | None:
    """The same text, kept once: thousands of rows have it."""
    return None if text is None else sys.intern(text)
