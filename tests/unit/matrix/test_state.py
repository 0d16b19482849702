"""What is done, running, failed and left?"""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from pytest_llmbench.catalog.hardware import Device, Devices, Price
from pytest_llmbench.errors import UsageError
from pytest_llmbench.matrix.cells import key_of
from pytest_llmbench.matrix.collect import older
from pytest_llmbench.matrix.executor import End, Outcome, Task
from pytest_llmbench.matrix.journal import MatrixJournal
from pytest_llmbench.matrix.lock import driving
from pytest_llmbench.matrix.state import State, read_state, stamp_of, unended
from pytest_llmbench.matrix.summary import matrices, matrix_folder, write_plan
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.results.document import write_document
from pytest_llmbench.results.store import Store
from tests.unit.matrix.plans import a_cell, a_document, a_node, a_plan, stored

ONE, TWO, THREE = a_cell("one"), a_cell("two"), a_cell("three")
SESSIONS = [f"20260102T030405Z-0000000{n}" for n in range(10)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a plan of three cells."""
    found = Store(tmp_path / "store")
    write_plan(found, a_plan(ONE, TWO, THREE))
    return found


@pytest.fixture
def journal(store: Store) -> MatrixJournal:
    """The matrix's journal."""
    return MatrixJournal(matrix_folder(store, "m"))


def states(state: State) -> list[str]:
    """How far each cell is."""
    return [cell.state for cell in state.cells]


def note(journal: MatrixJournal, cell: object, session: str, end: End | None, **more: object) -> None:
    """Note an attempt, and how it ended."""
    task = Task(cell, "m", session)  # type: ignore[arg-type]
    failed = bool(more.pop("failed", False))
    journal.start(task)
    if end is not None:
        journal.end(Outcome(task, end, **more), failed=failed)  # type: ignore[arg-type]


def test_what_has_a_document_is_done_whatever_the_journal_says(store: Store) -> None:
    session = stored(store, TWO)
    state = read_state(store, "m")
    assert states(state) == ["left", "done", "left"]
    assert state.cells[1].sessions == (session,)
    assert state.counts == {"done": 1, "running": 0, "failed": 0, "left": 2}


def test_the_clock_of_a_node_decides_nothing(store: Store) -> None:
    for cell, started in ((ONE, "2099-01-01T00:00:00Z"), (TWO, "1970-01-01T00:00:00Z")):
        document = a_document(cell)
        document.session.started = document.session.ended = started
        store.write(document)
    state = read_state(store, "m")
    assert states(state) == ["done", "done", "left"]
    # An attempt is as old as its id says, which the driver gave it.
    assert not any(older(cell, 86_400.0) for cell in state.cells)


def test_a_document_that_measured_nothing_is_not_a_result(store: Store) -> None:
    stored(store, ONE, measured=False)
    interrupted = a_document(TWO)
    interrupted.session.state = "interrupted"
    store.write(interrupted)
    (store.results / f"{SESSIONS[0]}.json").write_text('{"session":')
    assert states(read_state(store, "m")) == ["left", "left", "left"]


def test_a_document_that_was_removed_is_to_be_measured_again(store: Store, journal: MatrixJournal) -> None:
    note(journal, ONE, SESSIONS[0], "measured", key="k")
    assert states(read_state(store, "m"))[0] == "left"
    stored(store, ONE, session=SESSIONS[0])
    assert states(read_state(store, "m"))[0] == "done"


def test_a_second_result_stands_beside_the_first(store: Store) -> None:
    sessions = [stored(store, ONE, session=session) for session in SESSIONS[:2]]
    assert read_state(store, "m").cells[0].sessions == tuple(sessions)


def test_a_result_of_another_version_than_the_nodes_have_is_not_done(store: Store) -> None:
    then, now = a_node(driver="1"), a_node(driver="2")
    stored(store, ONE, key_of(ONE.id, then.digest))
    assert states(read_state(store, "m", [then])) == ["done", "left", "left"]
    assert states(read_state(store, "m", [now])) == ["left", "left", "left"]
    # Of hardware that is not there, any result is one.
    assert states(read_state(store, "m", [a_node(hardware={"L4": 1}, driver="2")]))[0] == "done"
    assert states(read_state(store, "m"))[0] == "done"


def test_an_attempt_runs_while_its_driver_lives(store: Store, journal: MatrixJournal) -> None:
    note(journal, ONE, SESSIONS[0], None)
    with driving(matrix_folder(store, "m")):
        state = read_state(store, "m")
        assert (states(state)[0], state.driven) == ("running", True)
    cell = read_state(store, "m").cells[0]
    assert (cell.state, cell.end, cell.ends) == ("left", "lost", {"lost": 1})


def test_what_a_driver_left_is_lost_when_the_next_one_begins(store: Store, journal: MatrixJournal) -> None:
    note(journal, ONE, SESSIONS[0], None)
    journal.run("host", "digest")
    note(journal, TWO, SESSIONS[1], None)
    with driving(matrix_folder(store, "m")):
        assert states(read_state(store, "m")) == ["left", "running", "left"]


def test_what_is_given_up_is_failed_by_its_kind(store: Store, journal: MatrixJournal) -> None:
    note(journal, ONE, SESSIONS[0], "engine", reason="it crashed", seconds=2)
    note(journal, ONE, SESSIONS[1], "engine", reason="again", failed=True, seconds=3)
    note(journal, TWO, SESSIONS[2], "usage", reason="x is not installed", failed=True)
    note(journal, THREE, SESSIONS[3], "transient", reason="the disk is full")
    state = read_state(store, "m")
    assert states(state) == ["failed", "failed", "left"]
    assert state.failed_by == {"engine": 1, "usage": 1}
    one = state.cells[0]
    assert (one.attempts, one.ends, one.reason, one.seconds) == (2, {"engine": 2}, "again", 5)


def test_what_is_to_be_done_again_is_left_and_its_document_stays(
    store: Store, journal: MatrixJournal
) -> None:
    note(journal, ONE, SESSIONS[0], "engine", failed=True)
    session = stored(store, TWO)
    journal.again(ONE.id)
    journal.again(TWO.id, [session])
    assert states(read_state(store, "m")) == ["left", "left", "left"]
    assert store.document_path(session).is_file()
    note(journal, TWO, SESSIONS[1], "measured")
    stored(store, TWO, session=SESSIONS[1])
    assert read_state(store, "m").cells[1].sessions == (SESSIONS[1],)


def test_a_line_that_was_cut_off_is_passed_over_and_spoils_no_other(
    store: Store, journal: MatrixJournal
) -> None:
    note(journal, ONE, SESSIONS[0], "engine", failed=True)
    with journal.path.open("ab") as file:
        file.write(b'{"event":"start","cell":')
    again = MatrixJournal(matrix_folder(store, "m"))
    note(again, TWO, SESSIONS[1], "engine", failed=True)
    assert states(read_state(store, "m")) == ["failed", "failed", "left"]


def test_how_long_it_will_take_is_told_by_what_was_measured(store: Store, journal: MatrixJournal) -> None:
    assert read_state(store, "m").eta is None
    note(journal, ONE, SESSIONS[0], "measured", seconds=10)
    stored(store, ONE, session=SESSIONS[0])
    assert read_state(store, "m").eta == 20
    stored(store, TWO)
    stored(store, THREE)
    assert read_state(store, "m").eta == 0


def test_what_was_spent_costs_what_an_hour_of_the_hardware_does(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    cells = [a_cell("one", Hardware("L4", 2)), a_cell("two", Hardware("of-nobody"))]
    price = Price(
        provider="p", market="on_demand", usd_per_hour=1.5, source="s", date=datetime.date(2026, 1, 2)
    )
    devices = Devices.of({"L4": Device(date=datetime.date(2026, 1, 2), prices=(price,))})
    write_plan(store, a_plan(*cells))
    journal = MatrixJournal(matrix_folder(store, "m"))
    assert read_state(store, "m", devices=devices).cost is None
    note(journal, cells[0], SESSIONS[0], "engine", seconds=1800)
    state = read_state(store, "m", devices=devices)
    assert (state.cost, [cell.cost for cell in state.cells]) == (1.5, [1.5, None])
    note(journal, cells[1], SESSIONS[1], "engine", seconds=1800)
    assert read_state(store, "m", devices=devices).cost is None


def test_a_document_of_another_layout_counts_too(store: Store) -> None:
    document = a_document(ONE, session=SESSIONS[0])
    path = write_document(store.document_path(SESSIONS[0]), document)
    path.write_text(document.model_dump_json(indent=1))
    assert states(read_state(store, "m"))[0] == "done"


def test_a_matrix_that_nobody_ran_is_one_line(store: Store) -> None:
    assert matrices(store) == ["m"]
    with pytest.raises(UsageError, match=r"no matrix 'n' was run into .*: it has m"):
        read_state(store, "n")
    with pytest.raises(UsageError, match="not a valid name"):
        read_state(store, "../m")


def test_each_batch_has_its_own_driver(store: Store) -> None:
    folder = matrix_folder(store, "m")
    note(MatrixJournal(folder, "L4-0"), ONE, SESSIONS[0], None)
    note(MatrixJournal(folder, "L4-1"), TWO, SESSIONS[1], None)
    with driving(folder, "L4-1"):
        state = read_state(store, "m")
        assert (states(state), state.driven) == (["left", "running", "left"], True)
        assert (state.cells[0].end, unended(folder, "L4-0")) == ("lost", {SESSIONS[0]: ONE.id})
    assert states(read_state(store, "m")) == ["left", "left", "left"]


def test_a_clock_that_was_set_back_changes_no_order(
    store: Store, journal: MatrixJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = MatrixJournal(matrix_folder(store, "m"), "cpu-0")
    monkeypatch.setattr("time.time", lambda: 2e9)
    note(journal, ONE, SESSIONS[0], "engine", failed=True)
    monkeypatch.setattr("time.time", lambda: 1e9)
    journal.again(ONE.id)
    monkeypatch.setattr("time.time", lambda: 1.5e9)
    note(other, TWO, SESSIONS[1], "engine", failed=True)
    assert states(read_state(store, "m")) == ["left", "failed", "left"]


def test_a_stamp_is_another_one_when_something_changed(store: Store, journal: MatrixJournal) -> None:
    stamps = [stamp_of(store, "m")]
    assert stamp_of(store, "m") == stamps[0]
    note(journal, ONE, SESSIONS[0], "engine")
    stamps.append(stamp_of(store, "m"))
    stored(store, ONE)
    stamps.append(stamp_of(store, "m"))
    with driving(matrix_folder(store, "m")):
        stamps.append(stamp_of(store, "m"))
    assert len(set(stamps)) == 4
