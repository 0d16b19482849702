"""A real Ray of three nodes and a head on this machine, which the tests of the cluster share."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_llmbench.matrix.cells import Cell, cell_id
from pytest_llmbench.matrix.executor import Outcome, Task
from pytest_llmbench.matrix.on_ray import RayExecutor, connect
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.results.ids import new_session_id
from tests.waiting import until

ROOT = Path(__file__).parents[2]
ATTEMPT = "tests.cluster.attempts:run"

MakeTask = Callable[..., Task]


@pytest.fixture(scope="module")
def ray_nodes() -> Iterator[Callable[..., Any]]:
    """Starts clusters; none of their processes is left at the end."""
    pytest.importorskip("ray", reason="Ray is not installed")
    sys.path.insert(0, str(ROOT / "benchmarks" / "overhead"))
    from ray_nodes import RayNodes

    started: list[Any] = []
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

    def start(**options: Any) -> Any:
        started.append(RayNodes(environment={**os.environ, "PYTHONPATH": path}, **options))
        return started[-1]

    yield start
    sys.path.remove(str(ROOT / "benchmarks" / "overhead"))
    below = [one for nodes in started for one in below_of(nodes.pid)]
    for nodes in started:
        nodes.close()
    until(lambda: not alive(below))


@pytest.fixture(scope="module")
def cluster(ray_nodes: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Four fake GPUs on one node; one each on two others, one of which has another version of an engine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = ray_nodes(client_port=port)
    nodes.add({"four": 4}, gpus=(0, 1, 2, 3))
    nodes.add({"one": 1}, gpus=(4,), labels={"market": "spot"})
    other = tmp_path_factory.mktemp("packages")
    info = other / "llama_cpp_python-9.9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: 9.9.9\n")
    path = os.pathsep.join(filter(None, [str(other), str(ROOT), os.environ.get("PYTHONPATH")]))
    nodes.add({"one": 1}, gpus=(5,), environment={"PYTHONPATH": path})
    return nodes


@pytest.fixture
def on_cluster(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayExecutor]:
    """An executor on the shared cluster, whose attempts are quick ones."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    executor = connect(cluster.address, attempt=ATTEMPT)
    yield executor
    executor.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where attempts note what they do."""
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def make_task(log: Path) -> MakeTask:
    """Makes tasks of which an attempt does something; see :mod:`tests.cluster.attempts`."""

    def make(do: str = "note", hardware: str = "four", count: int = 1, market: Any = None) -> Task:
        kind = Hardware(hardware, count, market)
        case = {"name": "short", "do": do}
        cell = Cell(
            id=cell_id(case, {"name": "tiny"}, kind),
            name="short",
            hardware=kind,
            engine="llamacpp",
            served=False,
            model="tiny",
            quantization=None,
            load=None,
            suite={"do": do, "log": str(log)},
        )
        return Task(cell, "m", new_session_id(0.0))

    return make


def all_outcomes(executor: RayExecutor, count: int) -> list[Outcome]:
    """Wait for so many."""
    found: list[Outcome] = []
    until(lambda: found.extend(executor.wait(5)) or len(found) >= count)
    return found


def below_of(pid: int) -> list[psutil.Process]:
    """A process and all that are below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended."""
    found = []
    for one in processes:
        try:
            if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.NoSuchProcess:
            continue
    return found
