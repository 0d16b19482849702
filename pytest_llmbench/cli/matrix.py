"""How are thousands of configurations measured, on many machines: ``llmbench matrix``?"""

from __future__ import annotations

import typer

from pytest_llmbench.cli.matrix_manifests import write_manifests
from pytest_llmbench.cli.matrix_plan import show_plan
from pytest_llmbench.cli.matrix_run import run_matrix
from pytest_llmbench.cli.matrix_status import export_matrix, retry_cells, show_status

matrix_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure a matrix of models, hardware, engines and quantizations, on one machine or on many.",
)


@matrix_app.callback()
def _matrix() -> None:
    pass


matrix_app.command("plan")(show_plan)
matrix_app.command("run")(run_matrix)
matrix_app.command("status")(show_status)
matrix_app.command("retry")(retry_cells)
matrix_app.command("export")(export_matrix)
matrix_app.command("manifests")(write_manifests)
