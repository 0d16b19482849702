"""How far is a matrix, what failed, and what did its cells measure?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from pytest_llmbench.errors import LLMBenchError, UsageError, one_line
from pytest_llmbench.matrix.state import CellProgress
from pytest_llmbench.metrics import units
from pytest_llmbench.service.matrices import cells_after
from pytest_llmbench.service.pages.asked import Answer, Asked, NotThereError, page
from pytest_llmbench.service.pages.cells_map import cells_map
from pytest_llmbench.service.pages.jobs import MEASURING, Pages
from pytest_llmbench.service.pages.look import address

if TYPE_CHECKING:
    from pytest_llmbench.matrix.state import CellState, State

MOST = 50
"""Matrices, or cells, of one page."""
MOST_FAILED = 8
"""Failed cells whose last words are shown at once; the table has all."""
STATES = get_args(CellProgress)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixView:
    """A matrix, as a page shows it."""

    name: str
    word: str
    """``running``, ``done``, ``failed`` where that is all that is left, or ``stopped``."""
    driven: bool
    total: int
    counts: tuple[tuple[str, int], ...]
    """Cells by state; states without one are left out."""
    share: int
    """Per cent that are done or failed."""
    said: str
    left: str
    """How long the rest takes; what is not known, or nothing."""
    failed_by: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A cell, as the table shows it."""

    label: str
    where: str | None
    state: str
    attempts: int
    seconds: str
    reason: str


def show(asked: Asked) -> Answer:
    """All matrices of the store, those in which something happened last first."""
    names = asked.service.matrices.newest(MOST + 1)
    found, problems = [], []
    for name in names[:MOST]:
        try:
            found.append(view(asked.service.matrices.state(name)))
        except LLMBenchError as error:
            problems.append(str(error))
    return page(asked, "matrices.html", matrices=found, problems=problems, more=len(names) > MOST)


def one(asked: Asked) -> Answer:
    """One matrix: how far it is, what failed, a map over two axes, and its cells."""
    state = _state(asked)
    made = view(state)
    mapped = cells_map(asked, state)
    chosen, problem = asked.one("state"), None
    states = [chosen] if chosen in STATES else []
    try:
        cells, following = cells_after(state, MOST, states, asked.one("after") or None)
    except UsageError as error:
        cells, following, problem = [], None, str(error)
    failed, more = cells_after(state, MOST_FAILED, ["failed"])
    here = f"/ui/matrix/{state.name}"
    return page(
        asked,
        "matrix.html",
        status=200 if (mapped.problem or problem) is None else 422,
        matrix=made,
        poll=_pause(state),
        mapped=mapped,
        charts=[] if mapped.chart is None else [mapped.chart],
        failed=[(cell.label, cell.end, cell.reason or "it said nothing") for cell in failed],
        more_failed=more is not None,
        cells=[_row(cell) for cell in cells],
        states=[(name, f"{name} ({state.counts.get(name, 0)})") for name in STATES],
        state_chosen=chosen,
        kept=[(key, value) for key, value in asked.query if key not in ("state", "after")],
        mapped_kept=[(key, value) for key, value in asked.query if key == "state"],
        page=Pages(
            address(here, asked.query, after=None) + "#cells" if asked.one("after") else None,
            address(here, asked.query, after=following) + "#cells" if following else None,
        ),
        problem=problem,
    )


def live(asked: Asked) -> Answer:
    """What changes of a matrix while it is driven."""
    state = _state(asked)
    return page(asked, "matrix_live.html", matrix=view(state), poll=_pause(state))


def _state(asked: Asked) -> State:
    name = asked.path["matrix"]
    if name not in asked.service.matrices.names():
        msg = f"There is no matrix {one_line(name, 60)!r}. The list of matrices has those that there are."
        raise NotThereError(msg)
    return asked.service.matrices.state(name)


def _pause(state: State) -> int | None:
    """After how many seconds a page asks again; None where nothing will change."""
    return MEASURING if state.driven else None


def view(state: State) -> MatrixView:
    """*state* for a page."""
    total = len(state.cells)
    done, failed = state.counts.get("done", 0), state.counts.get("failed", 0)
    over = done + failed
    ended = "done" if done == total else "failed" if over == total else "stopped"
    eta = units.UNKNOWN if state.eta is None else units.span(state.eta)
    return MatrixView(
        name=state.name,
        word="running" if state.driven else ended,
        driven=state.driven,
        total=total,
        counts=tuple((name, number) for name in STATES if (number := state.counts.get(name, 0))),
        share=100 * over // total if total else 0,
        said="; ".join(_said(state)),
        left=eta if over < total else "",
        failed_by=tuple(sorted(state.failed_by.items())),
    )


def _said(state: State) -> list[str]:
    done, total = state.counts.get("done", 0), len(state.cells)
    said = [f"{done} of {units.count(total, 'cell')} done"]
    rest = total - done - state.counts.get("failed", 0)
    if rest and not state.driven:
        said.append("no process drives it now: run 'llmbench matrix run' with its file again to go on")
    elif rest and state.eta is not None:
        said.append(f"the rest takes about {units.span(state.eta)}")
    elif rest:
        said.append("how long the rest takes is not known yet")
    if state.seconds:
        said.append(f"measured for {units.span(state.seconds)} so far")
    if state.cost is not None:
        said.append(f"for {state.cost:.2f} US dollars")
    return said


def _row(cell: CellState) -> Row:
    return Row(
        label=cell.label,
        where=f"/ui/sessions/{cell.sessions[-1]}" if cell.sessions else None,
        state=cell.state,
        attempts=cell.attempts,
        seconds=units.span(cell.seconds) if cell.seconds else units.UNKNOWN,
        reason="" if cell.state == "done" else cell.reason or "",
    )
