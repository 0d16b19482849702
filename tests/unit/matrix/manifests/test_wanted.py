"""Is what Kubernetes would refuse said in one line, before anything is written?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.matrix.manifests.wanted import MOST_BATCHES, Nodes, Wanted, read_label, read_selectors
from pytest_llmbench.results.cell import Hardware

L4 = Nodes(Hardware("L4"), 3)


def _wanted(**said: Any) -> Wanted:
    return Wanted(**{"name": "sweep", "matrix": "version: 1\n", "nodes": (L4,), **said})


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"name": "My_Matrix"}, "'My_Matrix' is not a valid name on Kubernetes"),
        ({"name": "9b"}, "'9b' is not a valid name on Kubernetes"),
        ({"name": "sweep-"}, "'sweep-' is not a valid name"),
        ({"name": "a" * 41}, "at most 40 small letters"),
        ({"name": "sweep\nkind: Secret"}, "is not a valid name"),
        ({"namespace": "Bench"}, "--namespace 'Bench' is not a valid name"),
        ({"queue": "gpus/a"}, "--queue 'gpus/a' is not a valid name"),
        ({"image": ""}, "--image '' is not an image"),
        ({"image": "a b"}, "--image 'a b' is not an image"),
        ({"gpu": "gpu"}, "--gpu 'gpu' is not a resource"),
        ({"gpu": "Nvidia.com/gpu"}, "--gpu 'Nvidia.com/gpu' is not a resource"),
        ({"pods": 0}, "--pods: 0 is not a number from 1 to 1,000"),
        ({"cpus": 0}, "--cpus: 0 is not a number"),
        ({"memory": -1}, "--memory: -1 is not a number"),
        ({"nodes": (Nodes(Hardware("L4"), 0),)}, "batches of L4: 0 is not a number from 1 to 10,000"),
        ({"nodes": (Nodes(Hardware("L4"), MOST_BATCHES + 1),)}, "batches of L4: 10001 is not a number"),
        ({"nodes": ()}, "the matrix has no cell"),
        ({"nodes": (L4, Nodes(Hardware("l4"), 1))}, "L4 and l4 would have the same name on Kubernetes"),
        ({"name": "a" * 40, "nodes": (Nodes(Hardware("b" * 17), 1),)}, "longer than Kubernetes takes"),
        ({"nodes": (Nodes(Hardware("L4", 1, "spot"), 1),)}, "L4-spot is on spot nodes: say which these are"),
        ({"matrix": "#" * 900_001}, "has 900,001 bytes, and a ConfigMap takes 900,000"),
    ],
)
def test_what_kubernetes_does_not_take_is_said_in_one_line(said: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError) as refused:
        _wanted(**said)
    assert what in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["a", "sweep", "a-1", "a" * 40])
def test_what_kubernetes_takes_passes(name: str) -> None:
    assert _wanted(name=name, queue="gpus", image="host:5000/a/b@sha256:0f", gpu="amd.com/gpu").name == name


@pytest.mark.parametrize(
    "text", ["", "L4", "=x", "a b=x", "UPPER.example/ok/no=x", "key=a b", f"key={'a' * 64}", "key=-a"]
)
def test_a_label_that_no_node_can_have_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="is not a node's label: use KEY=VALUE"):
        read_label("--spot", text)


def test_a_label_has_a_key_and_a_value() -> None:
    assert read_label("--spot", "cloud.google.com/gke-spot=true") == ("cloud.google.com/gke-spot", "true")
    assert read_label("--spot", "spot=") == ("spot", "")


def test_nodes_are_told_apart_by_what_is_said_or_by_a_label_of_ours() -> None:
    given = ["L4=gpu=l4", "L4=zone=b"]
    assert read_selectors(given, ["L4", "L4", "H100", "cpu"]) == {
        "L4": {"gpu": "l4", "zone": "b"},
        "H100": {"llmbench/hardware": "H100"},
        "cpu": {},
    }


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("L4", "--hardware 'L4' says no nodes"),
        ("L40=gpu=l40", "the matrix has no hardware 'L40'; did you mean 'L4'"),
        ("L4=gpu", "is not a node's label"),
    ],
)
def test_nodes_that_are_not_named_right_are_said(given: str, what: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_selectors([given], ["L4"])
    assert what in str(refused.value)


def test_hardware_whose_name_is_not_a_label_needs_one() -> None:
    with pytest.raises(UsageError, match="cannot be a node's label"):
        read_selectors([], ["A100+"])
    assert read_selectors(["A100+=gpu=a100"], ["A100+"]) == {"A100+": {"gpu": "a100"}}


def test_accelerators_are_those_of_the_hardware_and_none_of_a_cpu() -> None:
    assert Nodes(Hardware("H100", 8), 1).gpus == 8
    assert Nodes(Hardware("cpu", 2), 1).gpus == 0
    assert Nodes(Hardware("A100-80GB", 2, "spot"), 1).slug == "a100-80gbx2-spot"
