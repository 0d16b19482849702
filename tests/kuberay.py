"""Is it something that KubeRay takes? No package ships its schemas: here are fields that we write.

Names and rules are those of KubeRay's sources: ``raycluster_types.go``, ``rayjob_types.go``,
``validation.go`` and ``constant.go``. Templates of pods are left to the schemas of Kubernetes.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Label = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=47)]
Text = Annotated[str, StringConstraints(strict=True)]


class Strict(BaseModel):
    """Nothing that is not named, and nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    name: Label
    namespace: Text | None = None
    labels: dict[Text, Text] = {}


class Head(Strict):
    rayStartParams: dict[Text, Text]  # noqa: N815
    template: dict[str, Any]

    @model_validator(mode="after")
    def _labels_have_a_field(self) -> Head:
        assert "labels" not in self.rayStartParams
        for name, value in self.rayStartParams.items():
            assert re.fullmatch(r"[a-z-]+", name)
            assert len(shlex.split(value)) == 1, "more than one word in the line that starts Ray"
        if "resources" in self.rayStartParams:
            found = json.loads(shlex.split(self.rayStartParams["resources"])[0])
            assert all(isinstance(count, int) for count in found.values())
        return self


class Group(Head):
    groupName: Label  # noqa: N815
    replicas: Annotated[int, Field(ge=0)]
    minReplicas: Annotated[int, Field(ge=0)]  # noqa: N815
    maxReplicas: int  # noqa: N815
    labels: dict[Text, Text] = {}

    @model_validator(mode="after")
    def _numbers_fit(self) -> Group:
        assert self.minReplicas <= self.replicas <= self.maxReplicas
        return self


class Auth(Strict):
    mode: Literal["disabled", "token"]


class Cluster(Strict):
    rayVersion: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]  # noqa: N815
    authOptions: Auth  # noqa: N815
    headGroupSpec: Head  # noqa: N815
    workerGroupSpecs: list[Group]  # noqa: N815

    @model_validator(mode="after")
    def _taken(self) -> Cluster:
        if self.authOptions.mode == "token":
            assert tuple(map(int, self.rayVersion.split("."))) >= (2, 52, 0)
        names = [group.groupName for group in self.workerGroupSpecs]
        assert len(names) == len(set(names))
        return self


class RayCluster(Strict):
    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: Cluster


class Job(Strict):
    entrypoint: Text
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]  # noqa: N815
    backoffLimit: Annotated[int, Field(ge=0)]  # noqa: N815
    shutdownAfterJobFinishes: bool  # noqa: N815
    ttlSecondsAfterFinished: Annotated[int, Field(ge=0)]  # noqa: N815
    submitterPodTemplate: dict[str, Any]  # noqa: N815
    rayClusterSpec: Cluster  # noqa: N815
    suspend: bool = False

    @model_validator(mode="after")
    def _taken(self) -> Job:
        # KubeRay refuses the former, Kueue a cluster that stays.
        assert self.shutdownAfterJobFinishes or not (self.suspend or self.ttlSecondsAfterFinished)
        return self


class RayJob(Strict):
    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: Job
