"""A matrix of made results: a plan, a journal, and a document for each cell that is done."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from zlib import crc32

from pytest_llmbench.matrix.cells import Cell, Plan, cell_id, digest_of, key_of
from pytest_llmbench.matrix.executor import Outcome, Task
from pytest_llmbench.matrix.journal import MatrixJournal
from pytest_llmbench.matrix.summary import matrix_folder, write_plan
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.results.records import (
    CaseRecord,
    CellRecord,
    Machine,
    MetricRecord,
    ModelRecord,
    ProcessRecord,
    ProtocolRecord,
    ResultsDocument,
    RoundRecord,
    Session,
)
from pytest_llmbench.results.store import Store

HARDWARE = (Hardware("L4"), Hardware("A100-80GB"), Hardware("H100", 2))
MODELS = {"tiny": 1.0, "llama-82m": 3.0, "llama-1b": 9.0}
"""Each with how many times as slow as the first one it is."""
QUANTIZATIONS = {"f16": 1.0, "q8_0": 0.7, "q4_0": 0.5}
LOADS = (1, 8)
ROUND = RoundRecord(
    prompt_tokens=16,
    output_tokens=64,
    prompt_hash="sha256:0",
    output_hash="sha256:0",
    finish_reason="length",
    tokenized=0.0,
    token_times=[0.1, 0.2],
    done=0.2,
)
"""What tells that something was measured."""
_SPEED = {"L4": 1.0, "A100-80GB": 0.4, "H100": 0.2}


def cells(
    models: tuple[str, ...] = tuple(MODELS), engines: tuple[str, ...] = ("vllm", "sglang")
) -> list[Cell]:
    """One cell for each combination."""
    made = []
    for hardware, engine, model, quantization, load in product(
        HARDWARE, engines, models, QUANTIZATIONS, LOADS
    ):
        case = {"name": "chat", "engine": engine, "quantization": quantization, "concurrency": load}
        made.append(
            Cell(
                id=cell_id(case, {"name": model}, hardware),
                name="chat",
                hardware=hardware,
                engine=engine,
                served=True,
                model=model,
                quantization=quantization,
                load=f"c{load}",
                suite={"cases": [case]},
            )
        )
    return made


def a_result(cell: Cell, place: int, matrix: str) -> ResultsDocument:
    """The document of a cell, with a TTFT, a TPOT and a throughput of made levels."""
    load = int((cell.load or "c1")[1:])
    slow = (
        MODELS.get(cell.model, 1.0) * QUANTIZATIONS[cell.quantization or "f16"] * _SPEED[cell.hardware.name]
    )
    slow *= 1.1 if cell.engine == "sglang" else 1.0
    values = {
        "ttft": ("s", "lower", 0.05 * slow * load**0.5),
        "tpot": ("s", "lower", 0.01 * slow * load**0.3),
        "system_throughput": ("tokens/s", "higher", 100 / slow * load**0.7),
    }
    metrics = {
        name: MetricRecord.model_validate(
            {"unit": unit, "better": better, "n": 50, "median": value, "mean": value, "stddev": 0.01 * value}
            | dict.fromkeys(("min", "p50"), value)
            | dict.fromkeys(("p95", "p99", "max"), value * 1.2)
        )
        for name, (unit, better, value) in values.items()
    }
    hardware = cell.hardware
    record = CellRecord(
        matrix=matrix,
        id=cell.id,
        key=key_of(cell.id, "0" * 16),
        hardware=hardware.name,
        count=hardware.count,
        market=hardware.market,
    )
    return ResultsDocument(
        session=Session(
            id=f"20260102T030405Z-{crc32(f'{matrix} {place}'.encode()):08x}",
            started="2026-01-02T03:04:05Z",
            ended="2026-01-02T03:05:05Z",
            state="finished",
            cell=record,
        ),
        machine=Machine(
            id=f"machine-{hardware.name}",
            gpus=[{"name": hardware.name}] * hardware.count,
            cpu={"model": "EPYC"},
        ),
        cases=[
            CaseRecord(
                nodeid=f"{matrix}.llm.yaml::{cell.name}[{cell.engine}-{cell.model}-{cell.quantization}-{cell.load}]",
                name=cell.name,
                file=f"{matrix}.llm.yaml",
                model=ModelRecord(
                    name=cell.model,
                    backend=cell.engine,
                    quantization=cell.quantization,
                    digest=f"sha256:{digest_of(cell.model) * 4}",
                    parameters=80_000_000,
                ),
                protocol=ProtocolRecord(concurrency=load, max_new_tokens=64, slo={"ttft": 0.5, "tpot": 0.05}),
                processes=[ProcessRecord(pid=1, rounds=[ROUND])],
                metrics=metrics,
                outcome="passed",
            )
        ],
    )


def write_matrix(
    store: Store, name: str = "nightly", *, done: float = 1.0, failed: int = 0, of: list[Cell] | None = None
) -> list[Cell]:
    """Keep a matrix of which a share is *done*, and so many cells before the others *failed*."""
    found = cells() if of is None else of
    write_plan(
        store, Plan(name, Path("matrix.yaml"), digest_of([cell.id for cell in found]), found, batch=100)
    )
    journal = MatrixJournal(matrix_folder(store, name))
    for place, cell in enumerate(found[: round(len(found) * done)]):
        document = a_result(cell, place, name)
        task = Task(cell, name, document.session.id)
        journal.start(task)
        if place < failed:
            reason = f"the server ended with status 1: CUDA out of memory, cell {place}"
            journal.end(Outcome(task, "engine", reason, seconds=4.0), failed=True)
        else:
            store.write(document)
            record = document.session.cell
            journal.end(Outcome(task, "measured", seconds=60.0, key=None if record is None else record.key))
    journal.close()
    return found
