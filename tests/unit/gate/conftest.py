"""Sessions of an engine with one thread, which tells its CPU time, beside neighbors or alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmbench.backends.cpu_time import COMPARABLE, CPU_TIME

CpuSession = Callable[..., Any]
CROWD = ["cpu_pressure", "foreign_cpu"]


@pytest.fixture
def a_cpu_session(a_session: Any) -> CpuSession:
    """Makes a session of a *day* whose engine takes *work* times the CPU time of the others.

    :param crowded: so much of the rounds ran beside the load of others, which makes their times three times
        as long and their CPU times as they are.
    :param told: what the engine says of its CPU time.
    """

    def make(
        day: int, *, work: float = 1.0, crowded: float = 0.0, told: str = COMPARABLE, **what: Any
    ) -> Any:
        document = a_session(day, engine={"n_threads": 1, CPU_TIME: told}, **what)
        draw = random.Random(day)
        for case in document.cases:
            rounds = case.rounds
            for process in case.processes:
                level = work * (1 + draw.gauss(0, 0.01))
                for r in process.rounds:
                    factor = level * (1 + draw.gauss(0, 0.005))
                    r.values |= {"cpu_time_per_token": 0.01 * factor, "prefill_cpu_time": 0.05 * factor}
            for r in rounds[: round(crowded * len(rounds))]:
                r.disturbance = list(CROWD)
                for metric in ("ttft", "tpot"):
                    r.values[metric] *= 3 * (1 + draw.random())
        return document

    return make
