"""Does the command write what was asked for, and is a mistake one line?"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from pytest_llmbench.cli.app import app

MATRIX = """
version: 1
matrix: {name: sweep, hardware: {L4: 1, cpu: 1}, models: [tiny], servers: [vllm], batch: 1}
cases: [{name: short, prompt: "Hello.", concurrency: [1, 2]}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def manifests(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["matrix", "manifests", *arguments])


def test_it_says_what_it_wrote_and_how_that_is_applied(folder: Path) -> None:
    done = manifests()
    assert done.exit_code == 0, done.output
    assert "L4: 2 batches\n" in done.output
    assert "cpu: 2 batches\n" in done.output
    assert "kubectl apply -f kubernetes/setup.yaml, then -k kubernetes" in done.output
    assert (folder / "kubernetes" / "jobs.yaml").is_file()


def test_options_are_in_what_is_written(folder: Path) -> None:
    words = (
        "--image a/b:1 --name other --namespace team --pods 2 --cpus 3 --memory 5 --gpu amd.com/gpu --queue q"
    )
    done = manifests(*words.split(), "--hardware", "L4=gpu=l4", "--spot", "spot=yes", "--output", "out")
    assert done.exit_code == 0, done.output
    job, _ = yaml.safe_load_all((folder / "out" / "jobs.yaml").read_text())
    assert job["metadata"]["name"] == "other-l4"
    assert (job["spec"]["parallelism"], job["spec"]["suspend"]) == (2, True)
    pod = job["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"gpu": "l4", "spot": "yes"}
    (container,) = pod["containers"]
    assert container["image"] == "a/b:1"
    assert container["resources"]["limits"] == {"cpu": "3", "memory": "5Gi", "amd.com/gpu": "1"}
    kustomization = yaml.safe_load((folder / "out" / "kustomization.yaml").read_text())
    assert kustomization["namespace"] == "team"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("--batches 0", "--batches: 0 is not a number from 1 to 10,000"),
        ("--name My_Matrix", "'My_Matrix' is not a valid name on Kubernetes"),
        ("--hardware T4=a=b", "the matrix has no hardware 'T4'"),
        ("--hardware L4", "says no nodes"),
        ("--spot spot", "is not a node's label"),
        ("--pods 0", "--pods: 0 is not a number"),
        ("--output .", "has other files (matrix.yaml)"),
        ("gone.yaml", "gone.yaml: the file cannot be read"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(folder: Path, words: str, what: str) -> None:
    done = manifests(*words.split())
    assert done.exit_code == 2
    assert what in done.stderr
    assert done.stderr.startswith("llmbench: error: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["matrix.yaml"]


def test_what_it_is_for_is_one_of_three(folder: Path) -> None:
    done = manifests("--for", "helm")
    assert done.exit_code == 2
    assert "'helm' is not one of 'indexed-job', 'rayjob', 'argo'" in done.stderr


def test_what_the_pods_will_lack_is_a_warning(folder: Path) -> None:
    (folder / "matrix.yaml").write_text(MATRIX.replace("models: [tiny]", "models: [./w]"))
    (folder / "w").mkdir()
    done = manifests("--batches", "1")
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("llmbench: warning: pods do not have")
    assert done.stderr.count("\n") == 1
