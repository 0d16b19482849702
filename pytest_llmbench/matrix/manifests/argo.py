"""Which Workflow of Argo measures a matrix? Validate, plan, all batches, and at the end collect.

A batch is retried for its exit code or the message of its lost node: ``OnError`` would miss a node that shuts
down in order, which Argo takes for a failure. Nothing is memoized: the store has what is done.
``backoff.maxDuration`` is left out, since it counts from the first start and ends a batch that runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pytest_llmbench.matrix.exits import Exit
from pytest_llmbench.matrix.manifests.pod import (
    GRACE,
    MATRIX_FILE,
    MATRIX_FOLDER,
    STORE,
    Json,
    container,
    labels,
    measuring,
    on_spot,
    placement,
    queued,
    run_batch,
    small,
    user,
    variables,
    volumes,
)
from pytest_llmbench.matrix.manifests.wanted import Nodes, Wanted

_RETRIES = 20
"""Of one batch: losses of a node count too, unlike with a Job."""
_LOST = "imminent node shutdown|pod deleted"
_AGAIN = f"asInt(lastRetry.exitCode) == {int(Exit.AGAIN)} || lastRetry.message matches '{_LOST}'"
_FILE = f"{MATRIX_FOLDER}/{MATRIX_FILE}"


def workflow(wanted: Wanted) -> Json:
    """The Workflow."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": wanted.name, "labels": labels(wanted)},
        "spec": {
            "entrypoint": "measure",
            # Also when batches failed; and the workflow then still ends as failed.
            "onExit": "collect",
            "serviceAccountName": f"{wanted.name}-workflow",
            "parallelism": wanted.pods * len(wanted.nodes),
            "podGC": {"strategy": "OnPodSuccess"},
            "podMetadata": {"labels": {**labels(wanted), **queued(wanted)}},
            "podSpecPatch": json.dumps({"enableServiceLinks": False, "terminationGracePeriodSeconds": GRACE}),
            "securityContext": user(),
            "volumes": volumes(wanted),
            "templates": [
                {
                    "name": "measure",
                    "steps": [
                        [{"name": "validate", "template": "validate"}],
                        [{"name": "plan", "template": "plan"}],
                        [{"name": nodes.slug, "template": _all_of(nodes)} for nodes in wanted.nodes],
                    ],
                },
                _small(wanted, "validate", ["suite", "validate", _FILE]),
                _small(wanted, "plan", ["matrix", "plan", _FILE, "--store", STORE]),
                *(made for nodes in wanted.nodes for made in _batches(wanted, nodes)),
                _small(
                    wanted,
                    "collect",
                    ["matrix", "export", _FILE, "--store", STORE, "--output", f"{STORE}/{wanted.name}.csv"],
                ),
            ],
        },
    }


def service_account(wanted: Wanted) -> list[Json]:
    """As whom the pods report their results to Argo, and nothing else."""
    name = f"{wanted.name}-workflow"
    about = {"metadata": {"name": name, "labels": labels(wanted)}}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", **about},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            **about,
            "rules": [
                {
                    "apiGroups": ["argoproj.io"],
                    "resources": ["workflowtaskresults"],
                    "verbs": ["create", "patch"],
                }
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            **about,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name}],
        },
    ]


def _all_of(nodes: Nodes) -> str:
    return f"batches-{nodes.slug}"


def _batches(wanted: Wanted, nodes: Nodes) -> list[Json]:
    """All batches of a kind of hardware, so many at once; and one of them."""
    one = f"batch-{nodes.slug}"
    said = [{"name": "batch", "value": "{{item}}"}]
    step = {
        "name": "batch",
        "template": one,
        "arguments": {"parameters": said},
        "withSequence": {"count": str(nodes.batches)},
    }
    measured = container(
        wanted,
        run_batch(nodes, "{{inputs.parameters.batch}}"),
        measuring(wanted, nodes),
        variables(wanted, nodes),
    )
    return [
        {"name": _all_of(nodes), "parallelism": wanted.pods, "steps": [[step]]},
        {
            "name": one,
            "inputs": {"parameters": [{"name": "batch"}]},
            "metadata": {"labels": {"app.kubernetes.io/component": nodes.slug}},
            "retryStrategy": {
                "limit": str(_RETRIES),
                "retryPolicy": "Always",
                "expression": _AGAIN,
                "backoff": {"duration": "60s", "factor": "1"},
                "affinity": {"nodeAntiAffinity": {}},
            },
            **placement(wanted, nodes, spot=on_spot(wanted, nodes)),
            "container": _unnamed(measured),
        },
    ]


def _small(wanted: Wanted, name: str, arguments: Sequence[str]) -> Json:
    return {
        "name": name,
        **placement(wanted, None, spot=False),
        "container": _unnamed(container(wanted, arguments, small(1, 4))),
    }


def _unnamed(one: Json) -> Json:
    """Argo names the container itself, ``main``."""
    return {key: value for key, value in one.items() if key != "name"}
