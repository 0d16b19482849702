from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pytest_llmbench.hardware import gpus

if TYPE_CHECKING:
    from tests.unit.hardware.conftest import FakeNvml


@pytest.fixture
def driver(fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A machine with a driver and two GPUs."""
    fake_nvml.gpus = 2
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml)
    monkeypatch.setattr(gpus, "_no_library", lambda: None)
    return fake_nvml


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        (None, ["handle-0", "handle-1"]),
        ("1", ["handle-1"]),
        ("1,0", ["handle-1", "handle-0"]),
        ("0,7,1", ["handle-0"]),
        ("GPU-1a", ["handle-1"]),
        ("MIG-x", ["handle-MIG-x"]),
        ("", []),
        ("-1", []),
    ],
)
def test_cuda_visible_devices_is_honoured(
    driver: FakeNvml, monkeypatch: pytest.MonkeyPatch, visible: str | None, indices: list[str]
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.handle for gpu in gpus.visible_gpus(driver)] == indices
    assert gpus.device_count() == len(indices)


def test_gpus_are_listed_with_facts(driver: FakeNvml) -> None:
    driver.unsupported = {"nvmlDeviceGetMemoryInfo"}
    assert gpus.list_gpus()[1] == {
        "name": "NVIDIA Fake",
        "uuid": "GPU-1abc",
        "memory": None,
        "driver": "580.1",
        "cuda": "13.1",
        "compute_capability": "9.0",
    }
    assert gpus.why_no_gpus() is None


def test_the_free_memory_of_each_visible_gpu_is_told(
    driver: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpus.free_memory() == [77 * 2**30, 77 * 2**30]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpus.free_memory() == [77 * 2**30]
    driver.unsupported = {"nvmlDeviceGetMemoryInfo"}
    assert gpus.free_memory() == [None]
    driver.unsupported = {"nvmlDeviceGetCount"}
    assert gpus.free_memory() == []


def test_without_a_driver_no_gpu_has_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_no_library", lambda: "no NVIDIA driver")
    assert gpus.free_memory() == []


def test_hidden_gpus_are_a_reason(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.list_gpus() == []
    assert "hides every NVIDIA GPU" in (gpus.why_no_gpus() or "")


def test_a_machine_without_a_driver_has_no_gpus_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_no_library", lambda: "no NVIDIA driver")
    assert gpus.list_gpus() == []
    assert gpus.device_count() == 0
    assert gpus.why_no_gpus() == "no NVIDIA driver"


def test_nvml_that_does_not_start_is_a_reason(driver: FakeNvml) -> None:
    driver.unsupported = {"nvmlInit"}
    assert gpus.device_count() == 0
    assert "NVML does not start" in (gpus.why_no_gpus() or "")


def test_a_missing_nvidia_ml_py_is_a_reason(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in (gpus.why_no_gpus() or "")


def test_a_gpu_is_in_use_by_a_process_or_by_memory(driver: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is visible here does not matter: they are named.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(driver, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(used=2**29))
    assert gpus.in_use("0,1") is None
    driver.processes = [SimpleNamespace(pid=os.getpid())]
    assert gpus.in_use("1") == f"GPU 0 is used by process {os.getpid()}"
    # A number of another namespace says nothing.
    driver.processes = [SimpleNamespace(pid=2**22 + 1)]
    assert gpus.in_use("1") is None
    monkeypatch.setattr(driver, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(used=3 * 2**30))
    assert gpus.in_use("0") == "3.0 GiB of the memory of GPU 0 are in use"
    assert gpus.in_use("0,7") == "the driver does not have all of the GPUs 0,7"


def test_what_a_driver_does_not_tell_is_not_in_use(driver: FakeNvml) -> None:
    driver.unsupported = {"nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetMemoryInfo"}
    assert gpus.in_use("0") is None
