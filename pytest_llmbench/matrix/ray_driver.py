"""What is Ray asked, by the process that talks to it?

``python -m pytest_llmbench.matrix.ray_driver FD``. Ray writes past all logging to the standard output of
whoever connects, and ends the process whose cluster is gone: so that is not the one that holds the matrix's
lock. It lives as long as :mod:`pytest_llmbench.matrix.on_ray`, whose requests it answers.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pytest_llmbench._version import __version__
from pytest_llmbench.errors import ClusterError, one_line
from pytest_llmbench.matrix import ray_task
from pytest_llmbench.matrix.facts import CPU
from pytest_llmbench.processes.serve import Kind, serve
from pytest_llmbench.processes.wire import Json

RAY = Kind("Ray driver", "let fewer cells run at once", "")
LABEL = "hw_"
"""What the custom resource of a node's hardware begins with, before the label."""
MARKET = "market"
"""The label of a node that says whether it is bought on the spot market."""
_NODE_ID = "ray.io/node-id"
_OBJECT_STORE = 80 * 2**20
"""Bytes of a local cluster's: documents alone go through it."""
_FACTS_WITHIN = 60.0
_FETCHED_WITHIN = 60.0
_NOWHERE = 20.0
"""Seconds that no node may have what a task asks for, before it is given back."""
_LOOK = 1.0
"""Seconds between signs of life."""
_NODES_EVERY = 2.0
_LONGEST_LOG = 2**20
"""Bytes of what Ray prints that are kept."""


@dataclass(slots=True)
class _Task:
    """One that was submitted and has not ended."""

    ref: Any
    session: str
    hardware: str
    count: int
    since: float
    nowhere_since: float | None = None


