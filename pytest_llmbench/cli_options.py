"""Which options do several commands of ``llmbench`` share?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

STORE = Path(".llmbench")

StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="LLMBENCH_STORE",
        metavar="FOLDER",
        show_default=True,
        help="The folder that pytest --llm-store named.",
    ),
]
