"""On what machine, at which commit, with which versions was it measured?

Read once a session. No engine is imported. What cannot be read is None, with its reason in
``Machine.unknown``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmbench.hardware.cgroups import Limits, limits
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.cell import told_cell
from pytest_llmbench.results.ids import new_session_id
from pytest_llmbench.results.privacy import environment_variables
from pytest_llmbench.results.records import Commit, Header, Machine, MetricRow, Session
from pytest_llmbench.secrets import mask_command
from pytest_llmbench.times import iso

DISTRIBUTIONS = (
    "pytest-llmbench", "pytest", "pytest-benchmark", "pytest-xdist", "pytest-rerunfailures",
    "gguf", "safetensors", "accelerate", "openai", "huggingface_hub", "numpy", "psutil", "nvidia-ml-py",
)  # fmt: skip
"""Whose versions a document keeps, beside those of engines, where they are installed."""

# What decides how fast a matrix product is; the full list of flags adds nothing.
_FLAGS = frozenset(
    {
        "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl",
        "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "hypervisor",
        "asimd", "asimddp", "fphp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "sme",
    }
)  # fmt: skip
_GIT_TIMEOUT = 5.0


def snapshot(rootdir: Path, *, session_id: str | None = None, command: Sequence[str] = ()) -> Header:
    """The header of a session that starts now in *rootdir*.

    *session_id* is given where several processes make one session. *command* is kept with its
    secrets masked.
    """
    return Header(
        session=new_session(rootdir, session_id=session_id, command=command),
        machine=machine(),
        commit=commit(rootdir),
        versions=versions(),
        metrics={name: MetricRow.of(metric) for name, metric in METRICS.items()},
    )


def new_session(rootdir: Path, *, session_id: str | None = None, command: Sequence[str] = ()) -> Session:
    """A session of this process, with an id of its own unless one is given."""
    import psutil

    now = time.time()
    return Session(
        id=session_id or new_session_id(now),
        started=iso(now),
        host=platform.node(),
        pid=os.getpid(),
        process_started=psutil.Process().create_time(),
        command=mask_command(command),
        rootdir=str(rootdir),
        cell=told_cell(os.environ),
    )


def versions() -> dict[str, str]:
    """Distribution to version, of what is installed beside us, and of Python."""
    from pytest_llmbench.backends.registry import BUILTIN, from_reference
    from pytest_llmbench.backends.versions import installed_versions
    from pytest_llmbench.servers.table import ENGINES

    found = {"python": platform.python_version(), **installed_versions(*DISTRIBUTIONS)}
    for reference in BUILTIN.values():
        found.update(from_reference(reference).versions())
    return found | installed_versions(*(name for row in ENGINES.values() for name in row.distributions))


def machine(environ: Mapping[str, str] | None = None, root: Path = Path("/")) -> Machine:
    """This machine. *root* is where ``proc`` and ``sys`` lie."""
    unknown: dict[str, str] = {}
    allowed = limits(root)
    for name, key in (("cpus", "cpu.quota"), ("memory", "memory.limit")):
        if name in allowed.unknown:
            unknown[key] = allowed.unknown[name]
    cpu = _cpu(root, allowed, unknown)
    memory = _memory(allowed, unknown)
    gpus = _gpus(unknown)
    system = _system(root, unknown)
    return Machine(
        id=_fingerprint(cpu, memory, gpus, system),
        cpu=cpu,
        memory=memory,
        gpus=gpus,
        os=system,
        python=_python(),
        environment=environment_variables(os.environ if environ is None else environ),
        unknown=unknown,
    )


def commit(folder: Path) -> Commit:
    """The git commit of *folder*; untracked files do not make it dirty."""
    status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if isinstance(status, Commit):
        return status
    found = Commit(dirty=False)
    for line in status.splitlines():
        if line.startswith("# branch.oid "):
            oid = line.removeprefix("# branch.oid ")
            found.id = None if oid == "(initial)" else oid
        elif line.startswith("# branch.head "):
            branch = line.removeprefix("# branch.head ")
            found.branch = None if branch == "(detached)" else branch
        elif not line.startswith("#"):
            found.dirty = True
    if found.id is None:
        found.reason = "the repository has no commit yet"
        return found
    times = _git(folder, "show", "--no-patch", "--no-show-signature", "--format=%cI%n%aI", "HEAD")
    if isinstance(times, str):
        found.time, found.author_time = times.splitlines()[:2]
    return found


def _git(folder: Path, *arguments: str) -> str | Commit:
    """What git prints; a commit with the reason where it cannot."""
    # Without optional locks, reading the status does not disturb a git that runs at the same time.
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=_GIT_TIMEOUT,
            env=environ,
            check=False,
        )
    except FileNotFoundError:
        return Commit(reason="git is not installed")
    except subprocess.TimeoutExpired:
        return Commit(reason=f"git did not answer within {_GIT_TIMEOUT:.0f} s")
    except OSError as error:
        return Commit(reason=f"git could not be run: {error}")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return Commit(reason=lines[0] if lines else f"git ended with status {done.returncode}")
    return done.stdout


def _cpu(root: Path, allowed: Limits, unknown: dict[str, str]) -> Json:
    import psutil

    info = _cpuinfo(root)
    model = info.get("model name") or info.get("Model") or _cpu_model_without_proc(root)
    if model is None:
        unknown["cpu.model"] = "no source names the CPU on this system"
    flags = sorted(_FLAGS.intersection((info.get("flags") or info.get("Features") or "").split()))
    if not info:
        unknown["cpu.flags"] = "/proc/cpuinfo cannot be read on this system"
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    if affinity is None:
        unknown["cpu.affinity"] = "this system has no CPU affinity"
    physical = psutil.cpu_count(logical=False)
    if physical is None:
        unknown["cpu.physical_cores"] = "the system does not report its physical cores"
    cpufreq = root / "sys/devices/system/cpu/cpu0/cpufreq"
    frequency = _text(cpufreq / "cpuinfo_max_freq")
    governor = _text(cpufreq / "scaling_governor")
    for name, value in (("governor", governor), ("max_frequency", frequency)):
        if value is None:
            unknown[f"cpu.{name}"] = "no cpufreq on this machine (usual in a virtual machine)"
    return {
        "model": model,
        "physical_cores": physical,
        "logical_cores": psutil.cpu_count(),
        "affinity": affinity,
        "quota": allowed.cpus,
        "flags": flags if info else None,
        "governor": governor,
        "max_frequency": int(frequency) * 1000 if frequency else None,
    }


def _cpuinfo(root: Path) -> dict[str, str]:
    """Of ``/proc/cpuinfo`` the first processor, and what follows the last one (ARM names the board there)."""
    try:
        # Large machines have megabytes of it; the first processor is within the first pages.
        with (root / "proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            text = file.read(16384)
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def _cpu_model_without_proc(root: Path) -> str | None:
    board = _text(root / "proc/device-tree/model")
    if board:
        return board.rstrip("\0")
    if sys.platform == "darwin":
        ask = ["sysctl", "-n", "machdep.cpu.brand_string"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(ask, capture_output=True, text=True, timeout=2, check=True)
            return done.stdout.strip()
    return platform.processor() or None


def _memory(allowed: Limits, unknown: dict[str, str]) -> Json:
    import psutil

    swap = None
    try:
        swap = psutil.swap_memory().total
    except (OSError, RuntimeError) as error:
        unknown["memory.swap"] = str(error)
    return {"total": psutil.virtual_memory().total, "swap": swap, "limit": allowed.memory}


def _gpus(unknown: dict[str, str]) -> list[Json]:
    from pytest_llmbench.hardware import gpus

    found = gpus.list_gpus()
    if not found:
        unknown["gpus"] = gpus.why_no_gpus() or "the driver lists no GPU"
    return found


def _system(root: Path, unknown: dict[str, str]) -> Json:
    distribution = None
    try:
        distribution = platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        unknown["os.distribution"] = "this system has no os-release file"
    return {
        "system": platform.system(),
        "release": platform.release(),
        "version": platform.version(),
        "distribution": distribution,
        "architecture": platform.machine(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "container": _container(root),
        "virtual_machine": _virtual_machine(root),
    }


def _container(root: Path) -> str | None:
    """A hint at the kind of container; None where there is no sign of one."""
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    cgroup = _text(root / "proc/1/cgroup") or ""
    return next((kind for kind in ("docker", "kubepods", "lxc", "containerd") if kind in cgroup), None)


def _virtual_machine(root: Path) -> str | None:
    """A hint at the hypervisor; None where there is no sign of one."""
    if "microsoft" in platform.release().lower():
        return "wsl"
    if "hypervisor" not in _cpuinfo(root).get("flags", "").split():
        return None
    dmi = root / "sys/class/dmi/id"
    names = [_text(dmi / "sys_vendor"), _text(dmi / "product_name")]
    return " ".join(name for name in names if name) or "unknown hypervisor"


def _python() -> Json:
    gil = getattr(sys, "_is_gil_enabled", None)
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "compiler": platform.python_compiler(),
        "build": " ".join(platform.python_build()),
        "debug": hasattr(sys, "gettotalrefcount"),
        "gil": True if gil is None else bool(gil()),
    }


def _fingerprint(cpu: Json, memory: Json, gpus: list[Json], system: Json) -> str:
    """Equal for machines on which numbers may be compared; no name, address or serial number is in it.

    Memory counts in GiB, because a kernel takes some of it for itself, and another one another
    part.
    """
    parts = [
        cpu["model"],
        system["architecture"],
        cpu["physical_cores"],
        cpu["logical_cores"],
        round(memory["total"] / 2**30),
        *sorted(f"{gpu.get('name')} {round((gpu.get('memory') or 0) / 2**30)}" for gpu in gpus),
    ]
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()[:16]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
