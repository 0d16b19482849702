"""What does a matrix need beside what runs it: its namespace, its file, its volumes, its walls?"""

from __future__ import annotations

from pytest_llmbench.matrix.manifests.pod import MATRIX_FILE, Json, labels, selector
from pytest_llmbench.matrix.manifests.wanted import Wanted

_STORE_SIZE, _MODELS_SIZE = "50Gi", "500Gi"
_DCGM = "nvcr.io/nvidia/k8s/dcgm-exporter:4.4.2-4.7.0-distroless"
_DCGM_PORT = 9400
_DCGM_INTERVAL = 30_000
"""Milliseconds: what it reads must not show in what is measured."""
_OPERATOR_LABEL = {"app.kubernetes.io/name": "kuberay-operator"}


def namespace(wanted: Wanted) -> Json:
    """The namespace; what its pods may do is what these here need, and no more."""
    held = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": wanted.namespace, "labels": held},
    }


def matrix_file(wanted: Wanted) -> Json:
    """The matrix's file, as pods read it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{wanted.name}-matrix", "labels": labels(wanted)},
        "data": {MATRIX_FILE: wanted.matrix},
    }


def claims(wanted: Wanted) -> list[Json]:
    """Room for results and for models, which all pods share."""
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": f"{wanted.name}-{name}", "labels": labels(wanted)},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": size}},
            },
        }
        for name, size in (("store", _STORE_SIZE), ("models", _MODELS_SIZE))
    ]


def closed(wanted: Wanted, *, ray: bool = False) -> Json:
    """Nothing from outside reaches the pods; of Ray's, they reach each other, and KubeRay's operator them."""
    inside: list[Json] = []
    if ray:
        inside = [
            {"from": [{"podSelector": {"matchLabels": selector(wanted)}}]},
            {
                "from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": _OPERATOR_LABEL}}],
                "ports": [{"port": 8265, "protocol": "TCP"}],
            },
        ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{wanted.name}-closed", "labels": labels(wanted)},
        "spec": {
            "podSelector": {"matchLabels": selector(wanted)},
            "policyTypes": ["Ingress"],
            **({"ingress": inside} if inside else {}),
        },
    }


def dcgm_exporter() -> list[Json]:
    """NVIDIA's exporter, for clusters without the GPU operator, which brings its own.

    In a namespace of its own: it has to be root and to see the node.
    """
    name = "dcgm-exporter"
    about = {"app.kubernetes.io/name": name}
    variables = {
        "DCGM_EXPORTER_KUBERNETES": "true",
        "DCGM_EXPORTER_LISTEN": f":{_DCGM_PORT}",
        "DCGM_EXPORTER_INTERVAL": str(_DCGM_INTERVAL),
    }
    one = {
        "name": name,
        "image": _DCGM,
        "env": [
            *({"name": key, "value": value} for key, value in variables.items()),
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "ports": [{"name": "metrics", "containerPort": _DCGM_PORT}],
        "resources": {
            "requests": {"cpu": "50m", "memory": "256Mi"},
            "limits": {"cpu": "200m", "memory": "512Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]},
            "runAsUser": 0,
        },
        "volumeMounts": [
            {"name": "pod-resources", "mountPath": "/var/lib/kubelet/pod-resources", "readOnly": True}
        ],
    }
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": str(_DCGM_PORT)}
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": name, "namespace": name, "labels": about},
            "spec": {
                "selector": {"matchLabels": about},
                "template": {
                    "metadata": {"labels": about, "annotations": scraped},
                    "spec": {
                        "runtimeClassName": "nvidia",
                        "automountServiceAccountToken": False,
                        "nodeSelector": {"nvidia.com/gpu.present": "true"},
                        "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
                        "containers": [one],
                        "volumes": [
                            {
                                "name": "pod-resources",
                                "hostPath": {"path": "/var/lib/kubelet/pod-resources", "type": "Directory"},
                            }
                        ],
                    },
                },
            },
        },
    ]
