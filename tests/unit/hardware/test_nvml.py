from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pytest_llmbench.hardware import nvml as module
from pytest_llmbench.hardware.nvml import GpuEnergy, GpuPcie, GpuProcesses, GpuState, Nvml, event_reasons
from pytest_llmbench.hardware.processes import ProcessTrees, process_reader

if TYPE_CHECKING:
    from tests.unit.hardware.conftest import FakeNvml


def state(fake: FakeNvml) -> GpuState:
    probe = GpuState(Nvml(fake))
    probe.reasons = probe.start()  # type: ignore[attr-defined]
    return probe


def test_a_gpus_state_is_read_in_si_units(fake_nvml: FakeNvml) -> None:
    probe = state(fake_nvml)
    assert probe.sample() == {
        "gpu0_utilization": 87,
        "gpu0_memory_utilization": 41,
        "gpu0_memory_used": 3 * 2**30,
        "gpu0_power": 310.0,
        "gpu0_temperature": 64,
        "gpu0_clock_sm": 1.98e9,
        "gpu0_clock_memory": 3.201e9,
        "gpu0_event_reasons": 4,
    }
    assert probe.methods == {"gpu0_power": "instant"}


def test_power_falls_back_to_the_average_and_says_so(fake_nvml: FakeNvml) -> None:
    fake_nvml.instant_mw = None
    probe = state(fake_nvml)
    assert probe.sample()["gpu0_power"] == 290.0
    assert probe.methods == {"gpu0_power": "average"}


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ("nvmlDeviceGetUtilizationRates", "gpu0_utilization"),
        ("nvmlDeviceGetMemoryInfo", "gpu0_memory_used"),
        ("nvmlDeviceGetTemperature", "gpu0_temperature"),
        ("nvmlDeviceGetCurrentClocksEventReasons", "gpu0_event_reasons"),
    ],
)
def test_a_field_that_a_gpu_does_not_have_is_left_out_alone(
    fake_nvml: FakeNvml, call: str, field: str
) -> None:
    fake_nvml.unsupported = {call}
    probe = GpuState(Nvml(fake_nvml))
    assert probe.start()[field] == "the driver says: Not Supported"
    sample = probe.sample()
    assert field not in sample
    assert "gpu0_power" in sample


def test_a_divided_gpu_is_named_in_the_reason(fake_nvml: FakeNvml) -> None:
    fake_nvml.mig = True
    fake_nvml.unsupported = {"nvmlDeviceGetUtilizationRates"}
    assert "MIG" in GpuState(Nvml(fake_nvml)).start()["gpu0_utilization"]


def test_a_call_that_fails_once_leaves_the_field_out_once(fake_nvml: FakeNvml) -> None:
    probe = state(fake_nvml)
    fake_nvml.unsupported = {"nvmlDeviceGetTemperature"}
    assert "gpu0_temperature" not in probe.sample()
    fake_nvml.unsupported = set()
    assert probe.sample()["gpu0_temperature"] == 64


def test_the_energy_counter_is_in_joules_for_each_gpu(fake_nvml: FakeNvml) -> None:
    fake_nvml.gpus = 2
    probe = GpuEnergy(Nvml(fake_nvml))
    assert probe.start() == {}
    assert probe.sample() == {"gpu0_energy": 5.0, "gpu1_energy": 5.0}


def test_without_a_driver_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_nvml", lambda: (None, "no NVIDIA driver"))
    probe = GpuEnergy(Nvml())
    assert probe.start() == {"gpu": "no NVIDIA driver"}
    assert probe.sample() == {}


def process(pid: int, memory: int | None = 2**30) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=memory)


@pytest.fixture
def engine() -> Iterator[int]:
    """A process to follow. Not a parent of this one: it may be the first of all, of which all others come."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child.pid
        child.kill()


def processes(fake: FakeNvml, engine: int) -> GpuProcesses:
    trees = ProcessTrees(process_reader())
    trees.follow(engine)
    probe = GpuProcesses(Nvml(fake), trees)
    assert probe.start() == {}
    return probe


def test_the_memory_of_followed_processes_is_ours(fake_nvml: FakeNvml, engine: int) -> None:
    probe = processes(fake_nvml, engine)
    fake_nvml.processes = [process(engine)]
    assert probe.sample() == {"gpu0_foreign_processes": 0, "gpu0_vram": 2**30}


def test_a_process_of_others_is_foreign_with_its_share(fake_nvml: FakeNvml, engine: int) -> None:
    probe = processes(fake_nvml, engine)
    fake_nvml.processes = [process(1)]
    fake_nvml.process_utilization = [SimpleNamespace(pid=1, smUtil=35, timeStamp=10)]
    sample = probe.sample()
    assert sample["gpu0_foreign_processes"] == 1
    assert sample["gpu0_foreign_utilization"] == 35.0


def test_a_foreign_process_that_computed_nothing_took_no_share(fake_nvml: FakeNvml, engine: int) -> None:
    fake_nvml.processes = [process(1)]
    assert processes(fake_nvml, engine).sample()["gpu0_foreign_utilization"] == 0.0


def test_a_process_of_another_namespace_is_foreign_only_if_it_was_there_before(
    fake_nvml: FakeNvml, engine: int
) -> None:
    fake_nvml.processes = [process(2**22 + 1)]
    probe = processes(fake_nvml, engine)
    fake_nvml.processes.append(process(2**22 + 2))
    sample = probe.sample()
    assert sample["gpu0_foreign_processes"] == 1
    assert "gpu0_vram" not in sample


def test_memory_that_the_driver_does_not_tell_is_left_out(fake_nvml: FakeNvml, engine: int) -> None:
    fake_nvml.processes = [process(engine, None)]
    assert "gpu0_vram" not in processes(fake_nvml, engine).sample()


def test_pcie_throughput_is_measured_beside_the_beats(fake_nvml: FakeNvml) -> None:
    probe = GpuPcie(Nvml(fake_nvml))
    assert probe.start() == {}
    sample: dict[str, float] = {}
    while not sample:
        sample = probe.sample()
    assert sample == {"gpu0_pcie_rx": 200e3, "gpu0_pcie_tx": 100e3}


def test_pcie_that_cannot_be_read_has_a_reason(fake_nvml: FakeNvml) -> None:
    fake_nvml.unsupported = {"nvmlDeviceGetPcieThroughput"}
    probe = GpuPcie(Nvml(fake_nvml))
    assert set(probe.start()) == {"gpu0_pcie_rx", "gpu0_pcie_tx"}
    assert probe.sample() == {}


def test_event_reasons_have_names() -> None:
    assert event_reasons(0x84) == ["sw_power_cap", "hw_power_brake"]
    assert event_reasons(0) == []
    assert event_reasons(1 << 20) == ["bit_20"]


def test_the_calls_exist_in_the_real_library(fake_nvml: FakeNvml) -> None:
    pynvml = pytest.importorskip("pynvml")
    called = [n for n in vars(type(fake_nvml)) if n.startswith(("nvml", "NVML"))]
    assert [name for name in called if not hasattr(pynvml, name)] == []
