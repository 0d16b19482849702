"""What is a Ray cluster of several nodes on this machine, each of which can be killed?

``python ray_nodes.py FOLDER`` starts a head without devices, in FOLDER, on the loopback interface, with a
token that FOLDER has. It takes requests as lines of JSON on its standard input, and answers each with one:
``add`` a node, ``drain`` or ``kill`` one, ``kill_head``. It ends with its standard input, and with all that
it has started.

It is for tests and :mod:`matrix_kills` alone: Ray starts its nodes here by what it keeps for its own tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

_OBJECT_STORE = 80 * 2**20
"""Bytes."""
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_niceness": "0",
    # A node that was killed is noticed within two seconds.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}
_END_WITHIN = 30.0


class RayNodes:
    """A cluster, from its start to its end."""

    def __init__(
        self, *, client_port: int | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        # Below /tmp, as the path of a socket has at most 107 characters.
        self._folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        (folder / "token").write_text(os.urandom(32).hex())
        self.environment = {
            **_ENVIRONMENT,
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_TMPDIR": str(folder),
        }
        """With which it is connected to."""
        self._log = (folder / "log").open("wb")
        port = "" if client_port is None else str(client_port)
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._folder.name, port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**environment, **self.environment},
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.client_port = client_port
        self.ids: list[str] = []
        """Of the nodes, as Ray has them, by number."""
        self.address: str = self._hear()["address"]

    def add(
        self,
        hardware: Mapping[str, int],
        *,
        gpus: tuple[int, ...] = (),
        cpus: Collection[int] | None = None,
        labels: Mapping[str, str] = {},
        environment: Mapping[str, str] = {},
    ) -> int:
        """A further node; its number.

        :param gpus: indices of those that it says it has.
        :param cpus: on which it runs; None for all.
        """
        answer = self._ask(
            op="add",
            cpus=None if cpus is None else sorted(cpus),
            num_gpus=len(gpus),
            resources={f"hw_{label}": count for label, count in hardware.items()},
            labels=dict(labels),
            env_vars={**environment, "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))},
        )
        self.ids.append(answer["id"])
        return len(self.ids) - 1

    def drain(self, node: int) -> None:
        """Say of a node that it will be taken away."""
        self._ask(op="drain", node=node)

    def kill(self, node: int) -> None:
        """Kill a node as the loss of its machine would."""
        self._ask(op="kill", node=node)

    def kill_head(self) -> None:
        """Kill the head; the cluster is of no use then."""
        self._ask(op="kill_head")

    def close(self) -> None:
        """End it all."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_WITHIN)
        # Ray's agents outlive a node that was killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def __enter__(self) -> RayNodes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, **request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            log = (Path(self._folder.name) / "log").read_text(errors="replace")[-2000:]
            self.close()
            msg = f"the Ray cluster does not answer:\n{log}"
            raise RuntimeError(msg)
        answer: dict[str, Any] = json.loads(line)
        return answer


def main(folder: str, client_port: str = "") -> None:
    """The cluster's process; see the module."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields: object) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    from ray.cluster_utils import Cluster

    Path(folder, "ray").mkdir(exist_ok=True)
    common = {"object_store_memory": _OBJECT_STORE, "temp_dir": folder, "num_cpus": 2}
    head: dict[str, object] = {"include_dashboard": False}
    if client_port:
        head["ray_client_server_port"] = int(client_port)
    cluster = Cluster(initialize_head=True, head_node_args={**common, **head, "num_cpus": 0})
    answer(address=cluster.address)
    nodes: list[Any] = []
    all_cpus = os.sched_getaffinity(0)
    for line in sys.stdin:
        request = json.loads(line)
        match request.pop("op"):
            case "add":
                cpus = request.pop("cpus") or all_cpus
                # What a node starts has its CPUs.
                os.sched_setaffinity(0, cpus)
                nodes.append(cluster.add_node(**common, **request))
                os.sched_setaffinity(0, all_cpus)
                answer(id=nodes[-1].node_id)
            case "drain":
                _drain(cluster.address, nodes[request["node"]].node_id)
                answer()
            case "kill":
                _kill(nodes[request["node"]])
                answer()
            case "kill_head":
                _kill(cluster.head_node)
                answer()
    for node in (*nodes, cluster.head_node):
        with contextlib.suppress(Exception):
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)


def _kill(node: Any) -> None:
    node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)


def _drain(address: str, node_id: str) -> None:
    from ray.core.generated import autoscaler_pb2

    raylet: Any = import_module("ray._raylet")
    reason = autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
    raylet.GcsClient(address=address).drain_node(node_id, reason, "the machine is taken away", 2**62)


if __name__ == "__main__":
    main(*sys.argv[1:])
