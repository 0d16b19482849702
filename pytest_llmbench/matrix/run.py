"""How is what is left of a matrix measured, until it is done or something stops it?

The driver: it holds the matrix's lock, hands what is left to an executor in the plan's order, notes each
start before and each end after, and puts documents into the store. It keeps nothing that the store does not
have: it may be killed at any moment, and begins anew where the store is.
"""

from __future__ import annotations

import platform
import shutil
import signal
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_llmbench.errors import LLMBenchError, ResultsError, UsageError
from pytest_llmbench.matrix.cells import Cell, Plan
from pytest_llmbench.matrix.choice import check_hardware, kinds_of
from pytest_llmbench.matrix.devices import clear
from pytest_llmbench.matrix.endings import ending
from pytest_llmbench.matrix.executor import End, Executor, Outcome, Task
from pytest_llmbench.matrix.exits import Exit
from pytest_llmbench.matrix.journal import MatrixJournal
from pytest_llmbench.matrix.lock import driving
from pytest_llmbench.matrix.prices import Hourly
from pytest_llmbench.matrix.state import State, state_of, unended
from pytest_llmbench.matrix.summary import CellSummary, KeptPlan, matrix_folder, write_plan
from pytest_llmbench.metrics.units import count
from pytest_llmbench.results.cell import Hardware, session_of
from pytest_llmbench.results.files import atomic_write
from pytest_llmbench.results.ids import new_session_id
from pytest_llmbench.results.store import Store

REPEATS: Mapping[End, int] = {"lost": 20, "transient": 2, "engine": 1, "usage": 0, "measured": 0}
"""How often a cell is measured again after an attempt that ended so, before it is given up."""
_WAIT = 0.5
"""Seconds that are waited for the next end, and until a signal is followed at most."""
_IN_A_ROW = 5
"""Attempts that ended as transient, with nothing measured between: it is not the cells' fault."""
_WITHOUT_NODES = 600.0
"""Seconds that it waits for hardware which was there when it began."""
_ATTEMPTS, _LOGS, _REFUSED = "attempts", "logs", "refused"
"""Folders of the matrix: of attempts on this machine; of last words; of documents that do not count."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a run stops by itself."""

    max_cost: float | None = None
    """US dollars that all attempts of the matrix may take together, of earlier runs too."""
    seconds: float | None = None
    """After which no further cell is started."""
    grace: float = 100.0
    """Seconds that what runs has after SIGTERM: pods of Kubernetes have 120."""


def attempts_folder(store: Store, name: str) -> Path:
    """Where attempts on this machine have their folders."""
    return matrix_folder(store, name) / _ATTEMPTS


