"""What did the NVIDIA GPUs do?

Fields carry the GPU's number as CUDA counts it: ``gpu0_power``. A field that a GPU does not have
(MIG: utilisation, GB10: memory) is left out with the driver's own words as the reason.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmbench.hardware.gpus import VisibleGpu, load_nvml, visible_gpus
from pytest_llmbench.hardware.probes import SLOW, why
from pytest_llmbench.hardware.processes import ProcessTrees

EVENT_REASONS = {
    0x001: "gpu_idle",
    0x002: "application_clocks",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake",
    0x100: "display_clocks",
}
"""NVML's clocks event reasons, once called throttle reasons."""
THROTTLING = 0x008 | 0x020 | 0x040 | 0x080
"""Reasons that spoil a measurement. The power cap is left out: it is how the card is set, and
a card that works hard meets it all the time."""


def event_reasons(bits: int) -> list[str]:
    """Names of the bits of a clocks event mask; an unknown bit by its number."""
    return [EVENT_REASONS.get(1 << n, f"bit_{n}") for n in range(bits.bit_length()) if bits >> n & 1]


class Nvml:
    """NVML's session: the module, the visible GPUs, and why there are none."""

    def __init__(self, module: Any = None) -> None:
        self.gpus: list[VisibleGpu] = []
        self.reason: str | None = None
        self.module = module
        if module is None:
            self.module, self.reason = load_nvml()
        if self.module is None:
            return
        try:
            self.gpus = visible_gpus(self.module)
        except self.module.NVMLError as error:
            self.reason = f"NVML does not list the GPUs: {error}"
        if not self.gpus and self.reason is None:
            self.reason = "no NVIDIA GPU is visible to CUDA"


Read = Callable[[object], Mapping[str, float]]


class _Fields(ABC):
    """Reads named groups of fields of each GPU; drops a group that the GPU does not have."""

    def __init__(self, nvml: Nvml) -> None:
        self.methods: dict[str, str] = {}
        self._nvml = nvml
        self._reads: list[tuple[str, object, Read]] = []

    def start(self) -> dict[str, str]:
        if not self._nvml.gpus:
            return {"gpu": self._nvml.reason or "no GPU"}
        reasons: dict[str, str] = {}
        for gpu in self._nvml.gpus:
            for fields, read in self._groups(gpu):
                prefix = f"gpu{gpu.index}_"
                try:
                    read(gpu.handle)
                except (self._nvml.module.NVMLError, AttributeError) as error:
                    reasons.update(dict.fromkeys((prefix + f for f in fields), self._why(gpu, error)))
                else:
                    self._reads.append((prefix, gpu.handle, read))
        return reasons

    def sample(self) -> dict[str, float]:
        reading: dict[str, float] = {}
        for prefix, handle, read in self._reads:
            try:
                values = read(handle)
            except self._nvml.module.NVMLError:
                continue  # This once: a field that is never there was left out at the start.
            for name, value in values.items():
                reading[prefix + name] = value
        return reading

    @abstractmethod
    def _groups(self, gpu: VisibleGpu) -> list[tuple[tuple[str, ...], Read]]:
        """Names of the fields, and the call that reads them together."""

    def _why(self, gpu: VisibleGpu, error: Exception) -> str:
        module = self._nvml.module
        if isinstance(error, AttributeError):
            return "this nvidia-ml-py does not know the call: pip install -U nvidia-ml-py"
        try:
            mig = module.nvmlDeviceGetMigMode(gpu.handle)[0] == 1
        except module.NVMLError:
            mig = False
        return f"the driver says: {error}" + (" (the GPU is divided into MIG instances)" if mig else "")


class GpuEnergy(_Fields):
    """``energy``, J: the card's own counter since the driver was loaded.

    Since Volta; it moves about every 100 ms, so that the energy of a short window is coarse.
    """

    name = "gpu_energy"
    every = 0.0
    at_edges = True

    def _groups(self, gpu: VisibleGpu) -> list[tuple[tuple[str, ...], Read]]:
        nvml = self._nvml.module
        return [(("energy",), lambda h: {"energy": nvml.nvmlDeviceGetTotalEnergyConsumption(h) * 1e-3})]


class GpuState(_Fields):
    """Utilisation (percent), memory (bytes), power (W), temperature (degrees Celsius), clocks (Hz).

    ``utilization`` and ``memory_utilization`` are the shares of time in which anything ran, or
    memory was read or written. ``event_reasons`` is a bit mask (:func:`event_reasons`). Power is
    the instant power where the driver has it, else NVML's own figure, a mean over a second on
    most cards since Ampere; ``methods`` says which.
    """

    name = "gpu"
    every = 0.0
    at_edges = False

    def _groups(self, gpu: VisibleGpu) -> list[tuple[tuple[str, ...], Read]]:
        nvml = self._nvml.module
        power, how = self._power(gpu)
        self.methods[f"gpu{gpu.index}_power"] = how

        def utilization(handle: object) -> dict[str, float]:
            rates = nvml.nvmlDeviceGetUtilizationRates(handle)
            return {"utilization": rates.gpu, "memory_utilization": rates.memory}

        def reasons(handle: object) -> dict[str, float]:
            ask = getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
            return {"event_reasons": (ask or nvml.nvmlDeviceGetCurrentClocksThrottleReasons)(handle)}

        def temperature(handle: object) -> dict[str, float]:
            return {"temperature": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)}

        def clock(name: str, kind: int) -> tuple[tuple[str, ...], Read]:
            return (name,), lambda h: {name: nvml.nvmlDeviceGetClockInfo(h, kind) * 1e6}

        return [
            (("utilization", "memory_utilization"), utilization),
            (("memory_used",), lambda h: {"memory_used": int(nvml.nvmlDeviceGetMemoryInfo(h).used)}),
            (("power",), power),
            (("temperature",), temperature),
            clock("clock_sm", nvml.NVML_CLOCK_SM),
            clock("clock_memory", nvml.NVML_CLOCK_MEM),
            (("event_reasons",), reasons),
        ]

    def _power(self, gpu: VisibleGpu) -> tuple[Read, str]:
        nvml = self._nvml.module

        def instant(handle: object) -> dict[str, float]:
            field = nvml.nvmlDeviceGetFieldValues(handle, [nvml.NVML_FI_DEV_POWER_INSTANT])[0]
            if field.nvmlReturn != nvml.NVML_SUCCESS:
                raise nvml.NVMLError(field.nvmlReturn)
            return {"power": field.value.uiVal * 1e-3}

        try:
            instant(gpu.handle)
        except (nvml.NVMLError, AttributeError):
            return lambda h: {"power": nvml.nvmlDeviceGetPowerUsage(h) * 1e-3}, "average"
        return instant, "instant"


