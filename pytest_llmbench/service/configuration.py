"""What can be set of the service, and where: a variable of the environment, or a line of ``.env``.

A field is a row: its variables, its default and what it says stand there once, and ``.env.example`` and the
documentation are made from them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pytest_llmbench.errors import UsageError, needs_extra
from pytest_llmbench.models.cache import ENVIRONMENT as CACHE_VARIABLE
from pytest_llmbench.results import DEFAULT_STORE
from pytest_llmbench.results.index.connection import VARIABLES as DATABASE_VARIABLES
from pytest_llmbench.secrets import learn, learn_url

FILE = ".env"
_LARGEST = 2**16
"""Bytes of a ``.env`` or of a file with a token."""
_DEVICE = re.compile(r"cpu|gpu\d{1,2}")

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


def _listed(value: object) -> object:
    return (
        tuple(re.split(r"[\s,]+", value.strip())) if isinstance(value, str) and value.strip() else value or ()
    )


def _folders(value: object) -> object:
    return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Folders = Annotated[tuple[Path, ...], BeforeValidator(_folders)]


def _row(default: Any, *variables: str, says: str, secret: bool = False, example: str = "") -> Any:
    """A field that one of *variables* sets, the first one that is there."""
    return Field(
        default=default,
        description=says,
        json_schema_extra={"variables": list(variables), "secret": secret, "example": example},
    )


class Configuration(BaseModel):
    """What is set of the service. Use :func:`read_configuration`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Path = _row(
        Path(DEFAULT_STORE),
        "LLMBENCH_STORE",
        says="the folder of the results, and of the index if it is SQLite",
    )
    model_cache: Path | None = _row(
        None,
        "MODEL_CACHE_DIR",
        CACHE_VARIABLE,
        says="the folder of built models; the user's cache by default",
    )
    database: str | None = _row(
        None,
        *DATABASE_VARIABLES,
        says="the database of the index and the jobs; by default SQLite in the store",
        secret=True,
        example="postgresql://USER:PASSWORD@HOST/NAME",
    )
    log_level: LogLevel = _row("INFO", "LOG_LEVEL", says="DEBUG, INFO, WARNING or ERROR")
    host: str = _row("127.0.0.1", "LLMBENCH_HOST", says="the address to serve on; any but this needs a token")
    port: int = _row(8000, "LLMBENCH_PORT", says="the port to serve on; 0 takes a free one")
    hosts: Names = _row(
        (),
        "LLMBENCH_HOSTS",
        says="further names under which the service is asked",
        example="bench.example.org",
    )
    token: str | None = _row(
        None,
        "LLMBENCH_TOKEN",
        says="what whoever asks has to have; at least 16 characters",
        secret=True,
        example="a-long-random-text",
    )
    token_file: Path | None = _row(None, "LLMBENCH_TOKEN_FILE", says="a file that has the token instead")
    suites: Folders = _row(
        (Path("benchmarks"),),
        "LLMBENCH_SUITES",
        says=f"folders of the suites that may be run, with {os.pathsep!r} between",
    )
    models: Names = _row(
        (),
        "LLMBENCH_MODELS",
        says="the models that may be measured; by default the synthetic ones and those of the models' file",
    )
    models_file: Path | None = _row(
        None, "LLMBENCH_MODELS_FILE", says="a file of models with names of their own"
    )
    hardware_file: Path | None = _row(
        None,
        "LLMBENCH_HARDWARE_FILE",
        says="a file of devices and prices in place of those that come with the package",
    )
    backends: Names = _row(
        (), "LLMBENCH_BACKENDS", says="the engines that may be used; by default all that are installed"
    )
    devices: Names = _row(
        ("cpu",),
        "LLMBENCH_DEVICES",
        says="what is measured on, each one job at a time",
        example="cpu gpu0 gpu1",
    )
    attempts: int = _row(3, "LLMBENCH_ATTEMPTS", says="how often a job is taken up whose worker died")
    queue: int = _row(1000, "LLMBENCH_QUEUE", says="how many jobs may wait")

    def model_post_init(self, context: Any, /) -> None:
        """Refuse what no type says.

        :raises ValueError: with what is wrong.
        """
        for name, value, least, most in (
            ("port", self.port, 0, 65535),
            ("attempts", self.attempts, 1, 100),
            ("queue", self.queue, 1, 100_000),
        ):
            if not least <= value <= most:
                msg = f"{_variable(name)} is {value}; it can be {least} to {most}"
                raise UsageError(msg)
        if self.token is not None and len(self.token) < 16:
            msg = "the token has less than 16 characters; take a long random text"
            raise UsageError(msg)
        wrong = [name for name in self.devices if not _DEVICE.fullmatch(name)]
        if wrong or not self.devices or len(set(self.devices)) < len(self.devices):
            msg = f"LLMBENCH_DEVICES is {' '.join(self.devices)!r}; write cpu, or gpu0, gpu1, ..., each once"
            raise UsageError(msg)


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one field."""

    name: str
    variables: tuple[str, ...]
    """The first one is its name for people."""
    default: object
    says: str
    secret: bool
    example: str


def rows() -> Iterator[Row]:
    """The fields in their order."""
    for name, field in Configuration.model_fields.items():
        more = field.json_schema_extra
        assert isinstance(more, dict)
        yield Row(
            name,
            tuple(map(str, more["variables"])),  # type: ignore[arg-type]
            field.default,
            field.description or "",
            bool(more["secret"]),
            str(more["example"]),
        )


def _variable(name: str) -> str:
    return next(row.variables[0] for row in rows() if row.name == name)


def read_configuration(
    environment: Mapping[str, str], folder: Path | None = None, **given: object
) -> Configuration:
    """The configuration that *given* (of the command line), *environment* and ``.env`` in *folder* say.

    An empty variable counts as one that is not set. Secrets are learned, so that nothing shows them.

    :raises UsageError: for a value that cannot be, with its variable.
    """
    written = _read_file(folder / FILE) if folder is not None else {}
    written.update((name, value) for name, value in environment.items() if value)
    found: dict[str, object] = {}
    for row in rows():
        said = given.get(row.name)
        values = (written.get(variable) for variable in row.variables)
        value = said if said is not None else next((one for one in values if one), None)
        if value is not None:
            found[row.name] = value
            if row.secret:
                learn_url(str(value)) if "://" in str(value) else learn(str(value))
    if "token" not in found and (place := found.get("token_file")):
        found["token"] = _read_token(Path(str(place)))
    try:
        return Configuration.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        msg = f"{_variable(str(first['loc'][0]))} is not valid: {first['msg']}"
        raise UsageError(msg) from None


def _read_file(path: Path) -> dict[str, str]:
    try:
        from dotenv import dotenv_values
    except ImportError:
        raise needs_extra("the service's settings", "python-dotenv", "service") from None
    from io import StringIO

    text = _text(path) if path.is_file() else ""
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None}


def _read_token(path: Path) -> str:
    token = _text(path).strip()
    learn(token)
    return token


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            msg = f"{path} has over {_LARGEST} bytes; it is not what it should be"
            raise UsageError(msg)
        return text.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        msg = f"{path} cannot be read: {why}"
        raise UsageError(msg) from None


def example() -> str:
    """``.env.example``: each variable with what it says; a line without ``#`` is to be set."""
    lines = [
        "# Copy this to .env, and take away the # before what you set. Variables of the environment win."
    ]
    for row in rows():
        default = row.default
        if isinstance(default, tuple):
            default = " ".join(map(str, default))
        shown = row.example or ("" if default is None else default)
        lines += ["", f"# {row.says[0].upper()}{row.says[1:]}.", f"#{row.variables[0]}={shown}"]
    return "\n".join(lines) + "\n"
