"""Which request is sent when, and what becomes of it?

One thread and one event loop. While a level runs, what arrives is stored, and followed only as far as it
takes to know that a response has ended, because then the next request may be due. It is read afterwards.
"""

from __future__ import annotations

import gc
import heapq
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from pytest_llmbench.client.answers import LiveHistory, answer_of, has_answered
from pytest_llmbench.client.connection import Connection, ConnectionFailedError
from pytest_llmbench.client.endings import cut, malformed, retry_after, too_late
from pytest_llmbench.client.facts import ClientFacts
from pytest_llmbench.client.http import MalformedError
from pytest_llmbench.client.outgoing import Writer
from pytest_llmbench.client.patience import Pulse
from pytest_llmbench.client.pending import PendingRequest
from pytest_llmbench.client.plan import Failure, LoadPlan, Request
from pytest_llmbench.client.poller import WRITE
from pytest_llmbench.client.pool import Pool
from pytest_llmbench.client.priority import real_time
from pytest_llmbench.client.raw import RawResponse
from pytest_llmbench.client.receiver import choose_receiver
from pytest_llmbench.client.room import KEPT, why_too_large
from pytest_llmbench.client.segments import Segment
from pytest_llmbench.client.stamps import REFRESH, Clock
from pytest_llmbench.client.turns import Turns

_SECOND = 1_000_000_000
_BETWEEN_STREAMS = 1_000_000
"""ns between the first requests of a closed loop. All at once, they would wait for each other's sending, and
all their tokens would go on coming at once: a queue of the client's making, which no user makes."""
_STALE = _SECOND
"""ns after a send in which the end of a kept connection means that it had ended before the send."""
_BUSY = (429, 503)


@dataclass(slots=True)
class LevelRecording:
    """What a level brought; times in ns."""

    responses: list[RawResponse]
    """Those that were sent, in the order of the plan."""
    started: int
    """A schedule counts from here."""
    ended: int
    client: ClientFacts
    requests: Sequence[Request]
    """Those of the plan; with live answers, as they were sent."""
    abandoned: int
    """Turns that were not sent because one before them failed."""


