"""Which models are there, and how is one built ahead: ``llmbench models``?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.options import say
from pytest_llmbench.errors import ModelError, UsageError, few
from pytest_llmbench.models.forms import FORMS, find_form
from pytest_llmbench.models.synthetic.shapes import is_synthetic
from pytest_llmbench.report.terminal import standard_output

if TYPE_CHECKING:
    from pytest_llmbench.models.aliases import Aliases
    from pytest_llmbench.models.fetch import Fetch
    from pytest_llmbench.models.room import Room
    from pytest_llmbench.models.spec import ModelSpec

models_app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="List models and what fits this machine, fetch them, or build them ahead.",
)

ModelsFileOption = Annotated[
    Path | None,
    typer.Option(
        "--models-file",
        metavar="FILE",
        help="YAML file with aliases; by default the one that the ini file names (llm_models_file).",
    ),
]
QuantOption = Annotated[
    str | None, typer.Option("--quant", metavar="QUANTIZATION", help="Such as q4_k_m; for GGUF only.")
]


@models_app.callback()
def list_models(context: typer.Context, models_file: ModelsFileOption = None) -> None:
    """List the models: aliases, those of a hub that are in its cache, and those that need no download."""
    if (command := context.invoked_subcommand) is not None:
        if models_file is not None:
            msg = (
                f"--models-file stands behind a command, in those that take it: llmbench models {command} ..."
            )
            raise UsageError(msg)
        return
    from pytest_llmbench.models.room import this_machine

    room = this_machine()
    _list_aliases(_aliases(models_file), room)
    _list_cached(room)
    _list_synthetic(room)


def _list_aliases(aliases: Aliases | None, room: Room) -> None:
    from pytest_llmbench.metrics.units import size
    from pytest_llmbench.models.room import too_large

    for name in () if aliases is None else aliases.names:
        try:
            spec = aliases.spec(name)  # type: ignore[union-attr]
        except UsageError as error:
            # The others can be used all the same.
            say(f"{name} cannot be used: {error}")
            continue
        memory = None if spec.known is None else spec.known.memory
        fits = "" if memory is None else f", needs {size(memory)} of memory"
        fits += "" if too_large(spec, room) is None else ": too much for this machine"
        repos = [repo for _, repo in spec.known.repos] if spec.known is not None else []
        say(f"{name}, alias of {' and '.join(repos) or spec.name}{fits}")


def _list_cached(room: Room) -> None:
    from pytest_llmbench.metrics.units import size
    from pytest_llmbench.models.hub import cached_models, hub_cache

    found = cached_models()
    for model in found:
        fits = ": too much for this machine" if model.largest > room.largest else ""
        files = few(model.files, 6) or "no weights"
        say(f"{model.name}, in the hub's cache, {size(model.size)}{fits} ({files})")
    if found:
        typer.echo(f"The hub's cache is {hub_cache()} (HF_HOME).")


def _list_synthetic(room: Room) -> None:
    import textwrap

    from pytest_llmbench.metrics.units import size
    from pytest_llmbench.models.cache import cache_folder
    from pytest_llmbench.models.listing import FormEntry, listed_models

    def kind(form: FormEntry) -> str:
        if form.cached is not None:
            return "built"
        return "not built" if form.size <= room.largest else "too large"

    for entry in listed_models():
        typer.echo(f"{entry.name}, {_parameters(entry.parameters)} parameters")
        for title in ("built", "not built", "too large"):
            # A form and its size stay on one line.
            forms = [
                f"{form.form} {form.quantization} {size(form.size)}".replace(" ", "\0")
                for form in entry.forms
                if kind(form) == title
            ]
            start = f"  {title + ':':<10} "
            text = textwrap.fill(
                ", ".join(forms),
                standard_output().width,
                initial_indent=start,
                subsequent_indent=" " * len(start),
            )
            if forms:
                typer.echo(text.replace("\0", " "))
    typer.echo(f"This machine has {room.text} of memory.")
    typer.echo(f"Built models are in {cache_folder()} (LLMBENCH_CACHE).")


@models_app.command("download")
def download_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A hub's ORG/NAME[@REVISION], or an alias.")],
    quant: QuantOption = None,
    form: Annotated[
        str | None,
        typer.Option("--form", metavar="|".join(FORMS), help="By default the one that the repository has."),
    ] = None,
    models_file: ModelsFileOption = None,
) -> None:
    """Fetch a hub's model ahead of the benchmarks; what is here already is not fetched again."""
    from pytest_llmbench.models.resolve import parse_spec

    if form is not None and quant is not None and not find_form(form).quantized:
        msg = f"--quant is for GGUF; with --form {form} the engine quantizes as it loads"
        raise UsageError(msg)
    if form is not None:
        find_form(form)
    spec = parse_spec(name, aliases=_aliases(models_file))
    spec = spec if quant is None else replace(spec, quantization=quant)
    _fetch(_planned(spec, form))


