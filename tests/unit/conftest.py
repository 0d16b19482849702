"""Sessions with given speeds, or CPU times, as results documents: what is compared."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.cpu_time import COMPARABLE, CPU_TIME
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.timeline import Timeline, Untimed
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.records import CaseRecord, Commit, Machine, ResultsDocument, Session

MakeCase = Callable[..., CaseRecord]
MakeSession = Callable[..., ResultsDocument]
CpuSession = Callable[..., Any]
CROWD = ["cpu_pressure", "foreign_cpu"]

MS = 1_000_000
RSS = 256 * 2**20


def _case(
    name: str = "test_x[llamacpp-tiny-q8_0]",
    *,
    slow: float = 1.0,
    noise: float = 0.01,
    seed: object = 0,
    processes: int = 3,
    rounds: int = 5,
    tokens: int = 8,
    disturbed: int = 0,
    untimed: Untimed | None = None,
    rss: int = RSS,
    digest: str = "0",
    version: str = "0.3.36",
    quantization: str = "q8_0",
    prompt: str = "p",
    output: str = "o",
    file: str = "benchmarks/test_a.py",
    params: dict[str, object] | None = None,
    outcome: str = "passed",
    measurement: str = "default",
    engine: dict[str, Any] | None = None,
    **protocol: Any,
) -> CaseRecord:
    """A case with a TTFT of 50 ms and a TPOT of 10 ms, times *slow*; the first rounds are *disturbed*."""
    draw = random.Random(f"{seed} {name}")
    made = []
    for number in range(processes):
        level = slow * (1 + draw.gauss(0, noise))
        found = []
        for index in range(rounds):
            factor = level * (1 + draw.gauss(0, noise))
            times = tuple(round((50 + 10 * token) * MS * factor) for token in range(tokens))
            line = Timeline(
                *(0, 1000, times[0] - 1000, times, times[-1] + 5, 16, tokens, output, prompt, "length"),
                untimed=untimed,
            )
            spoiled = number * rounds + index < disturbed
            found.append(Round(line, disturbance=("foreign_cpu",) if spoiled else ()))
        made.append(
            ProcessRun(
                100 + number,
                engine or {"n_threads": 1},
                {"llama-cpp-python": version},
                found,
                {"load_time": 0.2, "peak_rss": rss},
            )
        )
    said: dict[str, Any] = {
        "max_new_tokens": tokens,
        "temperature": 0.0,
        "rounds": rounds,
        "processes": processes,
        "timeout": 600.0,
        "warmup_rounds": 1,
        "options": {"n_threads": None},
        **protocol,
    }
    return case_from_run(
        Run(measurement, said, made),
        nodeid=f"{file}::{name}",
        backend="llamacpp",
        model=ResolvedModel(
            ModelSpec("tiny", quantization), "gguf", Path("x"), f"sha256:{digest * 64}", 5, quantization, 6
        ),
        outcome=outcome,  # type: ignore[arg-type]
        measurement=measurement,
        params=params,
        error="AssertionError: too slow" if outcome == "failed" else None,
    )


def _session(
    day: int = 1,
    cases: Sequence[CaseRecord] | None = None,
    *,
    machine: str | None = "machine-a",
    commit: str = "a" * 40,
    branch: str = "main",
    dirty: bool = False,
    **case: Any,
) -> ResultsDocument:
    """The session of a *day* of January; by default with one case, made with what else is given."""
    made = [_case(seed=day, **case)] if cases is None else list(cases)
    return ResultsDocument(
        session=Session(
            id=f"202601{day:02}T000000Z-{day:08}",
            started=f"2026-01-{day:02}T00:00:00Z",
            state="finished",
            outcomes={"passed": len(made)},
        ),
        machine=None if machine is None else Machine(id=machine),
        commit=Commit(id=commit, branch=branch, dirty=dirty),
        cases=made,
    )


@pytest.fixture
def a_case() -> MakeCase:
    return _case


@pytest.fixture
def a_session() -> MakeSession:
    return _session


@pytest.fixture
def a_cpu_session(a_session: Any) -> CpuSession:
    """Makes a session of a *day* whose engine, of one thread, takes *work* times the CPU time of the others.

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
