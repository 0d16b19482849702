"""Is what is left measured, once, and what fails given up or tried again?"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pytest_llmbench.errors import ResultsError, UsageError
from pytest_llmbench.matrix.cells import Plan, key_of
from pytest_llmbench.matrix.executor import End, Executor, Outcome, Task
from pytest_llmbench.matrix.exits import Exit
from pytest_llmbench.matrix.journal import MatrixJournal
from pytest_llmbench.matrix.lock import DrivenError, driving
from pytest_llmbench.matrix.run import REPEATS, Bounds, Run, attempts_folder
from pytest_llmbench.matrix.state import read_state
from pytest_llmbench.matrix.summary import matrix_folder
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.results.store import Store
from tests.fakes.matrix_executor import FakeExecutor
from tests.unit.matrix.plans import a_cell, a_document, a_node, a_plan, lines, stored

CELLS = [a_cell(name) for name in ("one", "two", "three")]
PLAN = a_plan(*CELLS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


class Drive:
    """Runs a plan, and keeps what was said."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.said: list[str] = []

    def __call__(self, executor: Executor, plan: Plan = PLAN, **more: object) -> Exit:
        return Run(self.store, plan, executor, say=self.said.append, **more).go()  # type: ignore[arg-type]

    def counts(self) -> dict[str, int]:
        """How many cells are in which state."""
        return {state: n for state, n in read_state(self.store, "m").counts.items() if n}


@pytest.fixture
def drive(store: Store) -> Drive:
    """Runs a plan into the store."""
    return Drive(store)


def names(executor: FakeExecutor) -> list[str]:
    """Of the cells that were submitted, in order."""
    return [task.cell.name for task in executor.submitted]


def test_every_cell_is_measured_once_in_the_plans_order(store: Store, drive: Drive) -> None:
    executor = FakeExecutor()
    assert drive(executor) is Exit.DONE
    assert names(executor) == ["one", "two", "three"]
    assert len(store.paths()) == 3
    assert drive.counts() == {"done": 3}
    assert executor.closed
    again = FakeExecutor()
    assert drive(again) is Exit.DONE
    assert again.submitted == []


def test_a_start_is_noted_before_the_attempt_is_made(store: Store, drive: Drive) -> None:
    journal = matrix_folder(store, "m") / "journal.jsonl"

    class Looks(FakeExecutor):
        def submit(self, task: Task) -> None:
            noted = lines(journal)[-1]
            assert (noted["event"], noted["session"]) == ("start", task.session_id)
            super().submit(task)

    assert drive(Looks()) is Exit.DONE


def test_only_what_has_no_result_is_measured(store: Store, drive: Drive) -> None:
    node = a_node(driver="1")
    stored(store, CELLS[1], key_of(CELLS[1].id, node.digest))
    executor = FakeExecutor(nodes=[node])
    drive(executor)
    assert names(executor) == ["one", "three"]


def test_another_version_on_the_node_is_another_result_and_the_first_one_stays(
    store: Store, drive: Drive
) -> None:
    drive(FakeExecutor(nodes=[a_node(llamacpp="1")]))
    executor = FakeExecutor(nodes=[a_node(llamacpp="2")])
    assert drive(executor) is Exit.DONE
    assert len(executor.submitted) == 3
    assert len(store.paths()) == 6


def test_a_result_of_an_older_protocol_is_another_cells(store: Store, drive: Drive) -> None:
    older = a_cell("one", protocol="older")
    stored(store, older)
    executor = FakeExecutor()
    drive(executor)
    assert "one" in names(executor)


@pytest.mark.parametrize("end", ["lost", "transient", "engine", "usage"])
def test_what_fails_is_tried_again_as_often_as_its_kind_is_worth(drive: Drive, end: End) -> None:
    def becomes(task: Task) -> End | Outcome:
        return Outcome(task, end, "because") if task.cell.name == "two" else "measured"

    executor = FakeExecutor(becomes)
    assert drive(executor) is Exit.FAILED
    assert names(executor).count("two") == REPEATS[end] + 1
    state = read_state(drive.store, "m")
    assert state.failed_by == {end: 1}
    assert (state.cells[1].state, state.cells[1].reason) == ("failed", "because")
    # And it is not tried by another start.
    again = FakeExecutor(becomes)
    assert drive(again) is Exit.FAILED
    assert again.submitted == []


