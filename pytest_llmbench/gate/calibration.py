"""What change can be seen on this machine, with how many pairs, in how much time?

A/A pairs, both sides the same, show how far equal engines lie apart here. From that spread follows
what an A/B session can find: the smallest change that so many pairs call a failure with a power of
80 %.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from pytest_llmbench.gate.paired import CASE_ALPHA
from pytest_llmbench.gate.statistics import smallest_detectable, to_change
from pytest_llmbench.measure.metrics import METRICS

if TYPE_CHECKING:
    from pytest_llmbench.results.store import Store

PAIRS = (8, 12, 20, 32)
"""For how many pairs the smallest detectable change is told: the looks of an A/B session."""
FOLDER = "calibration"


@dataclass(frozen=True, slots=True)
class Floor:
    """The noise floor of one metric."""

    metric: str
    pairs: int
    spread: float
    """Standard deviation of the pairs' log ratios: 0.03 is about 3 %."""
    mean: float
    """Their mean: what equal sides seem to differ by; near 0, or the measurement leans."""
    detectable: Mapping[str, float]
    """Number of pairs to the smallest relative change over the threshold that they can find."""


def noise_floor(metric: str, differences: Sequence[float], threshold: float) -> Floor:
    """The noise floor from the log ratios of at least two A/A pairs.

    :raises ValueError: for fewer.
    """
    if len(differences) < 2:
        msg = f"{metric}: {len(differences)} undisturbed pairs do not show a spread; two or more are needed"
        raise ValueError(msg)
    spread = stdev(differences)
    better = METRICS[metric].better
    shift = math.log1p(threshold)
    detectable = {}
    for pairs in PAIRS:
        error = spread / math.sqrt(pairs)
        found = smallest_detectable(shift, error, CASE_ALPHA, len(differences) - 1, ranks=True)
        detectable[str(pairs)] = to_change(found, better)
    return Floor(metric, len(differences), spread, fmean(differences), detectable)


def save_calibration(store: Store, machine: str, floors: Sequence[Floor], facts: Mapping[str, Any]) -> Path:
    """Keep what was found, one file a machine; the newest holds. Returns its path.

    :raises ResultsError: if it cannot be written.
    """
    from pytest_llmbench.results.files import atomic_write, make_folder

    folder = store.path / FOLDER
    store.create()
    make_folder(folder)
    path = folder / f"{machine}.json"
    content = {**facts, "machine": machine, "floors": [asdict(floor) for floor in floors]}
    atomic_write(path, (json.dumps(content, indent=2) + "\n").encode())
    return path
