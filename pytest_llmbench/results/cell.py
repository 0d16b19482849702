"""Which cell of a matrix does a session measure?

Whoever starts the session says so in its environment; the document keeps it, so that the store alone tells
which cells are done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pytest_llmbench.errors import UsageError
from pytest_llmbench.results.records import CellRecord, Header, Market, Session

CELL_VARIABLE = "LLMBENCH_CELL"
"""The environment variable with the cell, as JSON."""
_BEGINNING = 2**16
"""Bytes of a document that have its session."""
_SESSION = re.compile(r'"session":\s*')


def told_cell(environ: Mapping[str, str]) -> CellRecord | None:
    """The cell that the environment says; None where it says none.

    :raises UsageError: if it is not one.
    """
    told = environ.get(CELL_VARIABLE)
    if not told:
        return None
    try:
        return CellRecord.model_validate_json(told)
    except ValidationError:
        msg = f"{CELL_VARIABLE} does not hold a cell of a matrix; it is set by llmbench matrix alone"
        raise UsageError(msg) from None


def hardware_of(document: Header) -> tuple[str | None, int | None]:
    """What a document was measured with, and how many of it; None where that is not one product.

    It is the label that a matrix has for it, else the product of the GPUs or the processor.
    """
    cell, machine = document.session.cell, document.machine
    if cell is not None:
        return cell.hardware, cell.count
    if machine is None:
        return None, None
    if machine.gpus:
        names = {str(gpu.get("name")) for gpu in machine.gpus}
        return (names.pop(), len(machine.gpus)) if len(names) == 1 else (None, None)
    model = machine.cpu.get("model")
    return (None, None) if model is None else (str(model), 1)


def hardware_label(name: str, count: int | None) -> str:
    """``L4``, ``H100x8``."""
    return f"{name}x{count}" if count is not None and count > 1 else name


@dataclass(frozen=True, slots=True)
class Hardware:
    """Devices of one kind, as a matrix names them."""

    name: str
    """The label: ``L4``, ``A100-80GB``, ``cpu``."""
    count: int = 1
    market: Market | None = None

    @property
    def label(self) -> str:
        """``L4``, ``H100x8``, ``L4-spot``."""
        return hardware_label(self.name, self.count) + ("-spot" if self.market == "spot" else "")

    @property
    def exact(self) -> str:
        """``L4x1``: where ``L4`` would be any number of them."""
        return f"{self.name}x{self.count}"


def session_of(path: Path) -> Session | None:
    """What a document says of its session, from its beginning alone; None if that cannot be read.

    It takes a hundredth of what reading a header takes: a matrix has thousands of documents.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_BEGINNING).decode(errors="replace")
        if (place := _SESSION.search(head)) is None:
            return None
        found, _ = json.JSONDecoder().raw_decode(head, place.end())
        return Session.model_validate(found)
    except (OSError, ValueError, RecursionError):
        return None