def test_what_is_tried_again_counts_from_where_the_killed_driver_was(store: Store, drive: Drive) -> None:
    journal = MatrixJournal(matrix_folder(store, "m"))
    task = Task(CELLS[0], "m", "20260102T030405Z-00000000")
    journal.start(task)
    journal.end(Outcome(task, "engine", "it crashed"))
    executor = FakeExecutor(lambda task: "engine" if task.cell.name == "one" else "measured")
    drive(executor)
    assert names(executor).count("one") == 1


def test_a_cell_that_ends_its_driver_each_time_is_given_up(store: Store, drive: Drive) -> None:
    journal = MatrixJournal(matrix_folder(store, "m"))
    for n in range(REPEATS["lost"] + 1):
        journal.run("h", "d")
        journal.start(Task(CELLS[0], "m", f"20260102T030405Z-{n:08}"))
    executor = FakeExecutor()
    assert drive(executor) is Exit.FAILED
    assert names(executor) == ["two", "three"]
    assert read_state(store, "m").failed_by == {"lost": 1}


def test_a_model_that_is_not_there_fails_its_cells_until_it_is(drive: Drive) -> None:
    refused = Plan(**{**{n: getattr(PLAN, n) for n in PLAN.__slots__}, "refused": {CELLS[0].id: "no such"}})
    executor = FakeExecutor()
    assert drive(executor, refused) is Exit.FAILED
    assert names(executor) == ["two", "three"]
    assert read_state(drive.store, "m").cells[0].reason == "no such"
    now_there = FakeExecutor()
    assert drive(now_there) is Exit.DONE
    assert names(now_there) == ["one"]


def test_hardware_that_no_node_has_is_said_before_anything_starts(drive: Drive) -> None:
    plan = a_plan(*CELLS, a_cell("four", Hardware("H100", 8)))
    executor = FakeExecutor(nodes=[a_node(hardware={"cpu": 1, "H100": 4})])
    with pytest.raises(UsageError, match=r"no node has H100x8, for 1 cell; there is H100 \(4\), cpu \(1\)"):
        drive(executor, plan)
    assert executor.submitted == []


def test_the_second_driver_says_who_the_first_one_is(store: Store, drive: Drive) -> None:
    with (
        driving(matrix_folder(store, "m")),
        pytest.raises(DrivenError, match=rf"matrix m is being run already by process {os.getpid()} on "),
    ):
        drive(FakeExecutor())


def test_batches_are_driven_beside_one_another_and_not_beside_the_whole(store: Store, drive: Drive) -> None:
    folder = matrix_folder(store, "m")
    with driving(folder, "L4-0"):
        assert drive(FakeExecutor(), part="L4-1", cells=CELLS[:1]) is Exit.DONE
        with pytest.raises(DrivenError, match="batch L4-0 of matrix m"):
            drive(FakeExecutor(), part="L4-0")
        with pytest.raises(DrivenError, match="matrix m is"):
            drive(FakeExecutor())
    assert drive.counts() == {"done": 1, "left": 2}
    with driving(folder), pytest.raises(DrivenError, match="matrix m is"):
        drive(FakeExecutor(), part="L4-0")


def test_a_signal_stops_and_asks_to_be_started_again(drive: Drive) -> None:
    def becomes(task: Task) -> End:
        os.kill(os.getpid(), signal.SIGTERM)
        return "measured"

    executor = FakeExecutor(becomes)
    assert drive(executor, bounds=Bounds(grace=7)) is Exit.AGAIN
    assert (len(executor.submitted), executor.grace) == (1, 7)
    assert drive.counts() == {"done": 1, "left": 2}
    assert "Run the same command again" in drive.said[-1]
    assert drive(FakeExecutor()) is Exit.DONE


