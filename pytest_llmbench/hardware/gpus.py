"""Which NVIDIA GPUs may this process use?

NVML knows nothing of ``CUDA_VISIBLE_DEVICES``, so the variable is applied here.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pytest_llmbench.hardware.probes import why


@dataclass(frozen=True, slots=True)
class VisibleGpu:
    """A GPU (or MIG instance) that is visible to CUDA here."""

    index: int
    """As CUDA counts it in this process, from 0: the N of the fields ``gpuN_...``."""
    handle: object
    """NVML's device handle."""


def load_nvml() -> tuple[ModuleType | None, str | None]:
    """The module ``pynvml``, NVML started; or None and the reason. Cheap where there is no driver.

    Each success has to be answered by ``nvmlShutdown()``.
    """
    if (reason := _no_library()) is not None:
        return None, reason
    try:
        import pynvml
    except ImportError:
        return None, "nvidia-ml-py is not installed: pip install nvidia-ml-py"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"NVML does not start: {error}"
    return pynvml, None


def _no_library() -> str | None:
    if sys.platform == "darwin":
        return "no NVIDIA driver for this system"
    try:
        ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    except OSError:
        return "no NVIDIA driver (the library NVML cannot be loaded)"
    return None


def visible_gpus(nvml: ModuleType, wanted: str | None = None) -> list[VisibleGpu]:
    """The GPUs in CUDA's order. *nvml* is the module that :func:`load_nvml` gave.

    As in CUDA, the list ends at the first entry of ``CUDA_VISIBLE_DEVICES`` that matches no GPU.

    :param wanted: what that variable says; by default what it says here.
    """
    count = nvml.nvmlDeviceGetCount()
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES") if wanted is None else wanted
    if wanted is None:
        return [VisibleGpu(i, nvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)]
    gpus: list[VisibleGpu] = []
    for index, name in enumerate(part.strip() for part in wanted.split(",")):
        handle = None
        with suppress(nvml.NVMLError):
            if name.isdecimal() and int(name) < count:
                handle = nvml.nvmlDeviceGetHandleByIndex(int(name))
            elif name.startswith("GPU-"):
                handle = _by_uuid(nvml, name, count)
            elif name.startswith("MIG-"):
                handle = nvml.nvmlDeviceGetHandleByUUID(name)
        if handle is None:
            break
        gpus.append(VisibleGpu(index, handle))
    return gpus


def _by_uuid(nvml: ModuleType, start: str, count: int) -> object:
    """CUDA takes the first characters of a UUID for the whole."""
    for index in range(count):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        if str(_text(nvml.nvmlDeviceGetUUID(handle))).startswith(start):
            return handle
    return None


def device_count() -> int:
    """Number of NVIDIA GPUs that CUDA sees here; 0 without a driver."""
    nvml, _ = load_nvml()
    if nvml is None:
        return 0
    try:
        return len(visible_gpus(nvml))
    except nvml.NVMLError:
        return 0
    finally:
        _shutdown(nvml)


def free_memory() -> list[int | None]:
    """Bytes that are free on each GPU that CUDA sees here, in its order; empty without a driver.

    None for a GPU that does not report.
    """
    nvml, _ = load_nvml()
    if nvml is None:
        return []
    try:
        return [_free(nvml, gpu.handle) for gpu in visible_gpus(nvml)]
    except nvml.NVMLError:
        return []
    finally:
        _shutdown(nvml)


def _free(nvml: ModuleType, handle: object) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).free)
    except nvml.NVMLError:
        return None


IDLE_MEMORY = 2**30
"""Bytes that a driver may keep of a GPU on which nothing runs."""


def in_use(wanted: str) -> str | None:
    """By what one of the GPUs is used; None if all are idle.

    :param wanted: names them, as ``CUDA_VISIBLE_DEVICES`` does.
    """
    nvml, reason = load_nvml()
    if nvml is None:
        return reason
    try:
        gpus = visible_gpus(nvml, wanted)
        if len(gpus) != len(wanted.split(",")):
            return f"the driver does not have all of the GPUs {wanted}"
        return next((used for gpu in gpus if (used := _use(nvml, gpu)) is not None), None)
    except nvml.NVMLError as error:
        return why(error)
    finally:
        _shutdown(nvml)


def _use(nvml: ModuleType, gpu: VisibleGpu) -> str | None:
    import psutil

    with suppress(nvml.NVMLError):
        running = nvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle)
        # In a container they may be numbers of another namespace; memory tells then.
        if pids := [one.pid for one in running if psutil.pid_exists(one.pid)]:
            return f"GPU {gpu.index} is used by process {pids[0]}"
    with suppress(nvml.NVMLError):
        used = int(nvml.nvmlDeviceGetMemoryInfo(gpu.handle).used)
        if used > IDLE_MEMORY:
            return f"{used / 2**30:.1f} GiB of the memory of GPU {gpu.index} are in use"
    return None


def why_no_gpus() -> str | None:
    """Why :func:`list_gpus` is empty; None where it is not."""
    nvml, reason = load_nvml()
    if nvml is None:
        return reason
    try:
        if visible_gpus(nvml):
            return None
    except nvml.NVMLError as error:
        return why(error)
    finally:
        _shutdown(nvml)
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r} hides every NVIDIA GPU"
    return "the NVIDIA driver sees no GPU"


def list_gpus() -> list[dict[str, object]]:
    """Facts of each visible GPU, in CUDA's order; empty for the reason of :func:`why_no_gpus`.

    Keys: ``name``, ``uuid``, ``memory`` (bytes), ``driver``, ``cuda`` (the newest CUDA version
    that the driver serves), ``compute_capability``. What a GPU does not report is None.
    """
    nvml, _ = load_nvml()
    if nvml is None:
        return []
    try:
        return [_facts(nvml, gpu.handle) for gpu in visible_gpus(nvml)]
    except nvml.NVMLError:
        return []
    finally:
        _shutdown(nvml)


def _facts(nvml: ModuleType, handle: object) -> dict[str, object]:
    def ask(name: str, *arguments: object) -> Any:
        try:
            return getattr(nvml, name)(*arguments)
        except nvml.NVMLError:
            return None

    cuda = ask("nvmlSystemGetCudaDriverVersion")
    memory = ask("nvmlDeviceGetMemoryInfo", handle)
    capability = ask("nvmlDeviceGetCudaComputeCapability", handle)
    return {
        "name": _text(ask("nvmlDeviceGetName", handle)),
        "uuid": _text(ask("nvmlDeviceGetUUID", handle)),
        "memory": None if memory is None else int(memory.total),
        "driver": _text(ask("nvmlSystemGetDriverVersion")),
        "cuda": None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        "compute_capability": None if capability is None else "{}.{}".format(*capability),
    }


def _text(value: object) -> object:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _shutdown(nvml: ModuleType) -> None:
    with suppress(nvml.NVMLError):
        nvml.nvmlShutdown()