class Client:
    """Sends one plan, once.

    :param pulse: called with how far it is, about ten times a second.
    :raises UsageError: for a plan that cannot be sent: an address, a header, a key's variable, a certificate
        file, or too few open files.
    """

    def __init__(self, plan: LoadPlan, pulse: Pulse | None = None) -> None:
        self._plan = plan
        self._pulse = Pulse() if pulse is None else pulse
        self._pulse(0, 0)
        self._writer = Writer(plan.endpoint, plan.params)
        self._bytes = [self._writer.write(request) for request in plan.requests]
        self._timeout = round(plan.timeout * _SECOND)
        self._pool = pool = Pool(plan)
        self._receiver, self._receive = choose_receiver(
            pool.poller, pool.connections, pool.streams, pool.room
        )
        self._pending: list[PendingRequest] = []
        self._due = deque(enumerate(plan.schedule or ()))
        """Open loop: the number of each request that is still to be sent, and when."""
        self._turns = Turns(() if plan.schedule is not None else plan.requests)
        """Closed loop: what is still to be sent."""
        self._live = LiveHistory(plan.requests) if plan.history == "live" else None
        self._most = plan.at_once or 0
        """Closed loop: how many requests may be on their way."""
        self._active = 0
        """Requests on their way, those that wait to be sent again included."""
        self._streams = 0
        """Closed loop: streams that have begun."""
        self._filling = False
        self._again: list[tuple[int, int, PendingRequest]] = []
        """A heap of what is sent again, by when."""
        self._deadlines: deque[tuple[int, int, PendingRequest]] = deque()
        """When each attempt is given up; its number says whether it is still the current one."""
        self._started = 0
        self._stop: int | None = None
        """ns: from here on nothing is sent."""
        self._wake = 0
        """ns: when there is something to do, whether or not something arrives."""
        self._look_again = 0
        """ns: when the clocks are compared again."""
        self._reads = 0

    def run(self) -> LevelRecording:
        """Send the plan's requests and wait until each has ended. Whatever fails is in its raw response."""
        self._clock = Clock()
        try:
            self._pool.prepare(self._handle, partial(self._pulse, 0, 0))
            with _no_garbage_collection(), real_time() as first:
                cpu = time.thread_time()
                self._started = self._clock.look()
                self._loop()
                ended = self._clock.look()
                cpu = time.thread_time() - cpu
        finally:
            self._pool.close()
        for pending in self._pending:
            self._pulse(len(self._pending), len(self._pending))
            pending.read(self._clock)
        reason = self._pool.stamps_reason or self._clock.explain()
        by_kernel = self._clock.stamped >= self._clock.unstamped and self._pool.stamps_reason is None
        return LevelRecording(
            responses=[pending.raw for pending in self._pending],
            started=self._started,
            ended=ended,
            client=ClientFacts(
                stamps="kernel" if by_kernel else "user",
                stamps_reason=reason,
                cpu=cpu,
                reads=self._reads,
                read_lag=self._clock.read_lag(),
                receiver=self._receiver,
                real_time=first,
            ),
            requests=self._plan.requests if self._live is None else self._live.requests,
            abandoned=self._turns.abandoned,
        )

    # -- the level -----------------------------------------------------------------------------

    def _loop(self) -> None:
        clock, receive, connections = time.perf_counter_ns, self._receive, self._pool.connections
        while self._active or self._due or self._turns.left:
            now = clock()
            if now >= self._wake:
                self._tick(now)
                now = clock()
            for fd, ready, came in receive(self._wake - now):
                connection = connections.get(fd)
                if connection is None:
                    # It was closed by what was handled just before it.
                    continue
                if came is None:
                    self._handle(connection, ready)
                elif isinstance(came, OSError):
                    self._broken(connection, connection.failed_by(came))
                else:
                    self._take(connection, came)

    def _tick(self, now: int) -> None:
        """Do what is due, whether or not something arrived."""
        if now >= self._look_again:
            self._look_again = self._clock.look() + REFRESH
            self._pulse(len(self._pending), len(self._pending) - self._active)
        self._wake = self._look_again
        self._give_up(now)
        self._send_again(now)
        if self._due:
            self._send_due()
        elif self._plan.schedule is None:
            self._begin_streams(now)
            self._await_thoughts(now)
            self._fill()
        if self._deadlines:
            self._wake = min(self._wake, self._deadlines[0][0])

    def _handle(self, connection: Connection, ready: int) -> None:
        """A socket has something, and was not read."""
        try:
            if not connection.ready:
                connection.advance()
                if connection.ready:
                    self._begin(connection)
                return
            if ready & WRITE:
                connection.flush()
            segment = connection.receive()
        except ConnectionFailedError as error:
            self._broken(connection, error.failure)
            return
        if segment is not None:
            self._take(connection, segment)

    def _take(self, connection: Connection, segment: Segment) -> None:
        """Something came, or the end of the connection."""
        pending = connection.pending
        if pending is None:
            # An end, or bytes that were not asked for.
            self._pool.lose(connection)
            return
        if segment[2] and not self._pool.room.take(connection.fd, len(segment[2])):
            self._give_up_long(connection, pending, full=self._pool.room.is_full(len(segment[2])))
            return
        try:
            if segment[2]:
                ended = pending.take(segment)
            else:
                ended = pending.follow() or pending.response.close(whole=connection.whole)
        except MalformedError as error:
            self._broken(connection, Failure("malformed", str(error)))
            return
        if ended:
            self._finish(connection, pending)
        elif segment[2]:
            if pending.inside and connection.plain:
                self._pool.streams[connection.fd] = pending.segments
            else:
                self._pool.streams.pop(connection.fd, None)
        else:
            self._broken(connection, cut(pending))

    # -- sending -------------------------------------------------------------------------------

    def _begin_streams(self, now: int) -> None:
        """Have the streams of a closed loop whose time has come, each with its first conversation."""
        streams = self._plan.streams or 0
        while self._streams < streams:
            begin = self._started + self._streams * _BETWEEN_STREAMS
            if begin > now:
                self._wake = min(self._wake, begin)
                return
            self._streams += 1
            self._turns.begin()

    def _fill(self) -> None:
        """Send what is ready in a closed loop, as far as there may be more on its way.

        What one that fails at once makes ready is sent when what has arrived meanwhile was read: a server
        that refuses everything must not make the client deaf.
        """
        turns = self._turns
        self._filling = True
        for _ in range(min(len(turns.ready), self._most - self._active)):
            if turns.ready and not self._is_over(time.perf_counter_ns()):
                self._launch(turns.ready.popleft(), None)
        self._filling = False

    def _send_due(self) -> None:
        while self._due:
            number, at = self._due[0]
            due = self._started + round(at * _SECOND)
            if due > time.perf_counter_ns():
                self._wake = min(self._wake, due)
                return
            if not self._is_over(due):
                self._due.popleft()
                self._launch(number, due)

    def _is_over(self, now: int) -> bool:
        """Whether the level's duration is; then nothing more is sent."""
        if self._stop is None or now < self._stop:
            return False
        self._due.clear()
        self._turns.end()
        return True

    def _launch(self, number: int, scheduled: int | None) -> None:
        """Send a request of the plan."""
        raw = RawResponse(number, number < self._plan.warmup, scheduled, sent=0)
        pending = PendingRequest(raw)
        self._pending.append(pending)
        self._active += 1
        self._send(pending)
        if self._stop is None and self._plan.duration is not None and not raw.warmup:
            first = raw.sent if scheduled is None else scheduled
            self._stop = first + round(self._plan.duration * _SECOND)

    def _send(self, pending: PendingRequest, *, anew: bool = False) -> None:
        """Send a request on an idle connection; on a new one if there is none, or with *anew*.

        A new one's set-up is part of the request's latency.
        """
        raw = pending.raw
        raw.new_connection = anew or not self._pool.idle
        if raw.new_connection:
            raw.sent = time.perf_counter_ns()
            failure = self._pool.connect(pending)
            if failure is not None:
                self._fail(pending, failure)
                return
        else:
            connection = self._pool.idle.pop()
            self._pool.give(connection, pending)
            raw.sent = time.perf_counter_ns()
            try:
                connection.write(self._bytes[raw.number])
            except ConnectionFailedError as error:
                self._broken(connection, error.failure)
                return
        self._deadlines.append((raw.sent + self._timeout, raw.attempts, pending))

    def _send_again(self, now: int) -> None:
        """Send what a busy server had put off."""
        while self._again and (self._again[0][0] <= now or self._is_over(now)):
            _, _, pending = heapq.heappop(self._again)
            if self._is_over(now):
                self._end(pending)
            else:
                pending.raw.attempts += 1
                self._reads += len(pending.segments)
                self._forget(pending, 0)
                pending.begin_again()
                self._send(pending)
        if self._again:
            self._wake = min(self._wake, self._again[0][0])

    def _begin(self, connection: Connection) -> None:
        """A connection was made, for a request or for one to come."""
        if connection.pending is None:
            self._pool.idle.append(connection)
        else:
            connection.write(self._bytes[connection.pending.raw.number])

    # -- ends ----------------------------------------------------------------------------------

    def _finish(self, connection: Connection, pending: PendingRequest) -> None:
        """A response has ended."""
        connection.pending = pending.fd = None
        self._pool.streams.pop(connection.fd, None)
        if pending.response.reusable and not connection.unsent:
            self._pool.idle.append(connection)
        else:
            self._pool.drop(connection)
        if not self._put_off(pending):
            self._end(pending)

    def _put_off(self, pending: PendingRequest) -> bool:
        """Whether a busy server gets the request again, and when."""
        if pending.response.status not in _BUSY or pending.repeated >= self._plan.retries:
            return False
        pause = retry_after(pending.response.headers.get("retry-after", ""))
        if pause > self._plan.timeout:
            return False
        pending.repeated += 1
        due = time.perf_counter_ns() + round(pause * _SECOND)
        heapq.heappush(self._again, (due, pending.raw.number, pending))
        self._wake = min(self._wake, due)
        return True

    def _end(self, pending: PendingRequest) -> None:
        """The last of a request's responses is there."""
        status = pending.response.status
        if status is not None and not 200 <= status < 300:
            self._fail(pending, Failure("status", str(status)))
        else:
            self._conclude(pending)

    def _broken(self, connection: Connection, failure: Failure) -> None:
        """A connection failed, and with it what it was busy with."""
        pending = connection.pending
        if pending is None:
            self._pool.lose(connection)
            return
        self._pool.drop(connection)
        pending.fd = None
        failure = malformed(pending) or failure
        refused: Failure | None = failure
        if not connection.connected:
            refused = self._pool.connect(pending, connection.address + 1, failure)
        elif self._was_stale(pending, failure):
            # RFC 9112, section 9.3.1.
            pending.resent = True
            pending.raw.attempts += 1
            self._send(pending, anew=True)
            refused = None
        if refused is not None:
            self._fail(pending, refused)

    def _was_stale(self, pending: PendingRequest, failure: Failure) -> bool:
        """Whether a server had closed a kept connection before the request could reach it."""
        raw = pending.raw
        if raw.new_connection or pending.resent or pending.segments:
            return False
        return failure.kind in ("reset", "truncated") and time.perf_counter_ns() - raw.sent < _STALE

    def _give_up(self, now: int) -> None:
        """End what took too long."""
        while self._deadlines:
            deadline, attempt, pending = self._deadlines[0]
            if pending.fd is not None and pending.raw.attempts == attempt:
                if deadline > now:
                    return
                self._pool.drop(self._pool.connections[pending.fd])
                pending.fd = None
                self._fail(pending, malformed(pending) or too_late(pending, self._plan.timeout))
            self._deadlines.popleft()

    def _give_up_long(self, connection: Connection, pending: PendingRequest, *, full: bool) -> None:
        """End what is longer than it may be; of what came, the beginning is enough."""
        request = self._plan.requests[pending.raw.number]
        failure = malformed(pending) or Failure("too_large", why_too_large(request, full=full))
        self._reads += len(pending.segments)
        self._forget(pending, KEPT)
        self._reads -= len(pending.segments)
        self._pool.drop(connection)
        pending.fd = None
        self._fail(pending, failure)

    def _forget(self, pending: PendingRequest, kept: int) -> None:
        """Store no more of what came than *kept* bytes."""
        dropped = pending.shorten(kept)
        self._pool.room.give_back(len(dropped), sum(len(data) for _, _, data in dropped))

    def _fail(self, pending: PendingRequest, failure: Failure) -> None:
        pending.raw.failure = failure
        self._conclude(pending)

    def _conclude(self, pending: PendingRequest) -> None:
        """A request has ended; in a closed loop the next one goes out."""
        raw = pending.raw
        raw.ended = time.perf_counter_ns()
        self._reads += len(pending.segments)
        self._bytes[raw.number] = b""
        self._active -= 1
        if self._plan.schedule is None:
            self._go_on(pending)
            if self._filling:
                self._wake = 0
            else:
                self._fill()

    def _go_on(self, pending: PendingRequest) -> None:
        """Have the next turn of a conversation whose request has ended, or else another conversation."""
        raw, turns = pending.raw, self._turns
        following = turns.after(raw.number)
        if following is None:
            turns.begin()
        elif not self._was_answered(pending, following):
            turns.abandon(following)
            turns.begin()
        elif not self._is_over(raw.ended):
            turns.go_on(following, raw.ended)
            self._await_thoughts(raw.ended)

    def _was_answered(self, pending: PendingRequest, following: int) -> bool:
        """Whether a turn was, so that the *following* one can be sent; a live answer is put into that."""
        if pending.raw.failure is not None:
            return False
        if self._live is None:
            return has_answered(pending)
        answer = answer_of(pending)
        if answer is None:
            return False
        self._bytes[following] = self._writer.write(self._live.put(answer, following))
        return True

    def _await_thoughts(self, now: int) -> None:
        """Have those ready whose think time is over, and look again when the next one's is."""
        over = self._turns.think(now)
        if over is not None and not self._is_over(now):
            self._wake = min(self._wake, over if self._stop is None else min(over, self._stop))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect nothing meanwhile: the more is stored, the longer a collection holds everything up."""
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
