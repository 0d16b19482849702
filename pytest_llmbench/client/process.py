"""Where does the load client live, and in how many processes?

One process receives some 100,000 chunks a second, and half of that without its native part; where it has
no time to spare, it reads tokens late and two at a time, and the first come late in its figures. A closed
loop of many streams is divided among several, as far as there are cores: each has every n-th conversation, or
request without any, and its share of the streams, and runs on its own. An open loop has one schedule, and one
process keeps it.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType

from pytest_llmbench.client.facts import ClientFacts
from pytest_llmbench.client.patience import SILENT, longest
from pytest_llmbench.client.plan import LoadPlan, LoadResult, Receiver
from pytest_llmbench.client.receiver import fastest
from pytest_llmbench.client.room import room_for
from pytest_llmbench.hardware.cores import usable_cores
from pytest_llmbench.metrics.timeline import NANO
from pytest_llmbench.processes.child import Child
from pytest_llmbench.processes.serve import LOAD_CLIENT

STREAMS: Mapping[Receiver, int] = {"native": 1024, "python": 512}
"""Of a closed loop, that one process has at most: at 100 tokens a second each, it has no time for more."""
_DOING = "sending a load"


class LoadClient:
    """Processes that send load levels, one level after the other; a context manager.

    :param started: called with each process's id, so that a monitor can take its load for ours.
    :param timeout: seconds of the case, from which the time to come up follows.
    """

    def __init__(self, started: Callable[[int], None] = lambda _: None, timeout: float | None = None) -> None:
        self._started = started
        self._timeout = timeout
        self._children: list[Child] = []
        self.pids: list[int] = []
        """Of every process that was started."""
        self._have(1)

    def run(self, plan: LoadPlan) -> LoadResult:
        """Send the plan's requests and wait until each has ended; each has its own timeout.

        :raises errors.UsageError: for a plan that cannot be sent: no key, no tokenizer, too few files or too
            little memory.
        :raises errors.EngineCrashedError: if a process is gone.
        :raises errors.EngineTimeoutError: if one hangs, or takes longer than the plan can.
        """
        count = processes_for(plan)
        # Here and not in each of them, which would all count on the same memory.
        numbers = shares(plan, count)
        parts = divided(replace(plan, memory=room_for(plan) // count), numbers)
        self._have(len(parts))
        busy = self._children[: len(parts)]
        try:
            for child, part in zip(busy, parts, strict=True):
                child.tell({"op": "run", "plan": part.to_json()}, _DOING, SILENT)
            limit = max(map(longest, parts))
            answers = [child.answer(_DOING, limit, SILENT) for child in busy]
        except BaseException:
            if len(busy) > 1:
                # The others go on, and what they answer will not be read.
                for child in self._children:
                    child.kill()
                self._children.clear()
            raise
        return joined([LoadResult.from_json(answer["result"]) for answer in answers], numbers)

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            child.close()

    def _have(self, processes: int) -> None:
        while len(self._children) < processes:
            child = Child(
                "pytest_llmbench.client.worker",
                label="the load client",
                kind=LOAD_CLIENT,
                python=sys.executable,
                environment={},
                timeout=self._timeout,
                started=self._start,
            )
            self._children.append(child)

    def _start(self, pid: int) -> None:
        self.pids.append(pid)
        self._started(pid)

    def __enter__(self) -> LoadClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def processes_for(plan: LoadPlan) -> int:
    """How many processes send *plan*."""
    if plan.at_once is None:
        return 1
    streams = min(plan.at_once, len(plan.requests))
    return max(1, min(-(-streams // STREAMS[fastest()]), usable_cores()))


def shares(plan: LoadPlan, parts: int) -> list[list[int]]:
    """The numbers of the requests of each of n *parts*: of part i, those that follow none i, i + n, ..., and
    all that follow them."""
    found: list[list[int]] = [[] for _ in range(parts)]
    where: list[int] = []
    begun = 0
    for number, request in enumerate(plan.requests):
        where.append(begun % parts if request.follows is None else where[request.follows])
        begun += request.follows is None
        found[where[-1]].append(number)
    return found


def divided(plan: LoadPlan, numbers: Sequence[Sequence[int]]) -> list[LoadPlan]:
    """A closed loop in parts that have these :func:`shares` of the requests, and theirs of the streams."""
    parts = len(numbers)
    if parts == 1:
        return [plan]

    def share(number: int, part: int) -> int:
        return len(range(part, number, parts))

    divided = []
    for part, own in enumerate(numbers):
        place = {number: at for at, number in enumerate(own)}
        requests = (plan.requests[number] for number in own)
        divided.append(
            replace(
                plan,
                requests=tuple(
                    one if one.follows is None else replace(one, follows=place[one.follows])
                    for one in requests
                ),
                warmup=bisect_left(own, plan.warmup),
                concurrency=None if plan.concurrency is None else share(plan.concurrency, part),
                conversations=None if plan.conversations is None else share(plan.conversations, part),
            )
        )
    return divided


def joined(results: Sequence[LoadResult], numbers: Sequence[Sequence[int]]) -> LoadResult:
    """The result of a plan from those of its parts, which had these :func:`shares`."""
    if len(results) == 1:
        return results[0]
    started = min(result.started for result in results)
    requests = [
        replace(
            request,
            number=own[request.number],
            at=round(request.at + (result.started - started) * NANO, 9),
        )
        for own, result in zip(numbers, results, strict=True)
        for request in result.requests
    ]
    return LoadResult(
        requests=tuple(sorted(requests, key=lambda request: request.number)),
        started=started,
        ended=max(result.ended for result in results),
        client=_together([result.client for result in results]),
        abandoned=sum(result.abandoned for result in results),
    )


def _together(parts: Sequence[ClientFacts]) -> ClientFacts:
    """What the processes of a client say of themselves, as one."""
    return ClientFacts(
        stamps="kernel" if all(part.stamps == "kernel" for part in parts) else "user",
        stamps_reason="; ".join(dict.fromkeys(p.stamps_reason for p in parts if p.stamps_reason)) or None,
        cpu=sum(part.cpu or 0.0 for part in parts),
        reads=sum(part.reads or 0 for part in parts),
        read_lag=max((part.read_lag for part in parts if part.read_lag is not None), default=None),
        receiver=parts[0].receiver,
        real_time=all(part.real_time for part in parts),
        processes=len(parts),
    )