class Run:
    """One run; :meth:`go` is all of it."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        executor: Executor,
        *,
        cells: Sequence[Cell] | None = None,
        part: str | None = None,
        bounds: Bounds | None = None,
        hourly: Hourly = lambda hardware: None,
        timeout: float | None = None,
        options: Sequence[str] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        """:param cells: of the plan, which are asked for; by default all.
        :param part: the batch, as its files are called.
        :param timeout: seconds of an attempt.
        :param options: more words for pytest.
        :param say: shows a line.
        """
        self._store = store
        self._plan = plan
        self._executor = executor
        self._cells = list(plan.cells if cells is None else cells)
        self._part = part
        self._bounds = bounds or Bounds()
        self._hourly = hourly
        self._timeout = timeout
        self._options = tuple(options)
        self._say = say
        self._folder = matrix_folder(store, plan.name)
        self._left: dict[Hardware, deque[Cell]] = {}
        self._running: dict[str, Task] = {}
        """By session."""
        self._ends: dict[str, Counter[End]] = defaultdict(Counter)
        """By cell."""
        self._attempts: Counter[str] = Counter()
        self._done = self._failed = 0
        self._cost = 0.0
        self._row = 0
        self._signals = 0
        self._why_stopped: str | None = None

    def go(self) -> Exit:
        """Measure what is left.

        :raises UsageError: before anything is started, for hardware that no node has, or a price that is not
            known.
        :raises DrivenError: if another process drives the matrix.
        :raises ResultsError: before anything is started, if the store cannot be written.
        """
        nodes = self._executor.nodes()
        check_hardware(self._cells, nodes)
        self._check_cost()
        self._store.create()
        with driving(self._folder, self._part):
            write_plan(self._store, self._plan)
            self._journal = MatrixJournal(self._folder, self._part)
            try:
                self._salvage()
                self._journal.run(platform.node(), self._plan.digest)
                self._begin(self._state())
                with self._stopped_by_signals():
                    self._measure()
            finally:
                self._executor.close()
                self._journal.close()
        return self._exit()

    def stop(self, *_: object) -> None:
        """Start nothing more, and have what runs end with what it has; at once, when asked again."""
        self._signals += 1

    # --- Before -------------------------------------------------------------------------------------

    def _check_cost(self) -> None:
        if self._bounds.max_cost is None:
            return
        for kind in kinds_of(self._cells):
            if self._hourly(kind) is None:
                msg = f"--max-cost cannot be kept: no price of {kind.label} is known"
                raise UsageError(msg)

    def _salvage(self) -> None:
        """Take what an attempt had measured when its driver was killed before it could."""
        folder = attempts_folder(self._store, self._plan.name)
        cells = {cell.id: cell for cell in self._cells}
        for session, cell_id in unended(self._folder, self._part).items():
            # The kernel ends them with their driver, which takes its moment.
            clear(session, 1.0)
            document = Store(folder / session / "store").document_path(session)
            cell = cells.get(cell_id)
            if cell is not None and document.is_file():
                found = ending(0, document, "", quantization=cell.quantization)
                told = session_of(document)
                if found.end == "measured" and told is not None and told.cell is not None:
                    task = Task(cell, self._plan.name, session)
                    self._take(
                        Outcome(task, "measured", found.reason, key=told.cell.key, document=found.document)
                    )
            shutil.rmtree(folder / session, ignore_errors=True)

    def _state(self) -> State:
        summaries = [CellSummary.of(cell) for cell in self._cells]
        plan = KeptPlan(self._plan.name, self._plan.digest, summaries)
        return state_of(self._store, plan, self._executor.nodes())

    def _begin(self, state: State) -> None:
        """Find out what is left."""
        self._done = self._failed = 0
        for cell, known in zip(self._cells, state.cells, strict=True):
            self._cost += known.seconds / 3600 * (self._hourly(cell.hardware) or 0.0)
            self._ends[cell.id].update(known.ends)
            self._attempts[cell.id] = known.attempts
            if known.state == "done":
                self._done += 1
            elif (why := self._plan.refused.get(cell.id)) is not None:
                if known.state != "failed":
                    self._give_up(cell, "usage", why)
                self._failed += 1
            elif known.state == "failed" and known.attempts:
                self._failed += 1
            elif known.ends.get("lost", 0) > REPEATS["lost"]:
                # It has ended what drove it, each time.
                self._give_up(cell, "lost", known.reason or "it was lost too often")
                self._failed += 1
            else:
                self._left.setdefault(cell.hardware, deque()).append(cell)
        self._say(
            f"Matrix {self._plan.name}: {count(len(self._cells), 'cell')}, {self._done} done, "
            f"{self._failed} failed, {sum(map(len, self._left.values()))} left"
        )

    def _give_up(self, cell: Cell, end: End, why: str) -> None:
        """Note that a cell fails without being tried."""
        task = Task(cell, self._plan.name, new_session_id(time.time()))
        self._journal.end(Outcome(task, end, why), failed=True)
        self._say(f"failed, {end}: {cell.label}: {why}")

    # --- Meanwhile ----------------------------------------------------------------------------------

    def _measure(self) -> None:
        begun = idle = time.monotonic()
        while self._running or (any(self._left.values()) and self._why_stopped is None):
            if self._signals:
                self._end_all()
                return
            if self._why_stopped is None:
                self._why_stopped = self._enough(time.monotonic() - begun)
            try:
                if self._why_stopped is None:
                    self._submit()
                self._take_all(self._executor.wait(_WAIT))
            except ResultsError as error:
                self._why_stopped = str(error)
            except LLMBenchError as error:
                self._why_stopped = str(error)
                self._take_all([Outcome(task, "lost", str(error)) for task in self._running.values()])
                return
            if self._running:
                idle = time.monotonic()
            elif time.monotonic() - idle > _WITHOUT_NODES:
                self._why_stopped = f"no node has had what is left for {_WITHOUT_NODES:.0f} s"

    def _enough(self, seconds: float) -> str | None:
        """Why no further cell is started; None if one is."""
        bounds = self._bounds
        if bounds.seconds is not None and seconds >= bounds.seconds:
            return "the time of --deadline is over"
        if bounds.max_cost is not None and self._cost >= bounds.max_cost:
            return f"${self._cost:.2f} of --max-cost {bounds.max_cost:g} are spent"
        return None

    def _submit(self) -> None:
        """Start what can run now, in the plan's order for each kind of hardware."""
        for kind, cells in self._left.items():
            while cells and self._executor.free(kind.name, kind.count):
                cell = cells[0]
                task = Task(
                    cell,
                    self._plan.name,
                    new_session_id(time.time()),
                    self._attempts[cell.id] + 1,
                    self._options,
                    self._timeout,
                )
                self._journal.start(task)
                cells.popleft()
                self._attempts[cell.id] += 1
                self._running[task.session_id] = task
                self._executor.submit(task)

    def _take_all(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            try:
                self._take(outcome)
            except ResultsError as error:
                # What still runs can be kept by then, or told where it is.
                self._why_stopped = str(error)

    def _take(self, outcome: Outcome) -> None:
        """Keep what came of an attempt, and decide whether another one follows.

        :raises ResultsError: if it cannot be kept in the store.
        """
        task = outcome.task
        cell = task.cell
        self._running.pop(task.session_id, None)
        self._cost += outcome.seconds / 3600 * (self._hourly(cell.hardware) or 0.0)
        if outcome.end == "measured":
            self._keep(outcome)
            self._row = 0
            self._done += 1
            self._journal.end(outcome)
            self._tell("measured", outcome)
            return
        ends = self._ends[cell.id]
        ends[outcome.end] += 1
        # What we stop ourselves is not the cell's fault.
        failed = ends[outcome.end] > REPEATS[outcome.end] and not self._signals
        if failed:
            self._failed += 1
        elif outcome.end == "lost":
            self._left[cell.hardware].appendleft(cell)
        else:
            # Whatever it was may be over when the others are done.
            self._left[cell.hardware].append(cell)
        self._row = self._row + 1 if outcome.end == "transient" else self._row
        if self._row >= _IN_A_ROW and self._row >= _IN_A_ROW * len(self._executor.nodes()):
            self._why_stopped = (
                f"{self._row} attempts in a row failed by what is not theirs: {outcome.reason}"
            )
        self._tell("failed" if failed else "again", outcome)
        self._journal.end(outcome, failed=failed)
        self._keep_words(outcome)

    def _keep(self, outcome: Outcome) -> None:
        """Put a document into the store; where that fails, somewhere.

        :raises ResultsError: if it is not in the store.
        """
        if outcome.document is None:
            return
        session = outcome.task.session_id
        try:
            self._store.add(session, outcome.document)
        except ResultsError as error:
            place = Path(tempfile.gettempdir()) / f"{session}.json"
            atomic_write(place, outcome.document)
            msg = f"{error}; what was measured is in {place}: move it to {self._store.results}"
            raise ResultsError(msg) from None

    def _keep_words(self, outcome: Outcome) -> None:
        """Keep the last words of what failed, and a document that does not count."""
        session = outcome.task.session_id
        # The journal has the reason: without these, less is known, and nothing is lost.
        with suppress(ResultsError):
            if outcome.log:
                atomic_write(self._folder / _LOGS / f"{session}.log", outcome.log.encode(errors="replace"))
            if outcome.document is not None:
                atomic_write(self._folder / _REFUSED / f"{session}.json", outcome.document)

    def _tell(self, how: str, outcome: Outcome) -> None:
        over = self._done + self._failed
        said = how if outcome.end == "measured" else f"{how}, {outcome.end}"
        reason = f": {outcome.reason}" if outcome.reason else ""
        label = outcome.task.cell.label
        self._say(f"[{over}/{len(self._cells)}] {said}: {label} ({outcome.seconds:.1f} s){reason}")

    # --- The end ------------------------------------------------------------------------------------

    def _end_all(self) -> None:
        """End what runs after a signal."""
        self._why_stopped = "it was asked to stop"
        if self._running:
            self._say(f"Stopping: {count(len(self._running), 'cell')} may end with what is measured")
        grace = 0.0 if self._signals > 1 else self._bounds.grace
        self._take_all(self._executor.stop(grace))

    def _exit(self) -> Exit:
        total, left = len(self._cells), len(self._cells) - self._done - self._failed
        if left:
            self._say(
                f"Stopped, {self._why_stopped}: {self._done} of {count(total, 'cell')} done, {self._failed} "
                f"failed, {left} left. Run the same command again, which measures these"
            )
            spent = self._bounds.max_cost is not None and self._cost >= self._bounds.max_cost
            # More of it would be spent by another start only after the bound was raised.
            return Exit.FAILED if spent else Exit.AGAIN
        self._say(f"{self._done} of {count(total, 'cell')} done, {self._failed} failed")
        if self._failed:
            self._say(
                f"'llmbench matrix status {self._plan.name}' says why; 'retry --failed' has them tried again"
            )
        return Exit.FAILED if self._failed else Exit.DONE

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        before = {}
        # A signal can only be followed in the main thread; elsewhere, whoever has that calls stop().
        with suppress(ValueError):
            for number in (signal.SIGTERM, signal.SIGINT):
                before[number] = signal.signal(number, self.stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
