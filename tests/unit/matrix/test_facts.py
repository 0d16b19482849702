"""Are a node's facts those that make another result, and no others?"""

from __future__ import annotations

import platform

import pytest

from pytest_llmbench.matrix import facts as module
from pytest_llmbench.matrix.facts import node_facts, this_node
from pytest_llmbench.results import environment


def test_facts_name_versions_and_no_place_of_this_machine() -> None:
    facts = node_facts()
    assert facts["python"] == platform.python_version()
    assert {"os", "pytest-llmbench"} <= facts.keys()
    assert "pytest-xdist" not in facts
    assert platform.node() not in facts.values()


def test_another_driver_or_engine_is_another_node_and_another_number_of_devices_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def digest(driver: str = "1", engine: str = "1", gpus: int = 1, product: str = "NVIDIA L4") -> str:
        here = environment.machine()
        here.gpus = [{"name": product, "driver": driver, "uuid": f"GPU-{n}"} for n in range(gpus)]
        monkeypatch.setattr(module, "machine", lambda: here)
        monkeypatch.setattr(module, "versions", lambda: {"python": "3", "llama-cpp-python": engine})
        return this_node("n", {"L4": gpus}).digest

    assert digest() == digest(gpus=8)
    assert len({digest(), digest(driver="2"), digest(engine="2"), digest(product="NVIDIA A100")}) == 4
