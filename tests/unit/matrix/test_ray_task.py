"""Is an attempt in a Ray worker what the driver asked for, and does it end when it is told to?"""

from __future__ import annotations

import _thread
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import ClusterError, ResultsError
from pytest_llmbench.matrix import ray_task
from pytest_llmbench.matrix.devices import Devices
from pytest_llmbench.matrix.executor import Node, Outcome, Task
from pytest_llmbench.matrix.ray_task import TASKS, measure
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.results.ids import new_session_id
from tests.unit.matrix.plans import a_cell

Run = Callable[..., Outcome]
SEEN: dict[str, Any] = {}


def measured(task: Task, node: Node, devices: Devices, folder: Path, **more: Any) -> Outcome:
    SEEN.update(task=task, node=node, devices=devices, folder=folder, parent=folder.parent.exists(), **more)
    return Outcome(task, "measured", seconds=1.5, node="other", key="k", document=b"{}", log=None)


def interrupted(task: Task, *_: object, stopping: Callable[[], bool], grace: float) -> Outcome:
    _thread.interrupt_main()
    while not stopping():
        time.sleep(0.001)
    return Outcome(task, "lost", reason=f"within {grace:g} s")


def failing(*_: object, **__: object) -> Outcome:
    raise ResultsError("no space left")


def broken(*_: object, **__: object) -> Outcome:
    raise ZeroDivisionError("of ours")


@pytest.fixture(autouse=True)
def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ray_task, "_placed", lambda: ("node-1", ("2", "3")))
    monkeypatch.setattr(ray_task, "_facts", lambda: {"driver": "550"})
    monkeypatch.setitem(sys.modules, "its_attempts", sys.modules[__name__])
    SEEN.clear()


def asked(run: Run, *, gpus: bool = True, hardware: Hardware = Hardware("L4", 2), total: int = 4) -> Any:  # noqa: B008
    task = Task(a_cell(hardware=hardware), "m", new_session_id(0.0), options=("-x",))
    return {
        "task": TASKS.dump_python(task, mode="json"),
        "attempt": f"its_attempts:{run.__name__}",
        "grace": 7.0,
        "totals": {"node-1": total},
        "gpus": gpus,
    }


def test_an_attempt_has_the_task_its_node_and_the_gpus_that_ray_keeps_for_it() -> None:
    request = asked(measured)
    told = measure(request)
    assert told == {
        "end": "measured",
        "reason": None,
        "seconds": 1.5,
        "node": "node-1",
        "key": "k",
        "document": b"{}",
        "log": None,
    }
    assert TASKS.dump_python(SEEN["task"], mode="json") == request["task"]
    assert (SEEN["node"].id, SEEN["node"].hardware) == ("node-1", {"L4": 4})
    assert SEEN["node"].facts == {"driver": "550"}
    assert SEEN["devices"] == Devices(gpus=("2", "3"))
    assert SEEN["grace"] == 7.0
    assert SEEN["parent"]
    assert not SEEN["folder"].parent.exists()


def test_without_gpus_it_has_cpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.matrix.shares.numa_nodes", lambda: [frozenset({0}), frozenset({1})])
    measure(asked(measured, gpus=False, hardware=Hardware("cpu"), total=2))
    assert SEEN["devices"] == Devices(cpus=frozenset({0}))


def test_told_to_stop_by_ray_it_ends_with_what_it_has() -> None:
    told = measure(asked(interrupted))
    assert (told["end"], told["reason"]) == ("lost", "within 7 s")


def test_what_the_node_cannot_do_is_for_another_attempt() -> None:
    told = measure(asked(failing))
    assert (told["end"], told["reason"]) == ("transient", "no space left")


def test_devices_that_somebody_else_has_use_up_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_task, "_IN_USE_WITHIN", 0.0)
    with ray_task.exclusive_gpus(["3"], 0):
        told = measure(asked(measured))
    assert told["end"] == "lost"
    assert "another attempt has GPU 2, 3" in told["reason"]


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError, match="of ours"):
        measure(asked(broken))


def test_a_node_says_what_it_measures_with() -> None:
    assert ray_task.ask_facts() == {"version": ray_task.__version__, "facts": {"driver": "550"}}


def test_what_ray_has_set_is_as_it_is_on_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONBREAKPOINT", "ray.util.rpdb.set_trace")
    monkeypatch.setattr(ray_task, "_environment", lambda pid: {"OMP_NUM_THREADS": "8", "HOME": "elsewhere"})
    home = os.environ.get("HOME")
    ray_task._undo_ray()
    assert os.environ["OMP_NUM_THREADS"] == "8"
    assert "PYTHONBREAKPOINT" not in os.environ
    assert os.environ.get("HOME") == home


def test_a_node_where_what_is_measured_would_yield_to_all_else_measures_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setenv("RAY_RAYLET_PID", "77")
    monkeypatch.setattr(ray_task, "_environment", lambda pid: {})
    monkeypatch.setattr(os, "getpriority", lambda which, who: 0 if who == 77 else 15)
    monkeypatch.setattr(os, "setpriority", refuse)
    with pytest.raises(ClusterError, match="start the node with RAY_worker_niceness=0"):
        ray_task.ask_facts()


def test_the_variables_of_a_process_are_read() -> None:
    assert ray_task._environment(os.getpid())["PATH"]
    assert ray_task._environment(2**30) == {}