def test_what_a_signal_stops_is_lost_and_not_failed(drive: Drive) -> None:
    class Stops(FakeExecutor):
        def wait(self, seconds: float) -> list[Outcome]:
            os.kill(os.getpid(), signal.SIGTERM)
            return []

    assert drive(Stops(at_once=2)) is Exit.AGAIN
    assert [cell.end for cell in read_state(drive.store, "m").cells] == ["lost", "lost", None]


def test_a_deadline_lets_what_runs_end(drive: Drive) -> None:
    executor = FakeExecutor()
    assert drive(executor, bounds=Bounds(seconds=0)) is Exit.AGAIN
    assert executor.submitted == []
    assert "--deadline" in drive.said[-1]


def test_a_cost_is_kept_over_several_starts(drive: Drive) -> None:
    def becomes(task: Task) -> Outcome:
        return Outcome(task, "measured", seconds=1800)

    bounds = Bounds(max_cost=1.5)
    executor = FakeExecutor(becomes)
    assert drive(executor, bounds=bounds, hourly=lambda kind: 2.0) is Exit.FAILED
    assert len(executor.submitted) == 2
    again = FakeExecutor(becomes)
    assert drive(again, bounds=bounds, hourly=lambda kind: 2.0) is Exit.FAILED
    assert again.submitted == []
    with pytest.raises(UsageError, match="no price of cpu is known"):
        drive(FakeExecutor(), bounds=bounds)


def test_what_is_not_the_cells_fault_does_not_fail_them_all(drive: Drive) -> None:
    cells = [a_cell(f"c{n}") for n in range(20)]
    executor = FakeExecutor(lambda task: Outcome(task, "transient", "GPU 0 is used by process 1"))
    assert drive(executor, a_plan(*cells)) is Exit.AGAIN
    assert len(executor.submitted) == 5
    assert drive.counts() == {"left": 20}


def test_a_store_that_cannot_be_written_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    executor = FakeExecutor()
    with pytest.raises(ResultsError, match="cannot create the folder"):
        Drive(Store(tmp_path / "store"))(executor)
    assert executor.submitted == []


def test_what_was_measured_when_the_disk_was_full_is_kept_elsewhere(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(session: str, data: bytes) -> Path:
        raise ResultsError("the disk is full")

    monkeypatch.setattr(drive.store, "add", full)
    executor = FakeExecutor()
    assert drive(executor) is Exit.AGAIN
    assert len(executor.submitted) == 1
    assert (tmp_path / f"{executor.submitted[0].session_id}.json").is_file()
    assert "move it to" in drive.said[-1]
    assert drive.counts() == {"left": 3}


def test_a_cluster_that_is_gone_stops_the_run(drive: Drive) -> None:
    class Gone(FakeExecutor):
        def wait(self, seconds: float) -> list[Outcome]:
            raise UsageError("the cluster does not answer")

    assert drive(Gone(at_once=2)) is Exit.AGAIN
    assert [cell.ends for cell in read_state(drive.store, "m").cells[:2]] == [{"lost": 1}, {"lost": 1}]


def test_what_an_attempt_had_measured_when_its_driver_was_killed_is_taken(store: Store, drive: Drive) -> None:
    session = "20260102T030405Z-00000000"
    MatrixJournal(matrix_folder(store, "m")).start(Task(CELLS[0], "m", session))
    node = a_node()
    left = Store(attempts_folder(store, "m") / session / "store")
    left.write(a_document(CELLS[0], key_of(CELLS[0].id, node.digest), session=session))
    executor = FakeExecutor(nodes=[node])
    assert drive(executor) is Exit.DONE
    assert names(executor) == ["two", "three"]
    assert not (attempts_folder(store, "m") / session).exists()
    assert len(store.paths()) == 3


def test_last_words_and_documents_that_do_not_count_are_kept_beside(store: Store, drive: Drive) -> None:
    def becomes(task: Task) -> Outcome:
        return Outcome(task, "usage", "n_ctx was to be 8", document=b"{}", log="last words")

    drive(FakeExecutor(becomes), a_plan(CELLS[0]))
    folder = matrix_folder(store, "m")
    assert [path.read_text() for path in (folder / "logs").iterdir()] == ["last words"]
    assert [path.read_bytes() for path in (folder / "refused").iterdir()] == [b"{}"]
    assert store.paths() == []