@models_app.command("setup")
def set_up(models_file: ModelsFileOption = None) -> None:
    """Fetch the first model of the aliases whose memory this machine has."""
    from pytest_llmbench.metrics.units import size
    from pytest_llmbench.models.room import this_machine, too_large

    aliases = _aliases(models_file)
    if aliases is None or not aliases.names:
        msg = "there are no aliases to choose from: name a file with --models-file, the best model first"
        raise UsageError(msg)
    room = this_machine()
    for name in aliases.names:
        spec = aliases.spec(name)
        if is_synthetic(spec.name) or spec.is_path:
            say(f"{name} needs no download: it is passed over")
            continue
        if (reason := too_large(spec, room)) is not None:
            say(reason)
            continue
        plan = _planned(spec, None)
        if plan.needed > room.largest:
            say(f"{name} needs {size(plan.needed)} of memory, and this machine has {room.text}")
            continue
        say(f"{name} fits: it needs {size(plan.needed)} of memory, and this machine has {room.text}")
        _fetch(plan)
        return
    msg = f"none of the aliases that are on a hub fits this machine, which has {room.text} of memory"
    raise UsageError(msg)


def _planned(spec: ModelSpec, form: str | None) -> Fetch:
    """What has to be fetched; where there is a choice, for an engine that is installed."""
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.models.fetch import plan_fetch

    registry = Registry()
    there = [row.name for row in FORMS.values() if registry.get(row.backend).availability().available]
    try:
        return plan_fetch(spec, form, prefer=there)
    except ModelError as error:
        raise ModelError(str(error).replace("--llm-quantization NAME", "--quant NAME")) from None


def _fetch(plan: Fetch) -> None:
    from pytest_llmbench.metrics.units import count, size

    meant = plan.spec.of_form(plan.form)
    here = f", {size(plan.here)} of it here already" if plan.here else ""
    say(f"{meant.name}: {count(len(plan.sizes), 'file')}, {size(plan.total)}{here}")
    try:
        resolved = plan.run()
    except ModelError as error:
        msg = f"{error}. What came whole is kept: the same command goes on from there"
        raise ModelError(msg) from None
    say(f"{resolved.path}\n{size(resolved.size)}, {resolved.quantization or 'as it is'}, {resolved.digest}")


def _aliases(models_file: Path | None) -> Aliases | None:
    """The aliases of a file that is named, or else of the ini file's; None without one."""
    from pytest_llmbench.cli.ini import ini_file, ini_option
    from pytest_llmbench.models.aliases import read_aliases
    from pytest_llmbench.models.paths import from_folder

    if models_file is not None:
        return read_aliases(models_file)
    file = ini_file()
    said = ini_option(file, "llm_models_file")
    return read_aliases(from_folder(said[0], file.parent)) if file is not None and said else None


@models_app.command("build")
def build_model(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="tiny, synthetic/NAME, or a hub's ORG/NAME[@REVISION].")
    ],
    quant: QuantOption = None,
    form: Annotated[
        str,
        typer.Option(
            "--form",
            metavar="|".join(FORMS),
            help=f"{', '.join(f'{form.name} for {form.backend}' for form in FORMS.values())}.",
        ),
    ] = "gguf",
) -> None:
    """Build or fetch a model ahead of the benchmarks."""
    from pytest_llmbench.metrics.units import size
    from pytest_llmbench.models.listing import build

    if quant is not None and not find_form(form).quantized:
        msg = f"--quant is for GGUF; with --form {form} the engine quantizes as it loads"
        raise UsageError(msg)
    resolved = build(name, quant, form)
    typer.echo(
        f"{resolved.path}\n{size(resolved.size)}, {resolved.quantization or 'as it is'}, {resolved.digest}"
    )


def _parameters(count: int) -> str:
    from pytest_llmbench.metrics.units import number

    return f"{number(count / 1e9)}B" if count >= 1e9 else f"{number(count / 1e6)}M"
