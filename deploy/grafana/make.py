"""What stands on the Grafana dashboard? ``python deploy/grafana/make.py`` writes it anew.

The panels are data here; a typed library, which users do not need, makes Grafana's JSON of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent
DASHBOARD = HERE / "dashboards" / "llmbench.json"
_OF = '{model=~"$model", backend=~"$backend", quantization=~"$quantization"}'
_BY = "model, backend, quantization"
_LEGEND = "{{model}} {{quantization}}, {{backend}}"


@dataclass(frozen=True, slots=True)
class Shown:
    """One panel: what it asks of Prometheus, and how it shows it."""

    title: str
    question: str
    expr: str
    unit: str = "short"
    legend: str = _LEGEND
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 12


def _quantile(metric: str, quantile: float) -> str:
    return (
        f"histogram_quantile({quantile}, sum by (le, {_BY}) (rate({metric}_bucket{_OF}[$__rate_interval])))"
    )


PANELS: tuple[tuple[str, tuple[Shown, ...]], ...] = (
    (
        "Verdicts",
        (
            Shown(
                "Verdicts",
                "How many cases have which verdict?",
                f"sum by (verdict) (llmbench_case_verdict{_OF})",
                legend="{{verdict}}",
                kind="stat",
            ),
            Shown(
                "Regressions",
                "Which models have cases that got slower, beyond doubt and beyond the threshold?",
                f'sum by ({_BY}) (llmbench_case_verdict{{verdict="fail", {_OF[1:]}) > 0',
            ),
        ),
    ),
    (
        "Latency and throughput",
        (
            Shown(
                "Time to first token, median",
                "How long does half of the requests wait?",
                _quantile("llmbench_ttft_seconds", 0.5),
                "s",
            ),
            Shown(
                "Time to first token, 95th percentile",
                "How long do the slowest wait?",
                _quantile("llmbench_ttft_seconds", 0.95),
                "s",
            ),
            Shown(
                "Time per output token, median",
                "How fast does text come?",
                _quantile("llmbench_tpot_seconds", 0.5),
                "s",
            ),
            Shown(
                "Prompt tokens from a cache",
                "Which share of the prompts lay in a prefix cache?",
                f"sum by ({_BY}) (rate(llmbench_cached_prompt_tokens_total{_OF}[$__rate_interval]))"
                f" / sum by ({_BY}) (rate(llmbench_prompt_tokens_total{_OF}[$__rate_interval]))",
                "percentunit",
            ),
            Shown(
                "Output tokens measured",
                "How much was generated?",
                f"sum by ({_BY}) (increase(llmbench_output_tokens_total{_OF}[$__rate_interval]))",
                width=24,
            ),
        ),
    ),
    (
        "Jobs",
        (
            Shown("Jobs", "What waits, runs, and ended how?", "llmbench_jobs", legend="{{state}}"),
            Shown(
                "How long jobs take",
                "What is the 95th percentile of their time?",
                "histogram_quantile(0.95, sum by (le) "
                "(rate(llmbench_job_duration_seconds_bucket[$__rate_interval])))",
                "s",
                "p95",
            ),
        ),
    ),
    (
        "Matrices",
        (
            Shown(
                "Cells",
                "How many cells of each matrix are done, run, failed, or are left?",
                "llmbench_matrix_cells",
                legend="{{matrix}}: {{state}}",
            ),
            Shown(
                "Matrices done",
                "Which share of each matrix is measured?",
                'sum by (matrix) (llmbench_matrix_cells{state="done"})'
                " / sum by (matrix) (llmbench_matrix_cells)",
                "percentunit",
                "{{matrix}}",
                kind="stat",
            ),
        ),
    ),
)


def made() -> str:
    """The dashboard as JSON."""
    from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.common import TimeZoneBrowser
    from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh, VariableSort

    source = DataSourceRef(type_val="prometheus", uid="${source}")
    board = (
        dashboard.Dashboard("LLM benchmarks")
        .uid("pytest-llmbench")
        .tags(["llm", "benchmark"])
        .refresh("1m")
        .time("now-7d", "now")
        .timezone(TimeZoneBrowser)
        .readonly()
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for label in _BY.split(", "):
        board = board.with_variable(
            dashboard.QueryVariable(label)
            .label(label.capitalize())
            .datasource(source)
            .query(f"label_values(llmbench_case_verdict, {label})")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
            .include_all(True)
            .all_value(".*")
            .multi(True)
        )
    number = 0
    for head, panels in PANELS:
        number += 1
        board = board.with_row(dashboard.Row(head).id(number))
        for one in panels:
            number += 1
            query = prometheus.Dataquery().expr(one.expr).legend_format(one.legend).ref_id("A")
            kinds = {"timeseries": timeseries.Panel, "stat": stat.Panel}
            board = board.with_panel(
                kinds[one.kind]()
                .id(number)
                .title(one.title)
                .description(one.question)
                .unit(one.unit)
                .datasource(source)
                .height(8)
                .span(one.width)
                .with_target(query)
            )
    text: str = JSONEncoder(sort_keys=True, indent=2).encode(board.build())
    return text + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(made())