class GpuProcesses(_Fields):
    """Who computes on the GPU: ``vram`` (bytes, followed processes), ``foreign_processes``.

    ``foreign_utilization`` (percent of the streaming multiprocessors) is what the busiest foreign
    process took since the last look; read only while there is one.

    In a container NVML may name processes by ids of another namespace. Such a process cannot be
    distinguished from ours: if it came after we began to look, it is neither counted as ours nor as foreign.
    """

    name = "gpu_processes"
    every = SLOW
    at_edges = True

    def __init__(self, nvml: Nvml, trees: ProcessTrees) -> None:
        super().__init__(nvml)
        self._trees = trees
        self._foreign_before: dict[int, set[int]] = {}
        self._last_seen: dict[int, int] = {}

    def _groups(self, gpu: VisibleGpu) -> list[tuple[tuple[str, ...], Read]]:
        return [(("vram", "foreign_processes"), lambda handle: self._look(gpu.index, handle))]

    def _look(self, index: int, handle: object) -> dict[str, float]:
        import psutil

        running = self._nvml.module.nvmlDeviceGetComputeRunningProcesses(handle)
        ours, followed = self._trees.pids(), self._trees.followed()
        before = self._foreign_before.setdefault(index, {p.pid for p in running} - ours)
        foreign = {
            p.pid for p in running if p.pid not in ours and (p.pid in before or psutil.pid_exists(p.pid))
        }
        unknown = {p.pid for p in running} - ours - foreign
        reading: dict[str, float] = {"foreign_processes": len(foreign)}
        memory = [p.usedGpuMemory for p in running if p.pid in followed]
        if not unknown and None not in memory:
            reading["vram"] = sum(memory)
        if foreign and (busiest := self._busiest(index, handle, foreign)) is not None:
            reading["foreign_utilization"] = busiest
        return reading

    def _busiest(self, index: int, handle: object, foreign: set[int]) -> float | None:
        nvml = self._nvml.module
        since = self._last_seen.get(index, time.time_ns() // 1000 - int(SLOW * 1e6))
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(handle, since)
        except nvml.NVMLError as error:
            # NVML's way to say that nothing ran since then.
            return 0.0 if getattr(error, "value", None) == nvml.NVML_ERROR_NOT_FOUND else None
        self._last_seen[index] = max((s.timeStamp for s in samples), default=since)
        return float(max((s.smUtil for s in samples if s.pid in foreign), default=0))


class GpuPcie:
    """``pcie_rx`` and ``pcie_tx``, bytes a second, seen from the GPU.

    The driver counts for 20 ms per direction and blocks meanwhile, so a thread of the sampler
    does it, one GPU a second in turn, and no beat waits.
    """

    name = "gpu_pcie"
    every = SLOW
    at_edges = False

    def __init__(self, nvml: Nvml) -> None:
        self.methods: dict[str, str] = {}
        self._nvml = nvml
        self._gpus: list[VisibleGpu] = []
        self._turn = 0
        self._fresh: dict[str, float] = {}
        self._wake = threading.Event()

    def start(self) -> dict[str, str]:
        reasons: dict[str, str] = {}
        for gpu in self._nvml.gpus:
            try:
                self._read(gpu)
            except (self._nvml.module.NVMLError, AttributeError) as error:
                reasons.update(
                    dict.fromkeys((f"gpu{gpu.index}_pcie_rx", f"gpu{gpu.index}_pcie_tx"), why(error))
                )
            else:
                self._gpus.append(gpu)
        if self._gpus:
            threading.Thread(target=self._run, daemon=True).start()
        return reasons

    def sample(self) -> dict[str, float]:
        reading, self._fresh = self._fresh, {}
        self._wake.set()
        return reading

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self._turn += 1
            try:
                self._fresh = self._read(self._gpus[self._turn % len(self._gpus)])
            except self._nvml.module.NVMLError:
                continue

    def _read(self, gpu: VisibleGpu) -> dict[str, float]:
        nvml = self._nvml.module
        counters = {"rx": nvml.NVML_PCIE_UTIL_RX_BYTES, "tx": nvml.NVML_PCIE_UTIL_TX_BYTES}
        # NVML documents KB a second.
        return {
            f"gpu{gpu.index}_pcie_{way}": nvml.nvmlDeviceGetPcieThroughput(gpu.handle, counter) * 1e3
            for way, counter in counters.items()
        }