class Driver:
    """The connection to a cluster."""

    def __init__(self) -> None:
        self._attempt = ray_task.ATTEMPT
        self._grace = 60.0
        self._tasks: dict[str, _Task] = {}
        self._facts: dict[str, Json | str] = {}
        """By node: what it answered, or why it did not."""
        self._looked = 0.0
        self._alive: list[Json] = []

    def handle(self, request: Json, mention: Callable[[Json], None]) -> Json:
        """Answer one request."""
        _bound_output()
        match request["op"]:
            case "open":
                return self._open(request)
            case "nodes":
                return {"nodes": self._nodes()}
            case "free":
                return {"free": self._is_free(request["hardware"], request["count"])}
            case "submit":
                return self._submit(request["task"])
            case "wait":
                return {"ended": self._wait(request["seconds"], mention)}
            case "stop":
                return {"ended": self._stop(request["grace"], mention)}
        _ray().shutdown()
        return {}

    def _open(self, request: Json) -> Json:
        ray = _ray()
        self._attempt, self._grace = request["attempt"], request["grace"]
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        if (address := request["address"]) is None:
            resources = {LABEL + label: count for label, count in request["hardware"].items()}
            options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
            options |= {"num_gpus": request["gpus"], "resources": resources, "_temp_dir": request["folder"]}
        try:
            ray.init("local" if address is None else address, **options)
        except Exception as error:  # noqa: BLE001  # whatever Ray raises, it is not reached
            where = "it does not start" if address is None else "it does not answer"
            raise ClusterError(f"{where}: {_words(error)}") from None
        return {"version": ray.__version__}

    # --- Nodes ----------------------------------------------------------------------------------

    def _look(self) -> list[Json]:
        """The nodes that are there and take tasks, looked at every other second."""
        if time.monotonic() - self._looked > _NODES_EVERY:
            leaving = _draining()
            nodes = [node for node in _ray().nodes() if node["Alive"] and node["NodeID"] not in leaving]
            self._alive = nodes
            self._looked = time.monotonic()
        return self._alive

    def _nodes(self) -> list[Json]:
        self._looked = 0.0
        found = [node for node in self._look() if hardware_of(node)]
        self._ask_facts([node["NodeID"] for node in found])
        told = []
        for node in found:
            facts = self._facts.get(node["NodeID"])
            if isinstance(facts, dict):
                told.append(
                    {
                        "id": node["NodeID"],
                        "hardware": hardware_of(node),
                        "facts": facts["facts"],
                        "market": node.get("Labels", {}).get(MARKET),
                    }
                )
        broken = [text for text in self._facts.values() if isinstance(text, str)]
        if found and not told and broken:
            raise ClusterError(f"no node of the cluster can measure: {broken[0]}")
        return told

    def _ask_facts(self, ids: list[str]) -> None:
        """Ask each node that was not asked yet what it measures with."""
        from ray.exceptions import GetTimeoutError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray = _ray()
        remote = ray.remote(num_cpus=0, max_retries=0)(ray_task.ask_facts)
        asked = {
            one: remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(one, soft=False)).remote()
            for one in ids
            if one not in self._facts
        }
        end = time.monotonic() + _FACTS_WITHIN
        for one, ref in asked.items():
            try:
                answer = ray.get(ref, timeout=max(0.1, end - time.monotonic()))
            except GetTimeoutError:
                self._facts[one] = f"node {one[:8]} does not say what it measures with"
            except Exception as error:  # noqa: BLE001  # whatever a node lacks
                if ending_of(error)[0] != "lost":
                    self._facts[one] = f"node {one[:8]}: {_words(error)}"
            else:
                same = answer["version"] == __version__
                other = f"node {one[:8]} has pytest-llmbench {answer['version']}, and this is {__version__}"
                self._facts[one] = answer if same else f"{other}; install the same there"

    def _is_free(self, hardware: str, count: int) -> bool:
        totals = [hardware_of(node).get(hardware, 0) for node in self._look()]
        taken = sum(task.count for task in self._tasks.values() if task.hardware == hardware)
        return any(total >= count for total in totals) and taken + count <= sum(totals)

    # --- Tasks ----------------------------------------------------------------------------------

    def _submit(self, told: Json) -> Json:
        hardware = told["cell"]["hardware"]
        name, count = hardware["name"], hardware["count"]
        nodes = self._look()
        having = [node for node in nodes if hardware_of(node).get(name, 0) >= count]
        if not having:
            msg = (
                f"no node of the cluster has {count} x {name}; 'ray status' lists {LABEL}LABEL where one has"
            )
            raise ClusterError(msg)
        gpus = name != CPU and any(node["Resources"].get("GPU", 0) >= count for node in having)
        request = {
            "task": told,
            "attempt": self._attempt,
            "grace": self._grace,
            "totals": {node["NodeID"]: hardware_of(node)[name] for node in having},
            "gpus": gpus,
        }
        remote = _ray().remote(max_retries=0, max_calls=0, num_cpus=0)(ray_task.measure)
        ref = remote.options(
            resources={LABEL + name: count},
            num_gpus=count if gpus else 0,
            label_selector=self._selector(hardware["market"]),
            name=f"{told['matrix']} {told['cell']['id']}",
        ).remote(request)
        self._tasks[told["session_id"]] = _Task(ref, told["session_id"], name, count, time.monotonic())
        return {}

    def _selector(self, market: str | None) -> dict[str, str]:
        """Labels of the nodes that a task may be placed on."""
        selector = {} if market is None else {MARKET: "spot" if market == "spot" else "!spot"}
        if broken := [one for one, facts in self._facts.items() if isinstance(facts, str)]:
            selector[_NODE_ID] = f"!in({','.join(broken)})"
        return selector

    def _wait(self, seconds: float, mention: Callable[[Json], None]) -> list[Json]:
        ray = _ray()
        end = time.monotonic() + seconds
        while self._tasks:
            refs = {task.ref: task for task in self._tasks.values()}
            left = max(0.0, min(_LOOK, end - time.monotonic()))
            if ray.wait(list(refs), num_returns=1, timeout=left)[0]:
                done = ray.wait(list(refs), num_returns=len(refs), timeout=0)[0]
                return [self._ended(refs[ref]) for ref in done]
            if given_back := self._without_a_node():
                return given_back
            if time.monotonic() >= end:
                return []
            mention({"alive": {"tasks": len(self._tasks)}})
        return []

    def _stop(self, grace: float, mention: Callable[[Json], None]) -> list[Json]:
        ray = _ray()
        for task in self._tasks.values():
            ray.cancel(task.ref, force=False, recursive=False)
        ended: list[Json] = []
        end = time.monotonic() + grace
        while self._tasks and (left := end - time.monotonic()) > 0:
            ended += self._wait(left, mention)
        for task in self._tasks.values():
            ray.cancel(task.ref, force=True, recursive=True)
        ended += [self._ended(task) for task in list(self._tasks.values())]
        return ended

    def _ended(self, task: _Task) -> Json:
        """How a task ended that has."""
        del self._tasks[task.session]
        try:
            found = _ray().get(task.ref, timeout=_FETCHED_WITHIN)
        except Exception as error:  # noqa: BLE001  # each is looked at
            end, reason = ending_of(error)
            found = {"end": end, "reason": reason, "seconds": time.monotonic() - task.since}
        if (document := found.get("document")) is not None:
            found["document"] = document.decode("utf-8", "surrogateescape")
        return {**found, "session": task.session}

    def _without_a_node(self) -> list[Json]:
        """Tasks that would wait forever: the last node is gone that has what they ask for."""
        now = time.monotonic()
        most: Counter[str] = Counter()
        for node in self._look():
            for label, count in hardware_of(node).items():
                most[label] = max(most[label], count)
        given_back = []
        for task in list(self._tasks.values()):
            if most[task.hardware] >= task.count:
                task.nowhere_since = None
                continue
            task.nowhere_since = task.nowhere_since or now
            if now - task.nowhere_since > _NOWHERE:
                _ray().cancel(task.ref, force=True, recursive=True)
                del self._tasks[task.session]
                reason = f"no node has {task.count} x {task.hardware} any more"
                given_back.append({"session": task.session, "end": "lost", "reason": reason, "seconds": 0.0})
        return given_back


