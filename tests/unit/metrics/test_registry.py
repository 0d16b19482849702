"""Is a metric in the table for as long as its session lasts?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.metrics.registry import MetricRegistry
from pytest_llmbench.metrics.row import Metric
from pytest_llmbench.metrics.table import METRICS, MOST_TOLD, Table, gated_metrics, slo_metrics

ROW = Metric(
    name="time_to_think",
    unit="s",
    better="lower",
    scope="round",
    formula="first answer token - first token",
    source="https://example.org",
    compute=lambda line: 1.0,
    gates=True,
    slo=True,
)


def test_a_metric_is_known_until_the_registry_is_closed() -> None:
    registry = MetricRegistry()
    registry.register(ROW)
    try:
        assert METRICS["time_to_think"] is ROW
        assert "time_to_think" in gated_metrics()
        assert "time_to_think" in slo_metrics()
    finally:
        registry.close()
    assert "time_to_think" not in METRICS


def test_a_name_that_is_taken_is_refused_and_what_took_it_stays() -> None:
    before = METRICS["ttft"]
    registry = MetricRegistry()
    with pytest.raises(UsageError, match="cannot register the metric 'ttft': there is one already"):
        registry.register(replace(ROW, name="ttft"))
    registry.close()
    assert METRICS["ttft"] is before


def test_what_a_document_told_gives_way_to_who_knows_it() -> None:
    table = Table(())
    told = replace(ROW, compute=None, slo=False)
    table.learn(told)
    assert table["time_to_think"] is told
    table.add(ROW)
    table.learn(told)
    assert table["time_to_think"] is ROW


def test_a_row_that_a_document_tells_wrongly_is_not_learned() -> None:
    table = Table(())
    table.learn(replace(ROW, scope="universe"))  # type: ignore[arg-type]
    assert not table


def test_documents_tell_no_more_metrics_than_a_table_takes() -> None:
    table = Table(())
    for number in range(MOST_TOLD + 10):
        table.learn(replace(ROW, name=f"told_{number}", compute=None, slo=False))
    assert len(table) == MOST_TOLD
    table.add(ROW)
    assert "time_to_think" in table


def test_an_unknown_metric_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="there is no metric 'tttf'; did you mean 'ttft'"):
        METRICS.named("tttf")
