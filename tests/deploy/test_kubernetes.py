"""Are the manifests what Kubernetes, Argo and KubeRay take, as far as that shows without a cluster?"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app
from pytest_llmbench.matrix.exits import Exit
from pytest_llmbench.matrix.facts import CPU
from pytest_llmbench.matrix.manifests.files import objects, optional, texts, write
from pytest_llmbench.matrix.manifests.kinds import Kind
from pytest_llmbench.matrix.manifests.ray import RAY_VERSION
from pytest_llmbench.matrix.manifests.source import read_source
from pytest_llmbench.matrix.manifests.wanted import Nodes, Wanted
from pytest_llmbench.matrix.state import read_state
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.results.store import Store
from tests.fakes.matrix_executor import FakeExecutor
from tests.kuberay import RayCluster, RayJob
from tests.unit.matrix.plans import a_node

DEPLOY = Path(__file__).parents[2] / "deploy"
VERSION = "1.33"
"""Of Kubernetes: the oldest in which what a Job asks for is stable."""
MATRIX = "version: 1\nmatrix:\n  hardware: {L4: [1, 2], H100: 8, cpu: 1}\ncases: []\n"
WANTED = Wanted(
    name="sweep",
    matrix=MATRIX,
    nodes=(
        Nodes(Hardware("L4"), 90, {"cloud.google.com/gke-accelerator": "nvidia-l4"}),
        Nodes(Hardware("L4", 2), 3, {"cloud.google.com/gke-accelerator": "nvidia-l4"}),
        Nodes(Hardware("H100", 8, "spot"), 7, {"llmbench/hardware": "H100"}),
        Nodes(Hardware("A100-80GB", 1, "on_demand"), 1, {"llmbench/hardware": "A100-80GB"}),
        # Digits that a reader may take for a number.
        Nodes(Hardware(CPU), 2, {"rack": "1e3", "row": "0123", "on": "y"}),
    ),
    image="registry.example/llmbench:1e3",
    spot=("cloud.google.com/gke-spot", "true"),
)
ALONE = replace(WANTED, nodes=WANTED.nodes[:1], spot=None)
CASES = [(kind, wanted) for kind in Kind for wanted in (WANTED, replace(WANTED, queue="gpus"), ALONE)]


def _all(kind: Kind, wanted: Wanted) -> Iterator[dict[str, Any]]:
    for files in (objects(wanted, kind), optional(wanted, kind)):
        for found in files.values():
            yield from found


def _one(kind: Kind, what: str, wanted: Wanted = WANTED) -> Any:
    return next(one for one in _all(kind, wanted) if one["kind"] == what)


def _templates(one: Any) -> Iterator[dict[str, Any]]:
    """Templates of pods in objects that Kubernetes does not know, as it does."""
    if one["kind"] in ("RayJob", "RayCluster"):
        spec = one["spec"]
        cluster = spec["rayClusterSpec"] if one["kind"] == "RayJob" else spec
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        yield from [group["template"] for group in groups]
        if "submitterPodTemplate" in spec:
            yield spec["submitterPodTemplate"]
    elif one["kind"] == "Workflow":
        spec = one["spec"]
        patch = json.loads(spec["podSpecPatch"])
        for template in spec["templates"]:
            if "container" in template:
                placed = {
                    key: template[key]
                    for key in ("nodeSelector", "tolerations", "affinity")
                    if key in template
                }
                yield {
                    "metadata": spec["podMetadata"],
                    "spec": {
                        **patch,
                        **placed,
                        "securityContext": spec["securityContext"],
                        "volumes": spec["volumes"],
                        "containers": [{"name": "main", **template["container"]}],
                    },
                }


def _pods(kind: Kind, wanted: Wanted) -> list[dict[str, Any]]:
    found = [one["spec"]["template"]["spec"] for one in _all(kind, wanted) if one["kind"] == "Job"]
    return found + [template["spec"] for one in _all(kind, wanted) for template in _templates(one)]


@pytest.mark.parametrize(("kind", "wanted"), CASES)
def test_kubernetes_takes_every_object_and_every_pod_in_one(kind: Kind, wanted: Wanted) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    checked = 0
    for one in _all(kind, wanted):
        wrapped = [
            {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
            for template in _templates(one)
        ]
        for known in wrapped or [one]:
            kubernetes_validate.validate(known, VERSION, strict=True)
            checked += 1
    assert checked > 5


def test_a_key_that_is_not_spelled_right_is_found() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    job = json.loads(json.dumps(_one(Kind.INDEXED_JOB, "Job")))
    job["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, VERSION, strict=True)


@pytest.mark.parametrize(("kind", "wanted"), CASES)
def test_every_name_is_one_that_kubernetes_takes_and_is_there_once(kind: Kind, wanted: Wanted) -> None:
    seen = set()
    for one in _all(kind, wanted):
        name = one["metadata"]["name"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= 57
        assert (one["kind"], name) not in seen
        seen.add((one["kind"], name))


@pytest.mark.parametrize(("kind", "wanted"), CASES)
def test_a_pod_is_not_root_has_time_to_end_and_what_it_mounts_is_there(kind: Kind, wanted: Wanted) -> None:
    made = {(one["kind"], one["metadata"]["name"]) for one in _all(kind, wanted)}
    pods = _pods(kind, wanted)
    assert pods
    for pod in pods:
        assert f"USER {pod['securityContext']['runAsUser']}\n" in (DEPLOY / "Dockerfile").read_text()
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["terminationGracePeriodSeconds"] >= 100
        assert pod["enableServiceLinks"] is False
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {
            one["name"] for one in pod["volumes"]
        }
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in made
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in made
    inside = [pod for pod in pods if pod.get("automountServiceAccountToken") is not False]
    assert len(inside) == (len(pods) if kind is Kind.ARGO else 0)


@pytest.mark.parametrize("kind", Kind)
def test_a_pod_has_whole_accelerators_of_its_hardware_and_goes_where_they_are(kind: Kind) -> None:
    asked: dict[str | None, set[str]] = {}
    for pod in _pods(kind, WANTED):
        resources = pod["containers"][0]["resources"]["limits"]
        hardware = pod.get("nodeSelector", {}).get("llmbench/hardware")
        asked.setdefault(hardware, set()).add(resources.get("nvidia.com/gpu", "0"))
        tolerated = [one["key"] for one in pod.get("tolerations", [])]
        assert ("nvidia.com/gpu" in tolerated) is ("nvidia.com/gpu" in resources)
    assert asked["H100"] == {"8"}
    assert asked["A100-80GB"] == {"1"}


def test_hardware_of_one_market_goes_there_and_other_pods_stay_off_spot_nodes() -> None:
    for one in (job for job in _all(Kind.INDEXED_JOB, WANTED) if job["kind"] == "Job"):
        pod = one["spec"]["template"]["spec"]
        on_spot = pod.get("nodeSelector", {}).get("cloud.google.com/gke-spot") == "true"
        assert on_spot is ("A100" not in json.dumps(pod))
        if not on_spot:
            assert '"NotIn"' in json.dumps(pod["affinity"])


def test_a_job_starts_a_batch_again_for_a_lost_node_and_not_for_what_will_not_change() -> None:
    job = _one(Kind.INDEXED_JOB, "Job")
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 90, 4)
    lost, codes = spec["podFailurePolicy"]["rules"]
    assert lost == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    assert codes["action"] == "FailIndex"
    assert {Exit.FAILED, Exit.USAGE} <= set(codes["onExitCodes"]["values"])
    assert not {Exit.DONE, Exit.AGAIN} & set(codes["onExitCodes"]["values"])
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert "suspend" not in spec
    (container,) = spec["template"]["spec"]["containers"]
    assert codes["onExitCodes"]["containerName"] == container["name"]
    assert "--batch $(JOB_COMPLETION_INDEX)" in " ".join(container["args"])


@pytest.mark.parametrize(("kind", "what"), [(Kind.INDEXED_JOB, "Job"), (Kind.RAYJOB, "RayJob")])
def test_what_kueue_queues_waits_for_it(kind: Kind, what: str) -> None:
    one = _one(kind, what, replace(WANTED, queue="gpus"))
    assert one["spec"]["suspend"] is True
    assert one["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"


def test_kueue_queues_the_pods_of_a_workflow() -> None:
    one = _one(Kind.ARGO, "Workflow", replace(WANTED, queue="gpus"))
    assert one["spec"]["podMetadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"


@pytest.mark.parametrize("wanted", [WANTED, ALONE, replace(WANTED, queue="gpus")])
def test_argo_takes_the_workflow_and_loses_nothing_of_it(wanted: Wanted) -> None:
    models = pytest.importorskip("hera.workflows.models")
    one = _one(Kind.ARGO, "Workflow", wanted)
    # What is not spelled right is passed over, and so is missing here.
    assert _read(models, one) == one
    one["spec"]["templates"][-1]["retryStrategi"] = {"limit": "1"}
    assert _read(models, one) != one


def _read(models: Any, one: Any) -> Any:
    read = models.Workflow.model_validate(one)
    return json.loads(read.model_dump_json(by_alias=True, exclude_none=True, exclude_unset=True))


def test_every_step_of_a_workflow_is_there_and_every_template_is_used() -> None:
    spec = _one(Kind.ARGO, "Workflow")["spec"]
    names = [template["name"] for template in spec["templates"]]
    steps = [step for one in spec["templates"] for group in one.get("steps", []) for step in group]
    assert len(names) == len(set(names))
    assert {spec["entrypoint"], spec["onExit"], *(step["template"] for step in steps)} == set(names)


def test_argo_tries_a_batch_again_for_its_code_or_its_lost_node_and_measures_all() -> None:
    spec = _one(Kind.ARGO, "Workflow")["spec"]
    templates = {one["name"]: one for one in spec["templates"]}
    ((step,),) = templates["batches-l4"]["steps"]
    assert step["withSequence"] == {"count": "90"}
    retry = templates["batch-l4"]["retryStrategy"]
    assert retry["retryPolicy"] == "Always"
    assert f"== {Exit.AGAIN.value}" in retry["expression"]
    assert "imminent node shutdown|pod deleted" in retry["expression"]
    # It would count from the first start, and end what runs.
    assert "maxDuration" not in retry["backoff"]
    assert "memoize" not in json.dumps(spec)


@pytest.mark.parametrize("wanted", [WANTED, ALONE, replace(WANTED, queue="gpus")])
def test_kuberay_takes_the_job_and_the_cluster(wanted: Wanted) -> None:
    RayJob.model_validate(_one(Kind.RAYJOB, "RayJob", wanted))
    RayCluster.model_validate(_one(Kind.RAYJOB, "RayCluster", wanted))


def test_ray_has_a_group_for_each_hardware_and_market_and_nothing_runs_on_the_head() -> None:
    cluster = _one(Kind.RAYJOB, "RayCluster")["spec"]
    groups = {
        group["groupName"]: (
            group["labels"]["market"],
            json.loads(json.loads(group["rayStartParams"]["resources"])),
            group["rayStartParams"].get("num-gpus"),
        )
        for group in cluster["workerGroupSpecs"]
    }
    assert groups == {
        # One with two devices has room for tasks with one.
        "l4x2": ("on_demand", {"hw_L4": 2}, "2"),
        "l4x2-spot": ("spot", {"hw_L4": 2}, "2"),
        "h100x8-spot": ("spot", {"hw_H100": 8}, "8"),
        "a100-80gb": ("on_demand", {"hw_A100-80GB": 1}, "1"),
        "cpu": ("on_demand", {"hw_cpu": 1}, None),
        "cpu-spot": ("spot", {"hw_cpu": 1}, None),
    }
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_rays_job_runs_on_the_head_and_connects_as_a_node_does() -> None:
    job = _one(Kind.RAYJOB, "RayJob")["spec"]
    assert "--on 127.0.0.1:6379 " in job["entrypoint"]
    (head,) = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    assert {"name": "gcs-server", "containerPort": 6379} in head["ports"]


def test_ray_is_the_version_that_was_tried_and_asks_for_a_token() -> None:
    constraints = (DEPLOY.parent / "constraints.txt").read_text()
    assert f"\nray=={RAY_VERSION}\n" in constraints
    cluster = _one(Kind.RAYJOB, "RayCluster")["spec"]
    assert cluster["authOptions"] == {"mode": "token"}


def test_only_rays_pods_and_its_operator_reach_ray_and_nothing_reaches_the_others() -> None:
    assert "ingress" not in _one(Kind.INDEXED_JOB, "NetworkPolicy")["spec"]
    pods, operator = _one(Kind.RAYJOB, "NetworkPolicy")["spec"]["ingress"]
    assert "ports" not in pods
    assert operator["ports"] == [{"port": 8265, "protocol": "TCP"}]


@pytest.mark.parametrize("kind", Kind)
def test_what_is_written_is_read_as_what_was_meant(kind: Kind, tmp_path: Path) -> None:
    write(tmp_path / "made", texts(WANTED, kind))
    files = {path.name: list(yaml.safe_load_all(path.read_text())) for path in (tmp_path / "made").iterdir()}
    (kustomization,) = files.pop("kustomization.yaml")
    made = objects(WANTED, kind)
    assert kustomization["resources"] == list(made)
    assert {name: files[name] for name in made} == made
    assert set(files) - set(made) == set(optional(WANTED, kind))


@pytest.mark.parametrize("kind", Kind)
def test_deleting_a_kustomization_deletes_no_result(kind: Kind) -> None:
    deleted = {one["kind"] for found in objects(WANTED, kind).values() for one in found}
    assert not {"Namespace", "PersistentVolumeClaim"} & deleted
    setup = optional(WANTED, kind)["setup.yaml"]
    assert {one["kind"] for one in setup} == {"Namespace", "PersistentVolumeClaim"}


@pytest.mark.parametrize("kind", Kind)
def test_kustomize_takes_the_folder_and_places_everything(kind: Kind, tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    write(tmp_path / "made", texts(WANTED, kind))
    done = subprocess.run(
        [kubectl, "kustomize", str(tmp_path / "made")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {_key(one): one for one in yaml.safe_load_all(done.stdout)}
    made = [one for part in objects(WANTED, kind).values() for one in part]
    assert set(found) == {_key(one) for one in made}
    for one in made:
        assert found[_key(one)]["metadata"].pop("namespace") == "llmbench"
        if one["kind"] == "RoleBinding":
            (subject,) = found[_key(one)]["subjects"]
            assert subject.pop("namespace") == "llmbench"
        # Its YAML is read by Go's rules: digits that are a text stay one.
        assert found[_key(one)] == one


def _key(one: Any) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


def _commands() -> list[list[str]]:
    """Those of the page that says how the examples are made."""
    page = (DEPLOY / "kubernetes" / "README.md").read_text().replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in page.splitlines() if line.startswith("llmbench ")]


@pytest.mark.parametrize("command", _commands(), ids=lambda command: command[4])
def test_the_examples_are_what_the_command_makes(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(DEPLOY.parent)
    *words, kept = command
    done = CliRunner().invoke(app, [*words, str(tmp_path / "made")])
    assert (done.exit_code, done.stderr) == (0, "")
    made = {path.name: path.read_text() for path in (tmp_path / "made").iterdir()}
    assert made == {path.name: path.read_text() for path in Path(kept).iterdir()}


def test_there_is_an_example_of_every_kind() -> None:
    assert [command[4] for command in _commands()] == list(Kind)


def _words(kind: Kind) -> Iterator[list[str]]:
    """What is called in the pods, behind ``llmbench``."""
    for pod in _pods(kind, WANTED):
        (container,) = pod["containers"]
        if "command" in container:
            assert container["command"] == ["llmbench"]
            yield container["args"]
    if kind is Kind.RAYJOB:
        program, *words = shlex.split(_one(kind, "RayJob")["spec"]["entrypoint"])
        assert program == "llmbench"
        yield words


@pytest.mark.parametrize("kind", Kind)
def test_pods_call_commands_that_there_are_with_options_that_they_have(kind: Kind) -> None:
    called = list(_words(kind))
    assert called
    for words in called:
        command: Any = typer.main.get_command(app)
        while getattr(command, "commands", None):
            command = command.commands[words[0]]
            words = words[1:]
        known = {option for one in command.params for option in one.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_all_pods_together_measure_every_cell_once_from_a_mounted_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A ConfigMap is mounted as links to a folder that is swapped.
    (tmp_path / "matrix" / "..data").mkdir(parents=True)
    (tmp_path / "matrix" / "..data" / "matrix.yaml").write_text(
        "version: 1\nmatrix: {hardware: {L4: [1, 2], H100: {count: 8, market: spot}, cpu: 1}, "
        "models: [tiny], backends: [llamacpp], quantizations: [f16, q8_0, q4_0], batch: 2}\n"
        'cases: [{name: short, prompt: "Hello."}]\n'
    )
    file = tmp_path / "matrix" / "matrix.yaml"
    file.symlink_to("..data/matrix.yaml")

    def executor(on: str, labels: dict[str, int], *others: object) -> FakeExecutor:
        assert on == "local"
        return FakeExecutor(nodes=[a_node(hardware=labels)])

    monkeypatch.setattr("pytest_llmbench.cli.matrix_run._executor", executor)
    batches = read_source(file).batches
    assert set(batches.values()) == {2}
    nodes = tuple(Nodes(hardware, number) for hardware, number in batches.items())
    jobs = [one for one in _all(Kind.INDEXED_JOB, replace(WANTED, nodes=nodes)) if one["kind"] == "Job"]
    measured = 0
    for job in jobs:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        for index in range(job["spec"]["completions"]):
            words = [word.replace("$(JOB_COMPLETION_INDEX)", str(index)) for word in container["args"]]
            words = [f"{tmp_path}{word}" if word.startswith("/") else word for word in words]
            done = CliRunner().invoke(app, words)
            assert done.exit_code == Exit.DONE, done.output
            state = read_state(Store(tmp_path / "data" / "store"), "matrix")
            assert measured < state.counts["done"] <= measured + 2
            measured = state.counts["done"]
    assert [(cell.state, cell.attempts) for cell in state.cells] == [("done", 1)] * 12