def hardware_of(node: Mapping[str, Any]) -> dict[str, int]:
    """The devices of one of Ray's nodes by label."""
    return {
        name.removeprefix(LABEL): int(count)
        for name, count in node["Resources"].items()
        if name.startswith(LABEL) and count >= 1
    }


def ending_of(error: BaseException) -> tuple[str, str]:
    """What an error of Ray's means for the attempt whose result was asked for, with the reason."""
    from ray import exceptions

    kinds: tuple[tuple[tuple[type[BaseException], ...], str, str], ...] = (
        ((exceptions.TaskCancelledError,), "lost", "it was stopped before it had a result"),
        (
            (exceptions.NodeDiedError, exceptions.LocalRayletDiedError),
            "lost",
            "its node died, or was taken away",
        ),
        ((exceptions.OutOfMemoryError,), "transient", "Ray ended it, since its node ran out of memory"),
        ((exceptions.WorkerCrashedError,), "lost", "the process on its node that watched it was killed"),
        ((exceptions.GetTimeoutError,), "lost", "its result did not come over from its node"),
        ((exceptions.RayTaskError,), "transient", "its node could not make the attempt"),
    )
    for types, end, reason in kinds:
        if isinstance(error, types):
            return end, f"{reason}: {_words(error)}" if end == "transient" else reason
    return "lost", _words(error)


def _words(error: BaseException) -> str:
    """What an error says, in one line: of one that was raised on a node, its last line."""
    text = str(getattr(error, "cause", None) or error).strip()
    return (
        one_line(text.rpartition("\n")[2] if "Traceback" in text or "ray::" in text else text)
        or type(error).__name__
    )


def _draining() -> set[str]:
    """The nodes that end soon, where Ray tells: by no public way."""
    with suppress(Exception):
        from ray._private.state import state

        return set(state.get_draining_nodes())
    return set()


def _bound_output() -> None:
    """What Ray prints goes to a file that must not grow for weeks."""
    with suppress(OSError):
        if os.fstat(1).st_size > _LONGEST_LOG:
            os.ftruncate(1, 0)
            os.lseek(1, 0, os.SEEK_SET)


def _ray() -> Any:
    import ray

    return ray


if __name__ == "__main__":
    driver = Driver()
    serve(int(sys.argv[1]), driver.handle, RAY)
