"""Which Jobs measure a matrix? One for each kind of hardware, with an index for each batch.

Kubernetes alone runs them. A pod that lost its node is started again and counts as nothing; a batch that
failed for good is not started again, and the others go on.
"""

from __future__ import annotations

from pytest_llmbench.matrix.exits import DO_NOT_RETRY
from pytest_llmbench.matrix.manifests.pod import (
    CONTAINER,
    Json,
    container,
    labels,
    measuring,
    on_spot,
    placement,
    queued,
    run_batch,
    template,
    variables,
)
from pytest_llmbench.matrix.manifests.wanted import Nodes, Wanted

_RETRIES = 6
"""Of one batch, that is worth another start; a lost node does not count."""


def jobs(wanted: Wanted) -> list[Json]:
    """A Job for each kind of hardware."""
    return [_job(wanted, nodes) for nodes in wanted.nodes]


def _job(wanted: Wanted, nodes: Nodes) -> Json:
    one = container(
        wanted,
        run_batch(nodes, "$(JOB_COMPLETION_INDEX)"),
        measuring(wanted, nodes),
        variables(wanted, nodes),
    )
    where = placement(wanted, nodes, spot=on_spot(wanted, nodes))
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{wanted.name}-{nodes.slug}",
            "labels": {**labels(wanted, nodes.slug), **queued(wanted)},
        },
        "spec": {
            **({} if wanted.queue is None else {"suspend": True}),
            "completionMode": "Indexed",
            "completions": nodes.batches,
            "parallelism": min(wanted.pods, nodes.batches),
            "backoffLimitPerIndex": _RETRIES,
            # Whatever becomes of a batch, the others are measured.
            "maxFailedIndexes": nodes.batches,
            # Two pods of one batch would measure the same cells.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    # First: a pod that is preempted may end with any code.
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                    {
                        "action": "FailIndex",
                        "onExitCodes": {
                            "containerName": CONTAINER,
                            "operator": "In",
                            "values": sorted(int(code) for code in DO_NOT_RETRY),
                        },
                    },
                ]
            },
            "template": template(wanted, nodes.slug, [one], where, restartPolicy="Never"),
        },
    }
