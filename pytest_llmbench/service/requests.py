"""What may be asked of the service, and which command measures it?

A request names a model or a suite of the configured ones, and settings by the names of their rows. Nothing in
it becomes a path, a program or an address: settings that are such are not among those that can be asked.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.rows import Setting
from pytest_llmbench.workloads.tasks import TaskName

_NOT_ASKED = frozenset({"backend_options", "base_url", "serve", "dataset", "isolation", "slo", "thresholds"})
"""Settings that reach a file, a program or another host, or are not one line."""
SUITE_ENDING = ".llm.yaml"
SUITE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_SUITES = 1000
"""That are looked at in a folder."""

Name = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, Field(max_length=100_000, pattern=r"^[^\x00]+$")]
Number = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
Scalar = bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | Number | Text
Value = Scalar | Annotated[list[Scalar], Field(max_length=32)]
Kind = Literal["model", "suite"]
Config = Annotated[dict[Annotated[str, Field(max_length=40)], Value], Field(max_length=64)]


def settings_that_can_be_asked() -> dict[str, Setting]:
    """The rows of the settings that a request can have, by key."""
    return {key: row for key, row in SETTINGS.items() if key not in _NOT_ASKED and row.flag and not row.path}


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HardwareOptions(_Request):
    """What to measure on."""

    use_gpu: bool = False
    device: Annotated[str, Field(pattern=r"^(cpu|gpu\d{1,2})$")] | None = Field(
        default=None, description="one of the configured devices; by default the first that fits"
    )


class ModelRequest(_Request):
    """Measure a model: POST /benchmarks/."""

    kind: ClassVar[Kind] = "model"
    model_id: Name
    task: TaskName = "text-generation"
    config: Config = Field(
        default_factory=dict,
        description="settings by their names, such as max_new_tokens; and prompt, the text that is asked",
    )
    hardware_options: HardwareOptions = Field(default_factory=HardwareOptions)


class SuiteRequest(_Request):
    """Run a suite by its name, with settings over its own."""

    kind: ClassVar[Kind] = "suite"
    suite: Annotated[str, Field(pattern=SUITE_NAME)]
    overrides: Config = Field(default_factory=dict)
    hardware_options: HardwareOptions = Field(default_factory=HardwareOptions)


def suites(configuration: Configuration) -> dict[str, Path]:
    """The suites of the configured folders by their names; of two of one name, the first folder's."""
    found: dict[str, Path] = {}
    for folder in configuration.suites:
        try:
            paths = sorted(folder.glob(f"*{SUITE_ENDING}"))[:_SUITES]
        except OSError:
            continue
        for path in paths:
            name = path.name.removesuffix(SUITE_ENDING)
            if re.search(SUITE_NAME, name) and path.is_file():
                found.setdefault(name, path.absolute())
    return found


def models(configuration: Configuration) -> list[str]:
    """The models that may be asked, by name."""
    if configuration.models:
        return list(configuration.models)
    from pytest_llmbench.models.synthetic.shapes import SHAPES

    names = [shape.model_name for shape in SHAPES.values()]
    if configuration.models_file is not None:
        from pytest_llmbench.models.aliases import read_aliases

        names = [*read_aliases(configuration.models_file).names, *names]
    return names


def check(request: ModelRequest | SuiteRequest, configuration: Configuration) -> str:
    """Refuse what cannot be measured; else the device that it waits for.

    :raises UsageError: saying what there is.
    """
    if isinstance(request, ModelRequest):
        _check_models([request.model_id], configuration)
        _check_settings(request.config, "config", configuration, more=("prompt",))
    else:
        if request.suite not in (known := suites(configuration)):
            near, there = suggest(request.suite, list(known)), ", ".join(known) or "none"
            msg = f"there is no suite {request.suite!r}{near}; there are: {there}"
            raise UsageError(msg)
        _check_settings(request.overrides, "overrides", configuration)
    return _device(request.hardware_options, configuration)


def _check_models(names: list[str], configuration: Configuration) -> None:
    known = models(configuration)
    for name in names:
        if name not in known:
            msg = (
                f"the model {name!r} is not one of this service{suggest(name, known)}; GET /models lists them"
            )
            raise UsageError(msg)


def _check_settings(
    given: Mapping[str, Any], where: str, configuration: Configuration, more: tuple[str, ...] = ()
) -> None:
    rows = settings_that_can_be_asked()
    for key, value in given.items():
        if key in more:
            if not isinstance(value, str):
                msg = f"{where}.{key} is {value!r}; it has to be a text"
                raise UsageError(msg)
            continue
        if key not in rows:
            known = [*more, *rows]
            msg = f"{where}.{key} is not a setting that can be asked{suggest(key, known)}"
            raise UsageError(msg)
        rows[key].read(_plain(value), f"{where}.{key}")
        listed = value if isinstance(value, list) else [value]
        if key == "models":
            _check_models([str(one) for one in listed], configuration)
        if key == "backends" and configuration.backends:
            for one in listed:
                if one not in configuration.backends:
                    msg = f"{where}.backends: {one!r} is not one of {', '.join(configuration.backends)}"
                    raise UsageError(msg)


def _plain(value: Any) -> object:
    """A value as a setting's reader takes it from a command line."""
    if isinstance(value, list):
        return ",".join(str(_plain(one)) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _device(options: HardwareOptions, configuration: Configuration) -> str:
    devices = configuration.devices
    if options.device is not None:
        fits = [one for one in devices if one == options.device]
    else:
        gpus = [one for one in devices if one.startswith("gpu")]
        fits = gpus if options.use_gpu else [one for one in devices if one not in gpus] or gpus
    if not fits:
        asked = options.device or "a GPU"
        msg = f"hardware_options: {asked} is not there; this service measures on: {', '.join(devices)}"
        raise UsageError(msg)
    return fits[0]


def command(kind: str, request: Json, folder: Path, configuration: Configuration) -> list[str]:
    """The words that measure a request; what they need is put into the job's *folder*.

    :raises UsageError: if what was asked is not there any more.
    """
    chosen: Mapping[str, Any]
    if kind == "model":
        asked = ModelRequest.model_validate(request)
        check(asked, configuration)
        path, chosen = _own_suite(asked, folder), {}
        root = [f"--rootdir={folder}"]
    else:
        told = SuiteRequest.model_validate(request)
        check(told, configuration)
        path, chosen, root = suites(configuration)[told.suite], told.overrides, []
    rows = settings_that_can_be_asked()
    words = [sys.executable, "-m", "pytest", str(path), *root, "-p", "no:cacheprovider", "--color=no"]
    words += [f"{rows[key].flag}={_plain(value)}" for key, value in chosen.items()]
    if configuration.backends and "backends" not in chosen and kind == "suite":
        words.append(f"{rows['backends'].flag}={','.join(configuration.backends)}")
    if configuration.models_file is not None:
        words.append(f"--llm-models-file={configuration.models_file.absolute()}")
    return words


def _own_suite(asked: ModelRequest, folder: Path) -> Path:
    """The suite of one case that a request for a model is; JSON is YAML, too."""
    prompt = asked.config.get("prompt")
    case: Json = {
        "name": asked.task,
        "models": [asked.model_id],
        **({"task": asked.task} if prompt is None else {"prompt": prompt}),
        **{key: value for key, value in asked.config.items() if key != "prompt"},
    }
    path = folder / f"{asked.task}{SUITE_ENDING}"
    path.write_text(json.dumps({"version": 1, "cases": [case]}, indent=1), encoding="utf-8")
    return path
