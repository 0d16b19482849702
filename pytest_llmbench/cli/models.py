"""Which models are there, and how is one built ahead: ``llmbench models``?"""

from __future__ import annotations

from typing import Annotated

import typer

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.forms import FORMS, find_form
from pytest_llmbench.report.terminal import standard_output

models_app = typer.Typer(
    invoke_without_command=True, rich_markup_mode=None, help="List models, or build them ahead."
)


@models_app.callback()
def list_models(context: typer.Context) -> None:
    """List the models that need no download, or build one ahead."""
    if context.invoked_subcommand is not None:
        return
    import textwrap

    from pytest_llmbench.metrics.units import size
    from pytest_llmbench.models.cache import cache_folder
    from pytest_llmbench.models.listing import listed_models

    for entry in listed_models():
        typer.echo(f"{entry.name}, {_parameters(entry.parameters)} parameters")
        for title, built in (("  built:     ", True), ("  not built: ", False)):
            # A form and its size stay on one line.
            forms = [
                f"{form.form} {form.quantization} {size(form.size)}".replace(" ", "\0")
                for form in entry.forms
                if (form.cached is not None) is built
            ]
            text = textwrap.fill(
                ", ".join(forms),
                standard_output().width,
                initial_indent=title,
                subsequent_indent=" " * len(title),
            )
            if forms:
                typer.echo(text.replace("\0", " "))
    typer.echo(f"Built models are in {cache_folder()} (LLMBENCH_CACHE).")


@models_app.command("build")
def build_model(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="tiny, synthetic/NAME, or a hub's ORG/NAME[@REVISION].")
    ],
    quant: Annotated[
        str | None, typer.Option("--quant", metavar="QUANTIZATION", help="Such as q4_k_m; for GGUF only.")
    ] = None,
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
