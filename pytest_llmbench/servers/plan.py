"""What has to be run to start a server, here or in a container?"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.forms import FORMS
from pytest_llmbench.models.spec import ResolvedModel
from pytest_llmbench.servers import docker
from pytest_llmbench.servers.ask import Access
from pytest_llmbench.servers.table import DOCKER, OFFLINE, ServerEngine, find_engine

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What to start."""

    engine: str
    """A name of :data:`.table.ENGINES`, or ``docker:NAME``."""
    model: ResolvedModel | str
    """A model whose files are here, or a path or hub id for the engine to look up."""
    docker: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    """The engine's own options without dashes, each with its value; ``""`` for one that takes none."""
    arguments: tuple[str, ...] = ()
    """Further arguments, as they are; they come last."""
    python: str = sys.executable
    """The interpreter of engines that are Python modules; it needs nothing of ours."""
    environment: Mapping[str, str] = field(default_factory=dict)
    start_timeout: float = 600.0
    """Seconds until it has to be ready."""
    context: int | None = None
    """Tokens that prompt and output may have together; None leaves it to the engine."""
    image: str | None = None
    """The container image; None for the engine's own."""
    gpus: str | None = None
    """As of ``docker run --gpus``, or ``"none"``; None for all NVIDIA GPUs there are."""
    access: Access = field(default_factory=Access)
    """How it is asked whether it is ready: with its key, where it wants one."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{DOCKER if self.in_container else ''}{self.engine.removeprefix(DOCKER)} ({self.name})"

    @property
    def in_container(self) -> bool:
        return self.docker or self.engine.startswith(DOCKER)

    @property
    def name(self) -> str:
        """What requests are to call the model, where the engine lets us choose."""
        if isinstance(self.model, ResolvedModel):
            return self.model.spec.label
        return self.model if self.path is None else self.path.name

    @property
    def path(self) -> Path | None:
        """The model's file or folder; None for a hub id."""
        if isinstance(self.model, ResolvedModel):
            return self.model.path.absolute()
        path = Path(self.model).expanduser()
        return path.absolute() if path.exists() else None


@dataclass(slots=True)
class LaunchPlan:
    """What is run for a spec, on one port."""

    command: list[str]
    environment: dict[str, str]
    """Of the process that is started; all of it."""
    setup: list[list[str]]
    stop: list[str] | None = None
    container: str | None = None
    """Its name."""


def make_plan(spec: ServerSpec, port: int, scratch: Path) -> LaunchPlan:
    """What has to be run to start *spec* on *port*.

    :param scratch: a folder of its own.
    :raises UsageError: for a model that the engine cannot take, or an image that is not known.
    """
    engine = find_engine(spec.engine)
    path = spec.path
    if path is None and not engine.hub:
        msg = f"{engine.name} takes a GGUF file, and there is none at {spec.model}"
        raise UsageError(msg)
    if isinstance(spec.model, ResolvedModel) and spec.model.form != engine.form:
        msg = f"{engine.name} takes {FORMS[engine.form].models}, and {spec.model.path} is none"
        raise UsageError(msg)
    if spec.context is not None and "{context}" not in str((engine.context, engine.fixed_environment)):
        msg = f"{engine.name} has no option that limits the context; leave it out"
        raise UsageError(msg)
    variables = {**engine.environment, **(OFFLINE if path is not None else {})}
    if spec.in_container:
        return _in_container(spec, engine, port, scratch, variables)
    values = _values(spec, host=HOST, port=port, model=spec.model if path is None else path, scratch=scratch)
    if "{python}" in engine.program:
        # A user's queue.py in this folder must not stand in for the library's.
        variables["PYTHONSAFEPATH"] = "1"
    environment = {**variables, **os.environ, **spec.environment}
    for name, template in engine.fixed_environment.items():
        if template is None:
            environment.pop(name, None)
        elif spec.context is not None or "{context}" not in template:
            environment[name] = template.format(**values)
    _write_files(engine, values, scratch)
    return LaunchPlan(
        command=[*_filled(engine.program, values), *_arguments(spec, engine, values)],
        environment=environment,
        setup=[_filled(command, values) for command in engine.setup],
    )


def served_name(spec: ServerSpec) -> str:
    """What requests have to call the model, unless the server says otherwise."""
    path = spec.path
    inside = path is not None and spec.in_container
    model = spec.model if path is None else docker.path_inside(path) if inside else path
    return find_engine(spec.engine).served.format(**_values(spec, host="", port=0, model=model, scratch=""))


def _in_container(
    spec: ServerSpec, engine: ServerEngine, port: int, scratch: Path, variables: Mapping[str, str]
) -> LaunchPlan:
    path = spec.path
    gpus = docker.nvidia_gpus() if spec.gpus is None else None if spec.gpus == "none" else spec.gpus
    values = _values(
        spec,
        host="0.0.0.0",  # inside; outside it is the loopback interface
        port=8000 if engine.container is None else engine.container.port,
        model=spec.model if path is None else docker.path_inside(path),
        scratch=docker.SCRATCH,
    )
    name = f"llmbench-{engine.name}-{os.urandom(6).hex()}"
    _write_files(engine, values, scratch)
    token = ["HF_TOKEN"] if path is None and "HF_TOKEN" in os.environ else []
    command = docker.run_command(
        engine,
        name=name,
        image=docker.image_of(engine, spec.image, gpus),
        port=port,
        arguments=_arguments(spec, engine, values),
        model=path,
        scratch=scratch,
        environment={
            **{name: value for name, value in variables.items() if name not in spec.environment},
            **{
                name: template.format(**values)
                for name, template in engine.fixed_environment.items()
                if spec.context is not None and template is not None and "{context}" in template
            },
        },
        passed=[*spec.environment, *token],
        gpus=gpus,
    )
    return LaunchPlan(
        command=command,
        environment={**os.environ, **spec.environment},
        setup=[docker.exec_command(name, _filled(one, values)) for one in engine.setup],
        stop=docker.stop_command(name),
        container=name,
    )


def _values(spec: ServerSpec, *, host: str, port: int, model: object, scratch: object) -> dict[str, str]:
    return {
        "python": spec.python,
        "model": str(model),
        "basename": Path(str(model)).name if spec.path is not None else str(model),
        "name": spec.name,
        "host": host,
        "port": str(port),
        "context": str(spec.context),
        "scratch": str(scratch),
    }


def _arguments(spec: ServerSpec, engine: ServerEngine, values: Mapping[str, str]) -> list[str]:
    arguments = _filled(engine.arguments, values)
    for need in engine.needs:
        arguments += _filled(need.arguments, values)
    arguments += engine.prefix_cache.reports
    if spec.context is not None:
        arguments += _filled(engine.context, values)
    for name, value in spec.options.items():
        arguments += [f"--{name}", value] if value else [f"--{name}"]
    return [*arguments, *spec.arguments]


def _filled(templates: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    return [template.format(**values) for template in templates]


def _write_files(engine: ServerEngine, values: Mapping[str, str], scratch: Path) -> None:
    for name, template in engine.files.items():
        scratch.mkdir(exist_ok=True)
        (scratch / name).write_text(template.format(**values), encoding="utf-8")
