"""How does a server run in a container?

``docker run`` stays in the foreground below the keeper, so that its log is the server's and its end
the container's; ``docker stop`` ends it. Nothing but the loopback interface reaches its port.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pytest_llmbench.errors import BackendUnavailableError, UsageError
from pytest_llmbench.servers.table import ServerEngine

MODELS = PurePosixPath("/models")
SCRATCH = "/llmbench"
"""Where the server's scratch folder is, inside."""
STOP_AFTER = 10
"""Seconds that Docker gives the server before it kills it."""
_ANSWER_WITHIN = 30.0


def check(engine: ServerEngine) -> None:
    """Make sure that Docker works here.

    :raises BackendUnavailableError: if it does not, with Docker's own words.
    """
    try:
        found = _docker("version", "--format", "{{.Server.Version}}")
    except FileNotFoundError:
        msg = (
            f"docker:{engine.name} needs Docker, and there is no docker on the PATH; install it, or start "
            f"{engine.name} without docker:"
        )
        raise BackendUnavailableError(msg) from None
    except subprocess.TimeoutExpired:
        msg = f"docker:{engine.name} needs Docker, and its daemon does not answer"
        raise BackendUnavailableError(msg) from None
    if found.returncode != 0:
        words = (found.stderr or found.stdout).strip().splitlines() or ["docker version failed"]
        msg = f"docker:{engine.name} needs Docker, and it does not work here: {words[-1]}"
        raise BackendUnavailableError(msg)


def image_of(engine: ServerEngine, image: str | None, gpus: str | None) -> str:
    """The image to run: the one that was asked for, or the engine's own.

    :raises UsageError: if none is published, and none was asked for.
    """
    if image is not None:
        return image
    if engine.container is None:
        msg = (
            f"no published image of {engine.name} is known here; name one with "
            f"--llm-option server.image=IMAGE, or start {engine.name} without docker:"
        )
        raise UsageError(msg)
    if gpus is None and engine.container.cpu_image is not None:
        return engine.container.cpu_image
    return engine.container.image


def run_command(
    engine: ServerEngine,
    *,
    name: str,
    image: str,
    port: int,
    arguments: Sequence[str],
    model: Path | None,
    scratch: Path,
    environment: Mapping[str, str],
    passed: Sequence[str],
    gpus: str | None,
) -> list[str]:
    """The command that runs the container.

    :param port: on the loopback interface of this machine.
    :param arguments: the engine's, with paths as they are inside.
    :param model: its file or folder here; None for one that the engine downloads.
    :param environment: variables that are not secret.
    :param passed: names of variables whose values Docker takes from its own environment.
    :param gpus: as of ``docker run --gpus``; None for none.
    """
    container = engine.container
    inside = 8000 if container is None else container.port
    program = [w.format(python="python3") for w in engine.program] if container is None else container.program
    command = ["docker", "run", "--rm", "--name", name, "--publish", f"127.0.0.1:{port}:{inside}"]
    if gpus is not None:
        command += ["--gpus", gpus]
    if container is not None:
        command += container.flags
    if model is not None:
        command += ["--mount", f"type=bind,source={_mounted(model)},target={MODELS},readonly"]
    elif container is not None:
        hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
        command += ["--volume", f"{hub}:{container.hub_cache}"]
    if engine.files:
        command += ["--mount", f"type=bind,source={scratch},target={SCRATCH},readonly"]
    for variable, value in environment.items():
        command += ["--env", f"{variable}={value}"]
    for variable in passed:
        command += ["--env", variable]
    return [*command, image, *program, *arguments]


def path_inside(model: Path) -> str:
    """Where a model's file or folder is, in its container."""
    return str(MODELS / model.absolute().relative_to(_mounted(model)).as_posix())


def stop_command(name: str) -> list[str]:
    """The command that ends the container."""
    return ["docker", "stop", "-t", str(STOP_AFTER), name]


def exec_command(name: str, command: Sequence[str]) -> list[str]:
    """*command*, run in the container."""
    return ["docker", "exec", name, *command]


def pid_of(name: str) -> int | None:
    """The id that the container's first process has on this machine; None where it has none here."""
    text = _inspect(name, "{{.State.Pid}}")
    if text is None or not text.isdecimal():
        return None
    # Docker may run in a virtual machine, whose processes are not ours.
    return int(text) if Path(f"/proc/{text}").exists() and int(text) > 1 else None


def image_id(name: str) -> str | None:
    """``sha256:HEX`` of the image that the container runs."""
    return _inspect(name, "{{.Image}}")


def nvidia_gpus() -> str | None:
    """``"all"`` where there is an NVIDIA GPU, for ``docker run --gpus``; else None."""
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            return "all" if pynvml.nvmlDeviceGetCount() else None
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # noqa: BLE001  # no driver, no library, no module: no GPU for us
        return None


def _mounted(model: Path) -> Path:
    """The folder to mount, so that the model's files and what its links lead to are all inside."""
    model = model.absolute()
    folder = model if model.is_dir() else model.parent
    # A hub's cache links from its snapshot to its blobs.
    ends = [os.path.realpath(file) for file in folder.rglob("*") if file.is_symlink()]
    return Path(os.path.commonpath([folder, *ends]))


def _inspect(name: str, template: str) -> str | None:
    try:
        found = _docker("inspect", "--format", template, name)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=_ANSWER_WITHIN, check=False
    )
