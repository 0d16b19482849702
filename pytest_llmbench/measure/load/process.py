"""Where does the load client live?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType

from pytest_llmbench.measure.child import Child
from pytest_llmbench.measure.load.plan import LoadPlan, LoadResult


class LoadClient:
    """A process that sends load levels, one after the other; a context manager.

    :param started: is told the process's id, so that a monitor can take its load for ours.
    """

    def __init__(self, started: Callable[[int], None] = lambda _: None) -> None:
        self._child = Child(
            "pytest_llmbench.measure.load.worker",
            label="the load client",
            kind="load client",
            python=sys.executable,
            environment={},
            started=started,
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    def run(self, plan: LoadPlan) -> LoadResult:
        """Send the plan's requests and wait until each has ended; each has its own timeout.

        :raises errors.UsageError: for a plan that cannot be sent: no key, no tokenizer, too few files.
        :raises errors.EngineCrashedError: if the process is gone.
        """
        answer = self._child.ask({"op": "run", "plan": plan.to_json()}, "sending a load", None)
        return LoadResult.from_json(answer["result"])

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def __enter__(self) -> LoadClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
