"""How do the results of a matrix become one document, and which of them are to be measured anew?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from pytest_llmbench.errors import ResultsError, UsageError
from pytest_llmbench.matrix.state import CellState, State
from pytest_llmbench.results.document import CASES, read_document
from pytest_llmbench.results.files import read_bounded
from pytest_llmbench.results.ids import is_session_id
from pytest_llmbench.results.records import CaseRecord, ResultsDocument
from pytest_llmbench.results.store import Store
from pytest_llmbench.results.verdict import Verdict
from pytest_llmbench.times import STAMP_LENGTH, read_stamp

HARDWARE = "hardware"
"""The parameter by which cases of one id are told apart."""
_SPOILED = (f'"verdict":"{Verdict.INVALID}"'.encode(), b'"invalid":"')
"""Of a case that the gate could not judge; of a round, or a load level, whose figures cannot be right."""


def one_document(store: Store, state: State) -> tuple[ResultsDocument, list[str]]:
    """The newest result of each cell in one document, and a line for each that cannot be read.

    A case says its hardware as a parameter, and in its id where there are several kinds.

    :raises UsageError: if nothing is done yet.
    """
    several = len({cell.devices for cell in state.cells}) > 1
    document: ResultsDocument | None = None
    cases: list[CaseRecord] = []
    problems = []
    for cell in state.cells:
        if not cell.sessions:
            continue
        try:
            found = read_document(store.document_path(cell.sessions[-1]))
        except ResultsError as error:
            problems.append(str(error))
            continue
        if document is None or found.session.id > document.session.id:
            document = found
        cases += [_of_cell(case, cell, several) for case in found.cases]
    if document is None:
        msg = f"nothing of matrix {state.name} is done: there is nothing to export"
        raise UsageError(msg)
    session = document.session.model_copy(update={"cell": None})
    return document.model_copy(update={"session": session, "cases": cases}), problems


def _of_cell(case: CaseRecord, cell: CellState, several: bool) -> CaseRecord:
    label = cell.devices.label
    added = {"params": {**case.params, HARDWARE: label}}
    if not several:
        return case.model_copy(update=added)
    return case.model_copy(
        update={**added, "nodeid": f"{case.nodeid} @ {label}", "name": f"{case.name} @ {label}"}
    )


def spoiled(store: Store, cell: CellState) -> list[str]:
    """The sessions whose results of a cell cannot be right, as they say themselves."""
    found = []
    for session in cell.sessions:
        with suppress(ResultsError):
            _, _, cases = read_bounded(store.document_path(session), "the document").partition(CASES)
            if any(sign in cases for sign in _SPOILED):
                found.append(session)
    return found


def older(cell: CellState, seconds: float) -> list[str]:
    """The sessions that measured a cell longer ago."""
    return [session for session, began in _began(cell) if time.time() - began > seconds]


def _began(cell: CellState) -> Iterator[tuple[str, float]]:
    for session in cell.sessions:
        if is_session_id(session):
            yield session, read_stamp(session[:STAMP_LENGTH])
