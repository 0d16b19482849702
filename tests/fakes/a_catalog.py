"""A catalog of made configurations, so that what is asked of many needs no store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from pytest_llmbench.catalog.hardware import Devices, read_devices
from pytest_llmbench.catalog.rows import Catalog, Row

TODAY = date(2026, 11, 28)
HARDWARE = ("L4", "A100-80GB", "H100")
_LATENCIES = {"median": 1.0, "p90": 1.2, "p95": 1.3, "p99": 1.6, "mean": 1.02}


def devices(**usd_per_hour: float) -> Devices:
    """The shipped hardware with these prices alone, on demand, of a week ago."""
    from pytest_llmbench.catalog.hardware import Price

    listed = {
        label: Price(
            provider="us",
            usd_per_hour=usd,
            date=date(2026, 11, 21),
            source="https://example.org",
            region="here",
        )
        for label, usd in usd_per_hour.items()
    }
    return Devices.of(
        {
            label: row.model_copy(update={"prices": (listed[label],) if label in listed else ()})
            for label, row in read_devices().rows.items()
        }
    )


def row(case: int, **changed: Any) -> Row:
    """One configuration."""
    made = Row(
        case=case,
        session=f"20261101T000000Z-{case:08x}",
        position=0,
        nodeid=f"m.llm.yaml::chat[{case}]",
        workload="w0",
        test="chat",
        model="tiny",
        quantization=None,
        engine="vllm",
        engine_version="vllm 1.0",
        hardware="L4",
        count=1,
        market=None,
        load="c8",
        measured=datetime(2026, 11, 1, tzinfo=UTC),
        prompt_tokens=512,
        output_tokens=256,
        machine="m",
    )
    return replace(made, **changed)


def columns(noise: float = 0.01, n: int = 100, **medians: Any) -> dict[str, Any]:
    """The columns of metrics, by their medians; percentiles are larger in a fixed way."""
    found = {}
    for name, values in medians.items():
        value = np.asarray(values, dtype=np.float64)
        known = np.where(np.isnan(value), np.nan, 1.0)
        found |= {f"{name}.{statistic}": value * factor for statistic, factor in _LATENCIES.items()}
        found |= {f"{name}.stddev": noise * value, f"{name}.n": known * n, f"{name}.processes": known * 3}
    return found


def catalog_of(rows: list[Row], **medians: Any) -> Catalog:
    """The catalog of *rows* with these medians."""
    return Catalog.of(rows, columns(**medians))


def made_catalog(size: int, seed: int = 1, unknown: float = 0.0, **more: Mapping[str, Any]) -> Catalog:
    """*size* configurations, drawn; of each metric a share *unknown* was not measured."""
    drawn = np.random.default_rng(seed)
    rows = [
        row(
            n,
            model=f"model-{n % 20}",
            quantization=(None, "q8_0", "q4_0")[n // 20 % 3],
            engine=("vllm", "llamacpp")[n // 60 % 2],
            hardware=HARDWARE[n // 120 % 3],
            count=(1, 2, 4, 8)[n // 360 % 4],
            load=f"c{2 ** (n // 1440 % 7)}",
        )
        for n in range(size)
    ]
    medians = {
        "ttft": drawn.lognormal(-1.5, 0.8, size),
        "tpot": drawn.lognormal(-3.5, 0.5, size),
        "e2e_latency": drawn.lognormal(1, 0.7, size),
        "system_throughput": drawn.lognormal(6, 1, size),
        "energy_per_token": drawn.lognormal(0, 0.5, size),
        "peak_vram": drawn.lognormal(23, 0.5, size),
        **more,
    }
    for values in medians.values():
        np.asarray(values)[drawn.random(size) < unknown] = np.nan
    return Catalog.of(rows, columns(**medians))
