"""How do the configurations of some documents become a catalog, without an index?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_llmbench.catalog.row import STATISTICS, Row, name_of_test
from pytest_llmbench.catalog.rows import Catalog
from pytest_llmbench.results.cell import hardware_of
from pytest_llmbench.results.index.facts import CaseFacts, case_facts
from pytest_llmbench.results.rows import case_row
from pytest_llmbench.times import read_iso
from pytest_llmbench.workloads.arrivals import level_label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmbench.results.records import CaseRecord, ResultsDocument


def catalog_of(documents: Sequence[ResultsDocument]) -> Catalog:
    """The catalog that an index of *documents* would have; a row's case is the number of it among them."""
    newest: dict[tuple[object, ...], tuple[tuple[bool, datetime, int], Row, CaseRecord, CaseFacts]] = {}
    asked: set[tuple[object, ...]] = set()
    number = 0
    for document in documents:
        hardware, count = hardware_of(document)
        cell = document.session.cell
        market = None if cell is None else cell.market
        started = datetime.fromtimestamp(read_iso(document.session.started), UTC)
        for position, case in enumerate(document.cases):
            number += 1
            facts = case_facts(case, document)
            key = (case.nodeid, case.measurement, facts.work, hardware, count, market)
            asked.add(key)
            if case.outcome != "passed" or facts.left_out is not None:
                continue
            order = (facts.spoiled is None, started, number)
            if key in newest and newest[key][0] > order:
                continue
            told: dict[str, Any] = case_row(document, case)
            row = Row(
                case=number,
                session=document.session.id,
                position=position,
                nodeid=case.nodeid,
                workload=facts.workload,
                test=name_of_test(case.nodeid, case.measurement),
                model=case.model.alias or case.model.name,
                quantization=case.model.quantization,
                engine=told["server"] or case.model.backend,
                engine_version=facts.engine_version,
                hardware=hardware,
                count=count or 1,
                market=market,
                load=level_label(told["concurrency"], told["conversations"], told["request_rate"]),
                measured=started,
                prompt_tokens=told["prompt_tokens"],
                output_tokens=told["output_tokens"],
                machine=None if document.machine is None else document.machine.id,
                spoiled=facts.spoiled,
            )
            newest[key] = (order, row, case, facts)
    found = sorted(newest.values(), key=lambda one: one[1].case)
    columns = _columns([(case, facts) for _, _, case, facts in found])
    return Catalog.of([row for _, row, _, _ in found], columns, len(asked) - len(found))


def _columns(found: Sequence[tuple[CaseRecord, CaseFacts]]) -> dict[str, NDArray[np.float64]]:
    columns: dict[str, NDArray[np.float64]] = {}
    for place, (case, facts) in enumerate(found):
        for name, metric in case.metrics.items():
            level = facts.levels.get(name)
            for statistic in STATISTICS:
                value = getattr(metric, statistic, None)
                if statistic == "processes":
                    value = None if level is None else level.processes
                elif statistic == "median" and level is not None:
                    value = level.value
                if value is None:
                    continue
                if (column := f"{name}.{statistic}") not in columns:
                    columns[column] = np.full(len(found), np.nan)
                columns[column][place] = value
    return columns
