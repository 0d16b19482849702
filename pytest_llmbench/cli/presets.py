"""Which presets are there, and what do they say: ``llmbench presets``?"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.options import say
from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.case import SETTINGS

if TYPE_CHECKING:
    from pytest_llmbench.settings.presets import Preset, Presets


def list_presets(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show what this one says, as YAML for a suite.")
    ] = None,
    ini: Annotated[
        Path | None,
        typer.Option(
            "--ini",
            metavar="FILE",
            help="The ini file with presets of your own; by default the one that pytest finds from here.",
        ),
    ] = None,
) -> None:
    """List the presets: those that come with the package, and those of the ini file."""
    presets = presets_of(ini)
    if name is not None:
        typer.echo(_shown(presets.find(name)), nl=False)
        return
    found = presets.all()
    width = max(map(len, found))
    for preset in found.values():
        told = preset.description or ", ".join(preset.written)
        say(f"{preset.name.ljust(width)}  {told}" + (f" ({preset.origin})" if "ini" in preset.origin else ""))


def presets_of(ini: Path | None) -> Presets:
    """The presets that come with the package, and those of an ini file.

    :param ini: the file; None for the one that pytest finds from here.
    :raises UsageError: if the file cannot be read, or a preset of it is not valid.
    """
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.cli.ini import ini_file, ini_option
    from pytest_llmbench.settings.presets import ini_presets

    file = ini_file(ini)
    lines = ini_option(file, "llm_presets")
    return ini_presets(lines, Registry(), folder=None if file is None else file.parent)


def _shown(preset: Preset) -> str:
    """A preset whole, as YAML that a suite takes."""
    import yaml

    from pytest_llmbench.errors import shown
    from pytest_llmbench.secrets import mask_setting
    from pytest_llmbench.settings.presets import DESCRIPTION

    content = {DESCRIPTION: preset.description} if preset.description else {}
    written = {
        # Options of backends are lines of their own, each with a name that may be a secret's.
        key: [mask_setting(key, one) for one in said] if isinstance(said, list) else mask_setting(key, typed)
        for key, said in preset.written.items()
        for typed in [_typed(key, said)]
    }
    text = yaml.safe_dump(
        {preset.name: {**content, **written}},
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=1000,
    )
    return f"# {shown(preset.origin)}\n{shown(text)}"


def _typed(key: str, said: object) -> object:
    """What an ini file says as a text, as the number that is meant."""
    row = SETTINGS[key]
    for number in (int, float):
        with contextlib.suppress(ValueError, UsageError):
            if isinstance(said, str) and row.read(number(said), key) == row.read(said, key):
                return number(said)
    return said
