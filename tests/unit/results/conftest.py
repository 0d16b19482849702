"""Which runs, cases and documents do the tests of results have?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.records import CaseRecord, Machine, Outcome, ResultsDocument, Session
from pytest_llmbench.results.store import Store

MS = 1_000_000
SENT = 5_000_000_000_123

MODEL = ResolvedModel(
    spec=ModelSpec("tiny", "q8_0"),
    form="gguf",
    path=Path("tiny-q8_0.gguf"),
    digest="sha256:" + "0" * 64,
    parameters=5_000_000,
    quantization="q8_0",
    size=6_000_000,
)


def timeline(first: int = 50 * MS, gaps: Sequence[int] = (10 * MS, 12 * MS, 11 * MS)) -> Timeline:
    """A generation whose first token came *first* ns after the call, the others after *gaps* ns."""
    times = [SENT + first]
    for gap in gaps:
        times.append(times[-1] + gap)
    return Timeline(
        sent=SENT,
        tokenized=SENT + MS + 1,
        prefilled=SENT + first - MS,
        token_times=tuple(times),
        done=times[-1] + 7,
        prompt_tokens=32,
        output_tokens=len(times),
        output_hash="sha256:" + "a" * 64,
        prompt_hash="sha256:" + "b" * 64,
        finish_reason="length",
    )


def make_run(rounds: int = 3, processes: int = 2) -> Run:
    """A run whose rounds are 1 ms apart in TTFT."""
    return Run(
        label="default",
        protocol={"rounds": rounds, "processes": processes, "max_new_tokens": 4},
        processes=[
            ProcessRun(
                pid=100 + index,
                engine={"n_threads": 1},
                versions={"llama-cpp-python": "0.3.36"},
                rounds=[
                    Round(
                        timeline((50 + number) * MS),
                        measured={"energy": 2.0, "cpu_time_per_token": 0.02, "prefill_cpu_time": 0.05},
                        disturbance=("steal_time",) if number == 1 else (),
                    )
                    for number in range(rounds)
                ],
                measured={"load_time": 0.25 + index, "peak_rss": 1_000_000 * (index + 1)},
            )
            for index in range(processes)
        ],
    )


def make_case(
    nodeid: str = "benchmarks/test_speed.py::test_short[llamacpp-tiny-q8_0]",
    run: Run | None = None,
    measurement: str = "default",
    outcome: Outcome = "passed",
) -> CaseRecord:
    """A case of two processes with three rounds each."""
    return case_from_run(
        run or make_run(),
        nodeid=nodeid,
        backend="llamacpp",
        model=MODEL,
        outcome=outcome,
        measurement=measurement,
        params={"tokens": 4},
    )


def make_document(session_id: str = "20260102T030405Z-0a1b2c3d", cases: int = 2) -> ResultsDocument:
    """A finished session's document."""
    return ResultsDocument(
        session=Session(
            id=session_id, started="2026-01-02T03:04:05Z", state="finished", outcomes={"passed": cases}
        ),
        machine=Machine(id="0123456789abcdef", cpu={"model": "A CPU", "physical_cores": 2}),
        versions={"pytest-llmbench": "0.1.0"},
        cases=[make_case(f"benchmarks/test_speed.py::test_short[{i}]") for i in range(cases)],
    )


@pytest.fixture(scope="session")
def case_maker() -> Callable[..., CaseRecord]:
    return make_case


@pytest.fixture(scope="session")
def run_maker() -> Callable[..., Run]:
    return make_run


@pytest.fixture(scope="session")
def timeline_maker() -> Callable[..., Timeline]:
    return timeline


@pytest.fixture(scope="session")
def document_maker() -> Callable[..., ResultsDocument]:
    return make_document


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")
