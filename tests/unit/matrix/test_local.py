"""Which devices does this machine have, by which labels?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.matrix import local as module
from pytest_llmbench.matrix.devices import Devices
from pytest_llmbench.matrix.executor import Task
from pytest_llmbench.matrix.local import LocalExecutor, devices_for, local_hardware, read_hardware
from pytest_llmbench.results.cell import Hardware
from tests.unit.matrix.plans import a_cell
from tests.waiting import until

NODES = [frozenset({0, 1}), frozenset({2, 3})]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The GPUs of a machine with two NUMA nodes; none until some are added."""
    found: list[dict[str, object]] = []
    monkeypatch.setattr(module, "list_gpus", lambda: found)
    monkeypatch.setattr(module, "numa_nodes", lambda: NODES)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return found


def test_a_machine_without_gpus_has_its_numa_nodes(gpus: list[dict[str, object]]) -> None:
    assert local_hardware({}) == {"cpu": 2}
    assert local_hardware({"epyc": None, "arm": 4}) == {"cpu": 2, "epyc": 2, "arm": 4}
    assert devices_for(Hardware("cpu")) == Devices(cpus=frozenset({0, 1}))
    assert devices_for(Hardware("cpu", 2)) == Devices()


def test_gpus_are_known_by_the_label_of_their_product(
    gpus: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus += [{"name": "NVIDIA L4"}, {"name": "NVIDIA L4"}, {"name": "NVIDIA (unknown) X1"}]
    assert local_hardware({}) == {"cpu": 2, "L4": 2, "NVIDIA-unknown-X1": 1}
    assert local_hardware({"mine": None})["mine"] == 3
    assert devices_for(Hardware("L4", 2)) == Devices(gpus=("0", "1"))
    assert devices_for(Hardware("cpu")).gpus == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")
    assert devices_for(Hardware("L4", 2)) == Devices(gpus=("5", "6"))


def test_hardware_is_said_by_a_label_and_a_count() -> None:
    kinds = [Hardware("H100", 8), Hardware("L4", market="spot"), Hardware("M2x2")]
    assert read_hardware(["L4", "A100-80GB=8"]) == {"L4": None, "A100-80GB": 8}
    assert read_hardware(["H100x8", "L4-spot", "M2x2"], kinds) == {"H100": 8, "L4": 1, "M2x2": None}
    for wrong in ("", "=1", "L4=", "L4=0", "L4=x", "L 4", "L4=99999"):
        with pytest.raises(UsageError, match="write LABEL or LABEL=COUNT"):
            read_hardware([wrong])


def test_one_cell_runs_at_a_time_and_its_folder_goes_with_it(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path, {"cpu": 1})
    assert executor.free("cpu", 1)
    assert not executor.free("cpu", 2)
    assert not executor.free("L4", 1)
    # Its suite is not valid, so that it ends by itself.
    executor.submit(Task(a_cell(), "m", "20260102T030405Z-00000000"))
    assert not executor.free("cpu", 1)
    outcomes = []
    until(lambda: outcomes.extend(executor.wait(0.1)) or outcomes)
    assert outcomes[0].end == "usage"
    assert list(tmp_path.iterdir()) == []
    assert executor.free("cpu", 1)
