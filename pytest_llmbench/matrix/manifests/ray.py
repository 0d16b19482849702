"""Which RayJob of KubeRay measures a matrix, on which groups of nodes?

A group for each kind of hardware, on demand and on spot nodes; the head has no device and no task. The
numbers of nodes are fixed: a device that no node has yet would be an error to a run, not a wish. Names of
fields and what is refused are KubeRay's, as its sources have it (``raycluster_types.go``,
``rayjob_types.go``, ``validation.go``); ``authOptions`` and ``labels`` need its version 1.5.1.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence

from pytest_llmbench.matrix.manifests.pod import (
    Json,
    container,
    labels,
    measuring,
    placement,
    queued,
    run,
    small,
    template,
    variables,
)
from pytest_llmbench.matrix.manifests.wanted import Nodes, Wanted
from pytest_llmbench.matrix.on_ray import QUIET
from pytest_llmbench.matrix.ray_driver import LABEL, MARKET

RAY_VERSION = "2.60.0"
"""The one that was tried; that of the image."""
MOST_GROUPS = 17
"""That Kueue takes of workers."""
_HEAD_CPUS, _HEAD_MEMORY = 2, 8
_OBJECT_STORE = 200 * 10**6
"""Bytes; what goes through Ray is small, and Ray would take 30 % of the memory."""
_GCS, _AGENT = 6379, 52365
_HEAD = f"127.0.0.1:{_GCS}"
"""For a job of Ray's, which runs on the head: what is started there has no client (``ray://``)."""
_RETRIES = 1
"""Each builds a new cluster; what is measured is in the store."""
_KEPT = 600
"""Seconds that the cluster stays after its job, for a look at it."""
_VARIABLES = {
    **QUIET,
    # What an attempt takes is its own affair, within the pod's memory.
    "RAY_memory_monitor_refresh_ms": "0",
}


def ray_job(wanted: Wanted) -> Json:
    """A RayJob, with a cluster of its own."""
    submitter = container(wanted, None, small(1, 2), _VARIABLES)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": wanted.name, "labels": {**labels(wanted), **queued(wanted)}},
        "spec": {
            **({} if wanted.queue is None else {"suspend": True}),
            "entrypoint": shlex.join(["llmbench", *run("--on", _HEAD)]),
            "submissionMode": "K8sJobMode",
            "backoffLimit": _RETRIES,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": _KEPT,
            "submitterPodTemplate": template(
                wanted, "submitter", [submitter], placement(wanted, None, spot=False), restartPolicy="Never"
            ),
            "rayClusterSpec": _cluster(wanted),
        },
    }


def ray_cluster(wanted: Wanted) -> Json:
    """The same cluster, for as long as somebody wants it."""
    about = {"name": wanted.name, "labels": labels(wanted)}
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": about, "spec": _cluster(wanted)}


def _cluster(wanted: Wanted) -> Json:
    return {
        "rayVersion": RAY_VERSION,
        # Whoever reaches Ray's ports runs what he likes otherwise.
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {
                "num-cpus": "0",
                "dashboard-host": "0.0.0.0",
                "object-store-memory": str(_OBJECT_STORE),
            },
            "template": template(
                wanted,
                "head",
                [
                    _container(
                        wanted,
                        small(_HEAD_CPUS, _HEAD_MEMORY),
                        {},
                        [("gcs-server", _GCS), ("dashboard", 8265), ("client", 10001)],
                    )
                ],
                placement(wanted, None, spot=False),
            ),
        },
        "workerGroupSpecs": [
            _group(wanted, nodes, spot=spot) for nodes in _largest(wanted) for spot in _markets(wanted, nodes)
        ],
    }


def _largest(wanted: Wanted) -> list[Nodes]:
    """Of each hardware and market the nodes with most devices: smaller tasks share them."""
    found: dict[tuple[str, str | None], Nodes] = {}
    for nodes in wanted.nodes:
        key = (nodes.hardware.name, nodes.hardware.market)
        if key not in found or found[key].hardware.count < nodes.hardware.count:
            found[key] = nodes
    return list(found.values())


def _markets(wanted: Wanted, nodes: Nodes) -> Iterator[bool]:
    """Whether nodes are spot ones: of hardware that may be either, both."""
    if nodes.hardware.market != "spot":
        yield False
    if wanted.spot is not None and nodes.hardware.market != "on_demand":
        yield True


def _group(wanted: Wanted, nodes: Nodes, *, spot: bool) -> Json:
    devices = nodes.hardware.count
    # Where both are, one on demand finishes what spot nodes were lost with.
    several = not (wanted.spot is not None and not spot and nodes.hardware.market is None)
    count = min(wanted.pods, nodes.batches) if several else 1
    name = nodes.slug.removesuffix("-spot") + ("-spot" if spot else "")
    resources = json.dumps({LABEL + nodes.hardware.name: devices})
    return {
        "groupName": name,
        "replicas": count,
        "minReplicas": 1,
        "maxReplicas": count,
        "labels": {MARKET: "spot" if spot else "on_demand"},
        "rayStartParams": {
            "num-cpus": str(devices * wanted.cpus),
            **({"num-gpus": str(nodes.gpus)} if nodes.gpus else {}),
            # It becomes a word of a shell's line, and has to be one there.
            "resources": json.dumps(resources),
            "object-store-memory": str(_OBJECT_STORE),
        },
        "template": template(
            wanted,
            name,
            [_container(wanted, measuring(wanted, nodes), variables(wanted, nodes))],
            placement(wanted, nodes, spot=spot),
        ),
    }


def _container(
    wanted: Wanted, resources: Json, more: dict[str, str], ports: Sequence[tuple[str, int]] = ()
) -> Json:
    """One that KubeRay starts Ray in."""
    probe = {"httpGet": {"path": "/api/local_raylet_healthz", "port": _AGENT}, "timeoutSeconds": 5}
    return container(
        wanted,
        None,
        resources,
        {**_VARIABLES, **more},
        # KubeRay would ask by wget, which the image lacks. These paths need no token.
        livenessProbe={**probe, "initialDelaySeconds": 30, "periodSeconds": 10, "failureThreshold": 60},
        readinessProbe={**probe, "initialDelaySeconds": 5, "periodSeconds": 5, "failureThreshold": 12},
        **({"ports": [{"name": name, "containerPort": port} for name, port in ports]} if ports else {}),
    )
