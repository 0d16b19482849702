"""How long does it take to recommend one of thousands of configurations, and how much memory do they need?"""

from __future__ import annotations

from datetime import UTC, datetime
from time import thread_time

import numpy as np
from numpy.typing import NDArray
from pairs import Bound, Measured, Row

from pytest_llmbench.catalog.ask import Ask
from pytest_llmbench.catalog.recommend import recommend
from pytest_llmbench.catalog.rows import Catalog
from pytest_llmbench.catalog.rows import Row as Configuration

_FEW, _MANY, _VALUES = 9_000, 100_000, 60
_HARDWARE = ("L4", "A10G", "A100-80GB", "H100")
_METRICS = {
    "ttft": (-1.5, 0.8),
    "tpot": (-3.5, 0.5),
    "e2e_latency": (1.0, 0.7),
    "system_throughput": (6.0, 1.0),
    "energy_per_token": (0.0, 0.5),
    "peak_vram": (23.0, 0.5),
}
_STATISTICS = {"median": 1.0, "p90": 1.2, "p95": 1.3, "p99": 1.6, "mean": 1.02, "stddev": 0.03}


def _catalog(size: int) -> Catalog:
    """Configurations with drawn values of six metrics; a twentieth was not measured."""
    drawn = np.random.default_rng(1)
    rows = [
        Configuration(
            case=n,
            session=f"20261101T000000Z-{n:08x}",
            position=0,
            nodeid=f"m.llm.yaml::chat[{n}]",
            workload="chat",
            test="chat",
            model=f"model-{n % 20}",
            quantization=(None, "q8_0", "q4_0")[n // 20 % 3],
            engine=("vllm", "llamacpp")[n // 60 % 2],
            engine_version="1",
            hardware=_HARDWARE[n // 120 % 4],
            count=(1, 2, 4, 8)[n // 480 % 4],
            market=None,
            load=f"c{2 ** (n // 1920 % 7)}",
            measured=datetime(2026, 11, 1, tzinfo=UTC),
            prompt_tokens=512,
            output_tokens=256,
            machine="m",
        )
        for n in range(size)
    ]
    columns: dict[str, NDArray[np.float64]] = {}
    for name, (place, width) in _METRICS.items():
        values = drawn.lognormal(place, width, size)
        values[drawn.random(size) < 0.05] = np.nan
        columns |= {f"{name}.{statistic}": values * factor for statistic, factor in _STATISTICS.items()}
        columns[f"{name}.n"] = np.where(np.isnan(values), np.nan, 100.0)
        columns[f"{name}.processes"] = np.where(np.isnan(values), np.nan, 3.0)
    return Catalog.of(rows, columns)


def _recommend(size: int, times: int) -> Measured:
    """The 95th percentile over three questions, in ms of CPU; the first answers make what later ones keep.

    An answer is one thread that waits for nothing, so that its CPU time is what it takes where others do
    not take the CPU from it.
    """
    catalog = _catalog(size)
    asks = (
        Ask.of(slo={"ttft": "p95<500ms", "tpot": "p95<50ms"}, budget="10/h"),
        Ask.of(use="chatbot", hardware=["L4", "H100"]),
        Ask.of(weights={"cost": 2, "latency": 1}, every=True, top=20),
    )
    for ask in asks:
        recommend(catalog, ask)
    values = []
    for _ in range(times):
        taken = [_cpu(catalog, ask) for ask in asks for _ in range(20)]
        values.append(float(np.percentile(taken, 95)))
    return Measured(values)


def _cpu(catalog: Catalog, ask: Ask) -> float:
    started = thread_time()
    recommend(catalog, ask)
    return 1000 * (thread_time() - started)


def _memory(_: int) -> Measured:
    """What the columns of a catalog take: 60 values of each configuration."""
    catalog = _catalog(_MANY)
    each = catalog.nbytes / len(catalog.columns)
    return Measured([each * _VALUES / 1e6])


ROWS = (
    Row(
        "recommend",
        f"recommending one of {_FEW:,} configurations, p95 of CPU time",
        Bound(at_most=10.0),
        3,
        lambda times: _recommend(_FEW, times),
        "ms",
    ),
    Row(
        "recommend-many",
        f"recommending one of {_MANY:,} configurations, p95 of CPU time",
        Bound(at_most=100.0),
        3,
        lambda times: _recommend(_MANY, times),
        "ms",
    ),
    Row(
        "catalog-memory",
        f"columns of {_MANY:,} configurations with {_VALUES} values each",
        Bound(at_most=200.0),
        1,
        _memory,
        "MB",
    ),
)
