"""How long does a service take to answer, to one client and to several at once?

The service is one as users start it, on this machine; its store holds made results of many configurations:
equal work under some loads, by many models on many kinds of hardware.
"""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from urllib.parse import urlsplit

from pairs import Bound, Measured, NotMeasuredError, Row

from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.results.records import (
    CaseRecord,
    CellRecord,
    MetricRecord,
    ModelRecord,
    ProcessRecord,
    ProtocolRecord,
    ResultsDocument,
    RoundRecord,
    Session,
)
from pytest_llmbench.results.store import Store

CONFIGURATIONS = 9000
_PATIENCE = 60.0
"""Seconds for one answer."""


_HARDWARE = tuple(product(("L4", "A100-80GB", "H100"), (1, 2, 4, 8)))
_ENGINES = ("vllm", "sglang", "llamacpp")
_QUANTIZATIONS = ("bf16", "fp8", "q8_0", "q4_0")
_LOADS = (1, 8, 32, 128)
_METRICS = (
    ("ttft", "s", "lower", 0.2),
    ("tpot", "s", "lower", 0.02),
    ("e2e_latency", "s", "lower", 2.0),
    ("system_throughput", "tokens/s", "higher", 500.0),
    ("energy_per_token", "J/token", "lower", 0.5),
    ("peak_vram", "bytes", "lower", 2e10),
)
"""What each case has, and a usual value of it."""
_ASKED = {
    "use": "chatbot",
    "slo": {"ttft": "p95<500ms", "tpot": "p95<50ms"},
    "budget": "20/h",
    "weights": {"cost": 2, "latency": 1, "throughput": 1},
    "top": 10,
}


def write_results(store: Store, count: int = CONFIGURATIONS) -> None:
    """Made results of *count* configurations: a document for each kind of hardware."""
    dice = random.Random(0)
    each = -(-count // len(_HARDWARE))
    models = [f"model-{n}" for n in range(-(-each // (len(_ENGINES) * len(_QUANTIZATIONS) * len(_LOADS))))]
    for place, (hardware, devices) in enumerate(_HARDWARE):
        these = product(models, _QUANTIZATIONS, _ENGINES, _LOADS)
        number = min(each, count - place * each)
        cell = CellRecord(
            matrix="made", id=f"{place:016x}", key=f"{place:016x}", hardware=hardware, count=devices
        )
        session = Session(
            id=f"20260102T030405Z-{place:08x}", started="2026-01-02T03:04:05Z", state="finished", cell=cell
        )
        cases = [_case(dice, *one) for one in islice(these, number)]
        store.write(ResultsDocument(session=session, cases=cases))


def _case(dice: random.Random, model: str, quantization: str, engine: str, load: int) -> CaseRecord:
    metrics = {}
    for name, unit, better, usual in _METRICS:
        value = usual * dice.lognormvariate(0.0, 1.0)
        metrics[name] = MetricRecord.model_validate(
            {"unit": unit, "better": better, "n": 100, "stddev": 0.05 * value}
            | dict.fromkeys(("median", "mean", "min", "p50"), value)
            | dict.fromkeys(("p90", "p95", "p99", "max"), 1.2 * value)
        )
    return CaseRecord(
        nodeid=f"made.llm.yaml::chat[{engine}-{model}-{quantization}-c{load}]",
        name="chat",
        file="made.llm.yaml",
        outcome="passed",
        model=ModelRecord(name=model, backend=engine, quantization=quantization, digest=f"sha256:{model}"),
        protocol=ProtocolRecord(concurrency=load, max_new_tokens=128),
        processes=[ProcessRecord(pid=1, rounds=[_ROUND])],
        metrics=metrics,
    )


_ROUND = RoundRecord(
    prompt_tokens=512,
    output_tokens=128,
    prompt_hash="sha256:0",
    output_hash="sha256:0",
    finish_reason="length",
    tokenized=0.0,
    token_times=[0.1, 0.2],
    done=0.2,
)


@contextmanager
def asked_store() -> Iterator[Path]:
    """A store with made results, and their index."""
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        try:
            from pytest_llmbench.results.index.build import Index

            write_results(store)
            index = Index.open(store)
        except (ImportError, LLMBenchError) as error:
            raise NotMeasuredError(str(error)) from None
        index.update()
        index.close()
        yield store.path


@contextmanager
def serving(store: Path) -> Iterator[str]:
    """A service on this machine over a store, in a process of its own; its address."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LLMBENCH_")},
        "LLMBENCH_STORE": str(store),
        "DATABASE_URL": "",
    }
    command = [sys.executable, "-m", "pytest_llmbench", "serve", "--port=0"]
    with (store / "service.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env=environment, cwd=store, text=True
        )
    try:
        assert process.stdout is not None
        said = re.search(r"http://[0-9.:]+", process.stdout.readline())
        if said is None:
            lines = (store / "service.log").read_text(errors="replace").splitlines()
            raise NotMeasuredError(lines[-1] if lines else "the service did not start")
        yield said[0]
    finally:
        process.terminate()
        process.wait(30)


def answers(address: str, path: str, body: bytes, *, clients: int, each: int) -> list[float]:
    """Seconds of each answer to *body*, which so many clients send one after the other, all at once.

    :raises NotMeasuredError: for an answer that is not 200.
    """
    taken: list[float] = []
    wrong: list[str] = []
    gate = threading.Barrier(clients)
    headers = {"Content-Type": "application/json"}

    def ask() -> None:
        connection = HTTPConnection(urlsplit(address).netloc, timeout=_PATIENCE)
        mine = []
        try:
            # The connection is there before the clock runs, as a client's that asks often.
            connection.connect()
            gate.wait(_PATIENCE)
            for _ in range(each):
                started = perf_counter()
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                told = answer.read()
                mine.append(perf_counter() - started)
                if answer.status != 200:
                    wrong.append(f"{path}: {answer.status}: {told[:200].decode(errors='replace')}")
                    return
        except (OSError, threading.BrokenBarrierError) as error:
            wrong.append(f"{path}: {error}")
        finally:
            connection.close()
            taken.extend(mine)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise NotMeasuredError(wrong[0])
    return taken


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def _recommend(clients: int, each: int) -> Callable[[int], Measured]:
    def measure(times: int) -> Measured:
        body = json.dumps(_ASKED).encode()
        found, every = [], []
        with asked_store() as store, serving(store) as address:
            # The catalog is read at the first question.
            answers(address, "/recommendations", body, clients=1, each=20)
            for _ in range(times):
                taken = answers(address, "/recommendations", body, clients=clients, each=each)
                found.append(p95(taken) * 1e3)
                every += taken
        return Measured(
            found, {"median, ms": statistics.median(every) * 1e3, "longest, ms": max(every) * 1e3}
        )

    return measure


_WHAT = f"p95 of a recommendation over {CONFIGURATIONS:,} configurations by HTTP"
ROWS = (
    Row("recommend-http", f"{_WHAT}, one client", Bound(at_most=20.0), 5, _recommend(1, 200), "ms"),
    Row("recommend-http-8", f"{_WHAT}, eight at once", Bound(at_most=60.0), 5, _recommend(8, 50), "ms"),
)
