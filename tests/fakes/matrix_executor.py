"""An executor of tests: what becomes of each attempt is said beforehand, and nothing is started."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from pytest_llmbench.matrix.cells import key_of
from pytest_llmbench.matrix.executor import End, Node, Outcome, Task
from tests.unit.matrix.plans import a_document, a_node

Becomes = Callable[[Task], End | Outcome]
"""What becomes of an attempt."""


class FakeExecutor:
    """Runs at most *at_once* tasks, each of which ends at the next wait."""

    def __init__(
        self, becomes: Becomes = lambda task: "measured", *, at_once: int = 1, nodes: Sequence[Node] = ()
    ) -> None:
        self._becomes = becomes
        self._at_once = at_once
        self._nodes = list(nodes) or [a_node()]
        self.running: deque[Task] = deque()
        self.submitted: list[Task] = []
        self.closed = False
        self.grace: float | None = None

    def nodes(self) -> Sequence[Node]:
        return self._nodes

    def free(self, hardware: str, count: int) -> bool:
        return len(self.running) < self._at_once and any(
            node.hardware.get(hardware, 0) >= count for node in self._nodes
        )

    def submit(self, task: Task) -> None:
        self.running.append(task)
        self.submitted.append(task)

    def wait(self, seconds: float) -> Sequence[Outcome]:
        return [self._outcome(self.running.popleft())] if self.running else []

    def stop(self, grace: float) -> Sequence[Outcome]:
        self.grace = grace
        ended = [Outcome(task, "lost", "it was stopped") for task in self.running]
        self.running.clear()
        return ended

    def close(self) -> None:
        self.closed = True

    def _outcome(self, task: Task) -> Outcome:
        node = self._nodes[0]
        key = key_of(task.cell.id, node.digest)
        end = self._becomes(task)
        outcome = end if isinstance(end, Outcome) else Outcome(task, end, None, seconds=1.0)
        outcome = replace(outcome, key=key, node=node.id)
        if outcome.end != "measured" or outcome.document is not None:
            return outcome
        document = a_document(task.cell, key, session=task.session_id, matrix=task.matrix)
        return replace(outcome, document=document_bytes(document))


def document_bytes(document: object) -> bytes:
    """A document as it is written."""
    import tempfile
    from pathlib import Path

    from pytest_llmbench.results.document import write_document

    with tempfile.TemporaryDirectory() as folder:
        return write_document(Path(folder) / "d.json", document).read_bytes()  # type: ignore[arg-type]
