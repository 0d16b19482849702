"""Which connection carries the next request?

Those that a level begins with are made before it. Afterwards one is made only for a request that finds
none idle, and its set-up is part of that request's latency.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

from pytest_llmbench.client.connection import Connection, ConnectionFailedError, Route, find_route
from pytest_llmbench.client.pending import PendingRequest
from pytest_llmbench.client.plan import Failure, LoadPlan
from pytest_llmbench.client.poller import make_poller
from pytest_llmbench.client.room import Room, most_of, room_for
from pytest_llmbench.client.segments import Segment
from pytest_llmbench.errors import UsageError
from pytest_llmbench.metrics.timeline import NANO

_PATIENCE = 5_000_000_000
"""ns in which at least one more of the first connections has to be made, or those that are have to do."""
_AT_ONCE = 64
"""Connections that are being made at a time before the level: servers queue some 100 of them."""
_MOST_READY = 256
"""Connections made before an open loop."""
_SPARE_FILES = 128


class Pool:
    """The connections of one level.

    :raises UsageError: for an address, a proxy or a certificate file that is not valid, and for too few
        open files.
    """

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._route: Route | None = None
        self._unreachable = Failure("resolve", "")
        try:
            self._route = find_route(plan.endpoint)
        except ConnectionFailedError as error:
            self._unreachable = error.failure
        _allow_open_files(plan)
        self.poller = make_poller()
        self.connections: dict[int, Connection] = {}
        """All of them, by file descriptor."""
        self.streams: dict[int, list[Segment]] = {}
        """Where their segments go while nothing needs to be done but to store them."""
        self.room = Room(room_for(plan) if plan.memory is None else plan.memory)
        self.idle: list[Connection] = []
        """The one that was used last is used next: a server closes the others first."""
        self.stamps_reason: str | None = None
        """Why the kernel does not stamp what arrives; None if it does."""
        self._lost = 0
        """Connections that were lost without a request on them."""

    def prepare(self, handle: Callable[[Connection, int], None], pulse: Callable[[], None]) -> None:
        """Make the connections with which the level begins; what cannot be made is left to the requests.

        :param handle: called with what a connection's socket is ready for.
        :param pulse: is called again and again.
        """
        plan, route = self._plan, self._route
        for address in range(0 if route is None else len(route.addresses)):
            if self._make(1, address, handle, pulse):
                assert route is not None
                # Where it answers is where the level goes.
                route.addresses.insert(0, route.addresses.pop(address))
                self._make(min(plan.at_once or _due_at_first(plan), len(plan.requests)), 0, handle, pulse)
                return

    def _make(
        self,
        wanted: int,
        address: int,
        handle: Callable[[Connection, int], None],
        pulse: Callable[[], None],
    ) -> bool:
        """Have so many connections that wait for a request; returns whether there is one at least.

        After the first that cannot be made, or is lost, those that are on their way have to do.
        """
        self._lost = 0
        end = time.perf_counter_ns() + _PATIENCE
        while True:
            pulse()
            have = len(self.idle)
            try:
                while not self._lost and len(self.connections) < min(wanted, have + _AT_ONCE):
                    self._open(address)
            except ConnectionFailedError:
                self._lost += 1
            left = end - time.perf_counter_ns()
            if have == len(self.connections) or left <= 0:
                break
            for fd, ready in self.poller.wait(left * NANO):
                if fd in self.connections:
                    handle(self.connections[fd], ready)
            if len(self.idle) > have:
                end = time.perf_counter_ns() + _PATIENCE
        for connection in list(self.connections.values()):
            if not connection.ready:
                self.drop(connection)
        return bool(self.idle)

    def connect(
        self, pending: PendingRequest, address: int = 0, failure: Failure | None = None
    ) -> Failure | None:
        """Make a connection for a request, to the first address from *address* on that does not refuse.

        Returns why there is none; *failure* if there was nothing left to try.
        """
        for number in range(address, 0 if self._route is None else len(self._route.addresses)):
            try:
                connection = self._open(number)
            except ConnectionFailedError as error:
                failure = error.failure
            else:
                self.give(connection, pending)
                return None
        return failure or self._unreachable

    def give(self, connection: Connection, pending: PendingRequest) -> None:
        """A connection is a request's from now on."""
        connection.pending, pending.fd = pending, connection.fd
        self.room.open(connection.fd, most_of(self._plan.requests[pending.raw.number]))

    def _open(self, address: int) -> Connection:
        assert self._route is not None
        connection = Connection(self._route, address, self.poller)
        self.connections[connection.fd] = connection
        self.stamps_reason = self.stamps_reason or connection.stamps_reason
        return connection

    def drop(self, connection: Connection) -> None:
        """Close one that is not idle."""
        del self.connections[connection.fd]
        self.streams.pop(connection.fd, None)
        connection.close()

    def lose(self, connection: Connection) -> None:
        """Close one that has no request: the server ended it, or spoke unasked."""
        self._lost += 1
        if connection.ready:
            self.idle.remove(connection)
        self.drop(connection)

    def close(self) -> None:
        """Close all."""
        for connection in self.connections.values():
            connection.close()
        self.poller.close()


def _due_at_first(plan: LoadPlan) -> int:
    """How many connections an open loop begins with: what is due in its first second."""
    return min(_MOST_READY, max(1, sum(at <= 1.0 for at in plan.schedule or ())))


def _allow_open_files(plan: LoadPlan) -> None:
    """Raise this process's limit of open files as far as needed.

    How many connections an open loop needs depends on the server: there the limit is raised as far as it
    goes, and what finds no file is a failed request.

    :raises UsageError: if a closed loop cannot have its connections.
    """
    streams = min(plan.at_once or len(plan.requests), len(plan.requests))
    needed = streams + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if most < needed and plan.at_once is not None:
        msg = (
            f"{streams} requests at once need {needed} open files, and {hard} are allowed: raise 'ulimit -n'"
        )
        raise UsageError(msg)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
