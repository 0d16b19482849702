"""What does the process that talks to Ray make of its nodes, and of how tasks end?"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import ClusterError
from pytest_llmbench.matrix import ray_driver
from pytest_llmbench.matrix.executor import Task
from pytest_llmbench.matrix.ray_driver import Driver, ending_of, hardware_of
from pytest_llmbench.matrix.ray_task import TASKS
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.results.ids import new_session_id
from tests.unit.matrix.plans import a_cell

exceptions = pytest.importorskip("ray.exceptions", reason="Ray is not installed")


class FakeRay:
    """Nodes as they are told, and tasks that end when they are told to."""

    def __init__(self) -> None:
        self.alive: list[dict[str, Any]] = []
        self.submitted: list[dict[str, Any]] = []
        self.ready: dict[int, Any] = {}
        self.cancelled: list[tuple[int, bool]] = []

    def nodes(self) -> list[dict[str, Any]]:
        return self.alive

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        ray = self

        class Remote:
            def options(self, **more: Any) -> Any:
                ray.submitted.append({**options, **more})
                return self

            def remote(self, *arguments: Any) -> int:
                ray.submitted[-1]["arguments"] = arguments
                return len(ray.submitted) - 1

        return lambda function: Remote()

    def wait(self, refs: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        done = [ref for ref in refs if ref in self.ready]
        return done[:num_returns], []

    def get(self, ref: int, timeout: float) -> Any:
        if isinstance(self.ready[ref], Exception):
            raise self.ready[ref]
        return self.ready[ref]

    def cancel(self, ref: int, *, force: bool, recursive: bool) -> None:
        self.cancelled.append((ref, force))
        if force:
            self.ready.setdefault(ref, exceptions.TaskCancelledError())


def node(
    name: str, *, alive: bool = True, labels: Mapping[str, str] = {}, **resources: float
) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": 2.0, **resources}, "Labels": dict(labels)}


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(ray_driver, "_ray", lambda: fake)
    monkeypatch.setattr(ray_driver, "_draining", set)
    monkeypatch.setattr(ray_driver, "_bound_output", lambda: None)
    monkeypatch.setattr(ray_driver, "_NODES_EVERY", -1.0)
    return fake


@pytest.fixture
def ask(ray: FakeRay) -> Callable[..., Any]:
    driver = Driver()
    return lambda op, **request: driver.handle({"op": op, **request}, lambda _: None)


def told(hardware: Hardware = Hardware("L4")) -> Any:  # noqa: B008
    return TASKS.dump_python(Task(a_cell(hardware=hardware), "m", new_session_id(0.0)), mode="json")


def test_hardware_is_what_nodes_have_as_resources_of_that_prefix() -> None:
    assert hardware_of(
        node("a", hw_L4=2.0, **{"hw_A100-80GB": 1.0, "accelerator_type:L4": 1.0, "hw_none": 0.0})
    ) == {
        "L4": 2,
        "A100-80GB": 1,
    }


def test_a_task_asks_for_its_devices_and_for_as_many_gpus(ray: FakeRay, ask: Callable[..., Any]) -> None:
    ray.alive = [node("a", GPU=4.0, hw_L4=4.0), node("b", hw_L4=1.0), node("c", hw_cpu=2.0)]
    ask("submit", task=told(Hardware("L4", 2, "spot")))
    ask("submit", task=told(Hardware("cpu")))
    first, second = ray.submitted
    assert first["resources"] == {"hw_L4": 2}
    assert (first["num_gpus"], first["num_cpus"]) == (2, 0)
    assert first["label_selector"] == {"market": "spot"}
    assert first["arguments"][0]["totals"] == {"a": 4}
    assert (second["num_gpus"], second["resources"]) == (0, {"hw_cpu": 1})
    # A lost attempt is ours to count, and a process that made one makes the next.
    assert (first["max_retries"], first["max_calls"]) == (0, 0)


def test_cpus_of_a_node_that_has_gpus_too_are_asked_for_without_these(
    ray: FakeRay, ask: Callable[..., Any]
) -> None:
    ray.alive = [node("a", GPU=4.0, hw_L4=4.0, hw_cpu=1.0)]
    ask("submit", task=told(Hardware("cpu", 1, "on_demand")))
    assert ray.submitted[0]["num_gpus"] == 0
    assert ray.submitted[0]["label_selector"] == {"market": "!spot"}


def test_hardware_that_no_node_has_is_an_error(ray: FakeRay, ask: Callable[..., Any]) -> None:
    ray.alive = [node("a", hw_L4=1.0), node("b", alive=False, hw_L4=8.0)]
    with pytest.raises(ClusterError, match="no node of the cluster has 2 x L4"):
        ask("submit", task=told(Hardware("L4", 2)))
    assert ray.submitted == []


def test_devices_are_free_that_our_tasks_have_not(ray: FakeRay, ask: Callable[..., Any]) -> None:
    ray.alive = [node("a", hw_L4=2.0), node("b", hw_L4=1.0)]
    assert ask("free", hardware="L4", count=2)["free"]
    assert not ask("free", hardware="L4", count=3)["free"]
    assert not ask("free", hardware="H100", count=1)["free"]
    for _ in range(2):
        ask("submit", task=told())
    assert ask("free", hardware="L4", count=1)["free"]
    assert not ask("free", hardware="L4", count=2)["free"]


def test_a_node_that_ends_soon_gets_nothing(
    ray: FakeRay, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.alive = [node("a", hw_L4=2.0)]
    monkeypatch.setattr(ray_driver, "_draining", lambda: {"a"})
    assert not ask("free", hardware="L4", count=1)["free"]


def test_what_ended_is_told_with_its_document_whatever_bytes_that_has(
    ray: FakeRay, ask: Callable[..., Any]
) -> None:
    ray.alive = [node("a", hw_L4=2.0)]
    tasks = [told(), told(), told()]
    for task in tasks:
        ask("submit", task=task)
    ray.ready = {
        0: {"end": "measured", "reason": None, "seconds": 1.0, "document": b"\xc3\xa9\xff"},
        2: exceptions.WorkerCrashedError(),
    }
    first, second = ask("wait", seconds=0)["ended"]
    assert first["session"] == tasks[0]["session_id"]
    assert first["document"].encode("utf-8", "surrogateescape") == b"\xc3\xa9\xff"
    assert (second["session"], second["end"]) == (tasks[2]["session_id"], "lost")
    assert ask("wait", seconds=0)["ended"] == []


def test_told_to_stop_who_does_not_end_is_ended(ray: FakeRay, ask: Callable[..., Any]) -> None:
    ray.alive = [node("a", hw_L4=2.0)]
    for _ in range(2):
        ask("submit", task=told())
    ray.ready = {0: {"end": "measured", "reason": None, "seconds": 1.0}}
    ended = ask("stop", grace=0.01)["ended"]
    assert [one["end"] for one in ended] == ["measured", "lost"]
    assert ray.cancelled == [(0, False), (1, False), (1, True)]


def test_a_task_whose_last_node_is_gone_is_given_back(
    ray: FakeRay, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_driver, "_NOWHERE", -1.0)
    ray.alive = [node("a", hw_L4=2.0), node("b", hw_H100=1.0)]
    ask("submit", task=told())
    ask("submit", task=told(Hardware("H100")))
    assert ask("wait", seconds=0)["ended"] == []
    del ray.alive[0]
    (ended,) = ask("wait", seconds=0)["ended"]
    assert (ended["end"], ended["reason"]) == ("lost", "no node has 1 x L4 any more")
    assert ray.cancelled == [(0, True)]


@pytest.mark.parametrize(
    ("error", "end", "reason"),
    [
        (exceptions.NodeDiedError("x"), "lost", "its node died, or was taken away"),
        (exceptions.LocalRayletDiedError(), "lost", "its node died, or was taken away"),
        (exceptions.WorkerCrashedError(), "lost", "the process on its node that watched it was killed"),
        (exceptions.TaskCancelledError(), "lost", "it was stopped before it had a result"),
        (exceptions.GetTimeoutError("x"), "lost", "its result did not come over from its node"),
        (
            exceptions.OutOfMemoryError("threshold"),
            "transient",
            "Ray ended it, since its node ran out of memory",
        ),
        (
            exceptions.RayTaskError("measure", "Traceback\n  File\nValueError: x", ValueError("x")),
            "transient",
            "its node could not make the attempt: x",
        ),
        (exceptions.RaySystemError("what\nelse"), "lost", "System error: what else"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_of_ray_says_whether_the_attempt_counts(error: Exception, end: str, reason: str) -> None:
    found = ending_of(error)
    assert found[0] == end
    assert found[1].startswith(reason)
    assert "\n" not in found[1]


def test_what_ray_prints_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_driver, "_LONGEST_LOG", 10)
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    kept = os.dup(1)
    try:
        os.dup2(fd, 1)
        os.write(1, b"a" * 11)
        ray_driver._bound_output()
        os.write(1, b"end")
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(fd)
    assert (tmp_path / "log").read_bytes() == b"end"


def test_a_task_is_the_same_on_the_other_side() -> None:
    task = Task(a_cell(hardware=Hardware("L4", 2, "spot")), "m", new_session_id(0.0), 2, ("-x",), 9.5)
    again = TASKS.validate_python(TASKS.dump_python(task, mode="json"))
    assert dataclasses.replace(again, options=tuple(again.options)) == task
