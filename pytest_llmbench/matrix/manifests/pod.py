"""How does a pod look that measures? One template, whatever starts it.

It is not root and writes nothing but its volumes; it has whole CPUs and whole accelerators, as much as it
asks for, so that Kubernetes counts it among the guaranteed ones; and it has time to finish a round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.matrix.manifests.kinds import GPU
from pytest_llmbench.matrix.manifests.wanted import Nodes, Wanted

Json = dict[str, Any]

USER = 1000
"""Of the image that deploy/Dockerfile makes."""
CONTAINER = "llmbench"
GRACE = 120
"""Seconds from SIGTERM to SIGKILL: what a round may take that is finished on a spot notice."""
MATRIX_FOLDER = "/matrix"
MATRIX_FILE = "matrix.yaml"
DATA = "/data"
STORE = f"{DATA}/store"
MODELS = f"{DATA}/models"
_SHARED_MEMORY = 8
"""GiB at most; engines with several processes talk through it."""
_TEMPORARY = 20
"""GiB at most."""


def selector(wanted: Wanted) -> dict[str, str]:
    """What all pods of a matrix have and no other, whatever KubeRay makes of the usual labels."""
    return {"llmbench/matrix": wanted.name}


def labels(wanted: Wanted, part: str | None = None) -> dict[str, str]:
    """Of everything that belongs to a matrix."""
    found = {"app.kubernetes.io/name": "pytest-llmbench", **selector(wanted)}
    return found if part is None else {**found, "app.kubernetes.io/component": part}


def queued(wanted: Wanted) -> dict[str, str]:
    """The label by which Kueue finds what it queues."""
    return {} if wanted.queue is None else {"kueue.x-k8s.io/queue-name": wanted.queue}


def run(*words: str) -> list[str]:
    """The words behind ``llmbench`` that run cells of the matrix."""
    return ["matrix", "run", f"{MATRIX_FOLDER}/{MATRIX_FILE}", *words, "--store", STORE]


def run_batch(nodes: Nodes, batch: str) -> list[str]:
    """The words that run one batch of a kind of hardware, which is what the pod has."""
    hardware = nodes.hardware
    has = f"{hardware.name}={hardware.count}"
    return run("--hardware", has, "--only", f"hardware={hardware.exact}", "--batch", batch)


def container(
    wanted: Wanted,
    arguments: Sequence[str] | None,
    resources: Mapping[str, str],
    variables: Mapping[str, str] | None = None,
    **more: object,
) -> Json:
    """The container, with *arguments* for ``llmbench``; without them, another program is started in it."""
    said = {
        "HOME": "/tmp",
        "LLMBENCH_STORE": STORE,
        "MODEL_CACHE_DIR": MODELS,
        **(variables or {}),
    }
    # Of private models: what is not there is left out.
    login = {"secretKeyRef": {"name": f"{wanted.name}-hub", "key": "token", "optional": True}}
    command: Json = {} if arguments is None else {"command": ["llmbench"], "args": list(arguments)}
    return {
        "name": CONTAINER,
        "image": wanted.image,
        **command,
        "env": [
            *({"name": name, "value": value} for name, value in said.items()),
            {"name": "HF_TOKEN", "valueFrom": login},
        ],
        # What is asked for is what is given, in whole CPUs: the kubelet may pin them to the pod.
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "matrix", "mountPath": MATRIX_FOLDER, "readOnly": True},
            {"name": "store", "mountPath": STORE},
            {"name": "models", "mountPath": MODELS},
            {"name": "temporary", "mountPath": "/tmp"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
        **more,
    }


def measuring(wanted: Wanted, nodes: Nodes) -> dict[str, str]:
    """What a pod has that measures: whole devices, and CPUs and memory for each."""
    found = small(nodes.hardware.count * wanted.cpus, nodes.hardware.count * wanted.memory)
    return {**found, wanted.gpu: str(nodes.gpus)} if nodes.gpus else found


def small(cpus: int, memory: int) -> dict[str, str]:
    """So many CPUs and GiB."""
    return {"cpu": str(cpus), "memory": f"{memory}Gi"}


def variables(wanted: Wanted, nodes: Nodes) -> dict[str, str]:
    """That a pod with accelerators needs, so that they can be watched too."""
    return {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"} if nodes.gpus and wanted.gpu == GPU else {}


def placement(wanted: Wanted, nodes: Nodes | None, *, spot: bool) -> Json:
    """On which nodes: those of the hardware, and of its market where spot nodes are named."""
    chosen = {} if nodes is None else dict(nodes.selector)
    tolerated: list[Json] = []
    if nodes is not None and nodes.gpus:
        tolerated.append({"key": wanted.gpu, "operator": "Exists", "effect": "NoSchedule"})
    found: Json = {}
    if wanted.spot is not None:
        key, value = wanted.spot
        if spot:
            chosen[key] = value
            tolerated.append({"key": key, "operator": "Exists", "effect": "NoSchedule"})
        else:
            unlike = {"key": key, "operator": "NotIn", "values": [value]}
            terms = [{"matchExpressions": [unlike]}]
            found["affinity"] = {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
                }
            }
    if chosen:
        found["nodeSelector"] = chosen
    if tolerated:
        found["tolerations"] = tolerated
    return found


def on_spot(wanted: Wanted, nodes: Nodes) -> bool:
    """Whether a pod that has one market goes to spot nodes."""
    return wanted.spot is not None and nodes.hardware.market != "on_demand"


def volumes(wanted: Wanted) -> list[Json]:
    """The matrix, the store, the models, and what goes with the pod."""
    return [
        {"name": "matrix", "configMap": {"name": f"{wanted.name}-matrix"}},
        *(
            {"name": name, "persistentVolumeClaim": {"claimName": f"{wanted.name}-{name}"}}
            for name in ("store", "models")
        ),
        {"name": "temporary", "emptyDir": {"sizeLimit": f"{_TEMPORARY}Gi"}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": f"{_SHARED_MEMORY}Gi"}},
    ]


def user() -> Json:
    """Who runs it: not root, and the owner of what it writes."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def template(wanted: Wanted, part: str, containers: Sequence[Json], where: Json, **more: object) -> Json:
    """A pod's template.

    :param part: what it is of the matrix, for its labels.
    :param where: as :func:`placement` says.
    """
    return {
        "metadata": {"labels": labels(wanted, part)},
        "spec": {
            **more,
            "terminationGracePeriodSeconds": GRACE,
            "automountServiceAccountToken": False,
            # Kubernetes would set variables of every service, LLMBENCH_PORT of one that is named llmbench.
            "enableServiceLinks": False,
            # So that something reaps what an engine leaves behind: the first process of a pod would have to.
            "shareProcessNamespace": True,
            "securityContext": user(),
            **where,
            "containers": list(containers),
            "volumes": volumes(wanted),
        },
    }
