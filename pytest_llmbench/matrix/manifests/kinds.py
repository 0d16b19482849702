"""What can run a matrix on a cluster, and what are accelerators called there? The choices of the command."""

from __future__ import annotations

from enum import StrEnum

GPU = "nvidia.com/gpu"
"""The resource that NVIDIA's GPUs are to Kubernetes."""


class Kind(StrEnum):
    """What runs the batches."""

    INDEXED_JOB = "indexed-job"
    RAYJOB = "rayjob"
    ARGO = "argo"
