"""How long do large results documents take to write, to read and to compare?"""

from __future__ import annotations

import dataclasses
import gc
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from engines import bench
from pairs import Bound, Measured, NotMeasuredError, Row

from pytest_llmbench.hardware.monitor import HardwareMonitor
from pytest_llmbench.measure.engine import EngineSpec
from pytest_llmbench.measure.run import ProcessRun, Run
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.document import read_document, write_document
from pytest_llmbench.results.environment import machine
from pytest_llmbench.results.records import CaseRecord, ResultsDocument, Session

CASES, _ROUNDS, _TOKENS = 9000, 5, 64
_BASELINES = 5
# So many cases are made from scratch, and each is put in several times under other names.
_DIFFERENT = 90


@contextmanager
def measured_documents(count: int = 1) -> Iterator[list[Path]]:
    """The files of documents. One case is measured; the others have its rounds with other token times."""
    with bench("llamacpp", "tiny", "f16", _TOKENS) as ours, HardwareMonitor() as monitor:
        monitor.follow(ours.record.pid)
        ours.monitor = monitor
        for _ in range(_ROUNDS):
            ours.round()
    engine = ours.plan.engine
    assert isinstance(engine, EngineSpec)
    dice = random.Random(0)
    computer = machine()
    with TemporaryDirectory() as folder:
        paths = []
        for day in range(1, count + 1):
            different = [
                case_from_run(
                    Run("default", ours.plan.protocol(), [_varied(ours.record, dice)]),
                    nodeid="benchmarks/test_many.py::test_case[0]",
                    backend=engine.backend,
                    model=engine.model,
                    outcome="passed",
                )
                for _ in range(_DIFFERENT)
            ]
            session = Session(id=f"202601{day:02}T000000Z-{day:08}", started=f"2026-01-{day:02}T00:00:00Z")
            cases = [_renamed(different[number % _DIFFERENT], number) for number in range(CASES)]
            document = ResultsDocument(session=session, machine=computer, cases=cases)
            paths.append(write_document(Path(folder, f"{day}.json"), document))
            del cases, different, document
            gc.collect()
        yield paths


def _varied(record: ProcessRun, dice: random.Random) -> ProcessRun:
    """*record* with each gap between tokens up to a tenth longer, and nothing disturbed."""
    rounds = [
        dataclasses.replace(r, timeline=_stretched(r.timeline, dice), disturbance=()) for r in record.rounds
    ]
    return dataclasses.replace(record, rounds=rounds)


def _stretched(timeline: Timeline, dice: random.Random) -> Timeline:
    times = [timeline.token_times[0]]
    for before, after in pairwise(timeline.token_times):
        times.append(times[-1] + round((after - before) * dice.uniform(1.0, 1.1)))
    return dataclasses.replace(timeline, token_times=tuple(times), done=times[-1])


def _renamed(case: CaseRecord, number: int) -> CaseRecord:
    name = f"test_case[{number}]"
    return case.model_copy(update={"name": name, "nodeid": f"{case.file}::{name}"})


def _write(times: int) -> Measured:
    with measured_documents() as (path,):
        # Read back, so that no two cases share what is written.
        document = read_document(path)
        assert len(document.cases) == CASES
        return _timed(times, lambda: write_document(path, document), path)


def _read(times: int) -> Measured:
    with measured_documents() as (path,):
        return _timed(times, lambda: read_document(path), path)


def _compare(times: int) -> Measured:
    with measured_documents(_BASELINES + 1) as paths:
        command = [sys.executable, "-m", "pytest_llmbench", "compare", *map(str, paths)]

        def compare() -> None:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode or f"{CASES} cases: " not in done.stdout:
                msg = f"llmbench compare: {done.stderr.strip() or done.stdout.strip()[-200:]}"
                raise NotMeasuredError(msg)

        return _timed(times, compare, paths[-1])


def _timed(times: int, do: Callable[[], object], path: Path) -> Measured:
    return Measured(timed(times, do), {"size of the document, MB": path.stat().st_size / 1e6})


def timed(times: int, do: Callable[[], object]) -> list[float]:
    """Seconds that *do* takes, after once that does not count."""
    values = []
    do()
    for _ in range(times):
        gc.collect()
        started = perf_counter()
        do()
        values.append(perf_counter() - started)
    return values


ROWS = (
    Row("write", f"writing a document of {CASES:,} cases of 5 rounds", Bound(at_most=2.0), 5, _write, "s"),
    Row("read", f"reading a document of {CASES:,} cases of 5 rounds", Bound(at_most=2.0), 5, _read, "s"),
    Row(
        "compare",
        f"llmbench compare: {_BASELINES} baselines of {CASES:,} cases of 5 rounds",
        Bound(at_most=5.0),
        3,
        _compare,
        "s",
    ),
)
