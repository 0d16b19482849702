"""What do all rounds of a session add up to, for counters that only grow?

By model, backend and quantization: how many times of a first token, and per output token, are within which
bounds, and how many tokens there were.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.results.records import CaseRecord

BOUNDS: dict[str, tuple[float, ...]] = {
    "ttft": (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50),
    "tpot": (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
}
"""Seconds: upper bounds, which belong to what is below them. What is longer has a place behind them."""
_LONGEST = 100
"""Characters of each of the three."""


def model_label(name: str, alias: str | None) -> str:
    """A model's short name: its alias, or a path's last part."""
    return ModelSpec(name, alias=alias).label[:_LONGEST]


def totals_of(cases: Iterable[CaseRecord]) -> list[dict[str, Any]]:
    """A row for each model, backend and quantization of the *cases*."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for case in cases:
        model = case.model
        key = (
            model_label(model.name, model.alias),
            model.backend[:_LONGEST],
            (model.quantization or "")[:_LONGEST],
        )
        known = found.setdefault(key, _empty())
        for name, bounds in BOUNDS.items():
            for value in case.values(name):
                known[name]["counts"][bisect_left(bounds, value)] += 1
                known[name]["sum"] += value
        for one in case.rounds:
            if one.counted:
                known["prompt_tokens"] += one.prompt_tokens or 0
                known["output_tokens"] += one.output_tokens
                known["cached_prompt_tokens"] += int(one.value("cached_tokens") or 0)
    return [
        {"model": model, "backend": backend, "quantization": quantization, "totals": totals}
        for (model, backend, quantization), totals in found.items()
    ]


def _empty() -> dict[str, Any]:
    histograms = {name: {"counts": [0] * (len(bounds) + 1), "sum": 0.0} for name, bounds in BOUNDS.items()}
    return {**histograms, "prompt_tokens": 0, "output_tokens": 0, "cached_prompt_tokens": 0}
