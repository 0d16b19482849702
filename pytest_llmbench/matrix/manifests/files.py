"""Which files are a matrix on a cluster, and how do they get into a folder?

Text is quoted wherever a reader of Kubernetes could take it for something else: YAML 1.2 and Go read ``1e3``
as a number and PyYAML does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from pytest_llmbench.errors import UsageError, few
from pytest_llmbench.matrix.manifests.argo import service_account, workflow
from pytest_llmbench.matrix.manifests.indexed_job import jobs
from pytest_llmbench.matrix.manifests.kinds import GPU, Kind
from pytest_llmbench.matrix.manifests.pod import Json
from pytest_llmbench.matrix.manifests.ray import MOST_GROUPS, ray_cluster, ray_job
from pytest_llmbench.matrix.manifests.shared import claims, closed, dcgm_exporter, matrix_file, namespace
from pytest_llmbench.matrix.manifests.wanted import Wanted
from pytest_llmbench.results.files import atomic_write, make_folder, results_error

_OURS = "# Made by llmbench matrix manifests: "
"""At the beginning of each file: what does not begin so is somebody else's, and stays."""
SETUP = "setup.yaml"
"""Namespace and volumes: applied once, before the rest."""
_KUSTOMIZATION = "kustomization.yaml"
_MOST_READ = 200
_OTHERWISE = re.compile(r"[-+.]?\d|[-+]?\.(inf|nan)$|(y|n|yes|no|on|off|true|false|null|~)$", re.IGNORECASE)


def objects(wanted: Wanted, kind: Kind) -> dict[str, list[Json]]:
    """The objects by the file that they are in, in the order in which they are applied.

    :raises UsageError: if there are more kinds of hardware than can be queued.
    """
    made = {"matrix": [matrix_file(wanted)], "network": [closed(wanted, ray=kind is Kind.RAYJOB)]}
    if kind is Kind.INDEXED_JOB:
        made["jobs"] = jobs(wanted)
    elif kind is Kind.ARGO:
        made |= {"service-account": service_account(wanted), "workflow": [workflow(wanted)]}
    else:
        made["rayjob"] = [job := ray_job(wanted)]
        groups = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        if wanted.queue is not None and len(groups) > MOST_GROUPS:
            msg = f"the matrix has {len(groups)} groups of nodes, and Kueue takes {MOST_GROUPS} of a RayJob"
            raise UsageError(msg)
    return {f"{name}.yaml": found for name, found in made.items()}


def optional(wanted: Wanted, kind: Kind) -> dict[str, list[Json]]:
    """What is beside them: once for all, or for whoever wants it.

    Deleting a kustomization deletes what it has: volumes, and the namespace that they are in, are not in it.
    """
    made = {SETUP: [namespace(wanted), *claims(wanted)]}
    if kind is Kind.RAYJOB:
        made["raycluster.yaml"] = [ray_cluster(wanted)]
    if wanted.gpu == GPU and any(nodes.gpus for nodes in wanted.nodes):
        made["dcgm-exporter.yaml"] = dcgm_exporter()
    return made


def texts(wanted: Wanted, kind: Kind) -> dict[str, str]:
    """All files as they are written."""
    applied = objects(wanted, kind)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": wanted.namespace,
        "resources": list(applied),
    }
    said = f"kubectl apply -k FOLDER applies it, after kubectl apply -f FOLDER/{SETUP} ({kind})"
    beside = "not part of the kustomization; kubectl apply -f applies it"
    return {
        _KUSTOMIZATION: _text(said, [kustomization]),
        **{name: _text("part of the kustomization", found) for name, found in applied.items()},
        **{name: _text(beside, _placed(wanted, found)) for name, found in optional(wanted, kind).items()},
    }


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files into a folder that has none, or only such files; of an earlier time are replaced.

    :raises UsageError: if it is not a folder, or has other files.
    :raises ResultsError: if it cannot be written.
    """
    earlier = _earlier(folder)
    make_folder(folder)
    for name, text in files.items():
        atomic_write(folder / name, text.encode())
    for path in earlier:
        if path.name not in files:
            path.unlink(missing_ok=True)


def _earlier(folder: Path) -> list[Path]:
    """Files of an earlier time."""
    if not folder.exists():
        return []
    if not folder.is_dir():
        msg = f"--output {folder} is not a folder; use one that is empty or not there"
        raise UsageError(msg)
    try:
        found = sorted(folder.iterdir())
        others = [path.name for path in found if not _is_ours(path)]
    except OSError as error:
        raise results_error("read", folder, error) from error
    if others:
        msg = f"--output {folder} has other files ({few(others, 3)}); use a folder that is empty or not there"
        raise UsageError(msg)
    return found


def _is_ours(path: Path) -> bool:
    if path.suffix != ".yaml" or path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(_MOST_READ).startswith(_OURS.encode())


def _placed(wanted: Wanted, found: Sequence[Json]) -> list[Json]:
    """With the namespace, which a kustomization gives the others."""
    made = []
    for one in found:
        about = one["metadata"]
        if one["kind"] == "Namespace" or "namespace" in about:
            made.append(one)
        else:
            placed = {"name": about["name"], "namespace": wanted.namespace, **about}
            made.append({**one, "metadata": placed})
    return made


class _Dumper(yaml.SafeDumper):
    """Writes what any reader of YAML takes for the same."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if "\n" in text:
        style: str | None = "|"
    else:
        style = '"' if _OTHERWISE.match(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)


def _text(said: str, found: Sequence[Json]) -> str:
    parts = (
        yaml.dump(one, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, indent=2)
        for one in found
    )
    return f"{_OURS}{said}.\n" + "---\n".join(parts)
