"""How long does a large results document take to write and to read?"""

from __future__ import annotations

import dataclasses
import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from engines import bench
from pairs import Bound, Measured, Row

from pytest_llmbench.hardware.monitor import HardwareMonitor
from pytest_llmbench.measure.run import ProcessRun, Run
from pytest_llmbench.measure.timeline import Timeline
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.document import (
    Case,
    ResultsDocument,
    Session,
    read_document,
    write_document,
)

_CASES, _ROUNDS, _TOKENS = 9000, 5, 64
# So many cases are made from scratch, and each is put in several times under other names.
_DIFFERENT = 90


@contextmanager
def _document() -> Iterator[Path]:
    """A document's file. One case is measured; the others have its rounds with other token times."""
    with bench("llamacpp", "tiny", "f16", _TOKENS) as ours, HardwareMonitor() as monitor:
        monitor.follow(ours.record.pid)
        ours.monitor = monitor
        for _ in range(_ROUNDS):
            ours.round()
    model = ours.plan.engine.model
    dice = random.Random(0)
    different = [
        case_from_run(
            Run("default", ours.plan.protocol(), [_varied(ours.record, dice)]),
            nodeid="benchmarks/test_many.py::test_case[0]",
            backend=ours.plan.engine.backend,
            model=model,
            outcome="passed",
        )
        for _ in range(_DIFFERENT)
    ]
    session = Session(id="20260101T000000Z-00000000", started="2026-01-01T00:00:00Z")
    cases = [_renamed(different[number % _DIFFERENT], number) for number in range(_CASES)]
    with TemporaryDirectory() as folder:
        path = write_document(Path(folder, "results.json"), ResultsDocument(session=session, cases=cases))
        del cases, different
        gc.collect()
        yield path


def _varied(record: ProcessRun, dice: random.Random) -> ProcessRun:
    """*record* with each gap between tokens up to a tenth longer."""
    rounds = [dataclasses.replace(r, timeline=_stretched(r.timeline, dice)) for r in record.rounds]
    return dataclasses.replace(record, rounds=rounds)


def _stretched(timeline: Timeline, dice: random.Random) -> Timeline:
    times = [timeline.token_times[0]]
    for before, after in pairwise(timeline.token_times):
        times.append(times[-1] + round((after - before) * dice.uniform(1.0, 1.1)))
    return dataclasses.replace(timeline, token_times=tuple(times), done=times[-1])


def _renamed(case: Case, number: int) -> Case:
    name = f"test_case[{number}]"
    return case.model_copy(update={"name": name, "nodeid": f"{case.file}::{name}"})


def _write(times: int) -> Measured:
    with _document() as path:
        # Read back, so that no two cases share what is written.
        document = read_document(path)
        assert len(document.cases) == _CASES
        return _timed(times, lambda: write_document(path, document), path)


def _read(times: int) -> Measured:
    with _document() as path:
        return _timed(times, lambda: read_document(path), path)


def _timed(times: int, do: object, path: Path) -> Measured:
    assert callable(do)
    values = []
    do()
    for _ in range(times):
        gc.collect()
        started = perf_counter()
        do()
        values.append(perf_counter() - started)
    return Measured(values, {"size of the document, MB": path.stat().st_size / 1e6})


ROWS = (
    Row("write", f"writing a document of {_CASES:,} cases of 5 rounds", Bound(at_most=2.0), 5, _write, "s"),
    Row("read", f"reading a document of {_CASES:,} cases of 5 rounds", Bound(at_most=2.0), 5, _read, "s"),
)
