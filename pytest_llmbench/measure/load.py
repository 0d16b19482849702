"""In which order is everything done when a load level is measured?

For each process of the case: a load client of its own, the server's counters, the level, the
counters again. Whatever came back is in the run before anything is judged.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pytest_llmbench import errors
from pytest_llmbench.client.plan import Failure, LoadPlan, LoadResult, RequestResult
from pytest_llmbench.client.process import LoadClient
from pytest_llmbench.client.words import advice, is_refusal, send
from pytest_llmbench.hardware.cpu_time import TreeTime
from pytest_llmbench.measure.facts import CacheFacts, FailedRequest, Level
from pytest_llmbench.measure.level import summarize_level
from pytest_llmbench.measure.loop import Monitor, ProgressListener, judge
from pytest_llmbench.measure.run import MONITOR_OFF, ProcessRun, Round, Run
from pytest_llmbench.metrics import units
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import NANO
from pytest_llmbench.servers.endpoint import Endpoint, Words
from pytest_llmbench.servers.prefix_cache import PrefixCache
from pytest_llmbench.servers.prompt_ids import Blocks
from pytest_llmbench.workloads.messages import Message

_SECOND = 1_000_000_000
Counters = Mapping[str, float | None]
"""What a server counts of itself, by our names; None where it does not say."""
_READ_EVERY = 1.0
"""Seconds between two readings of the server's own counters during a level."""


class RunningServer(Protocol):
    """What a level needs of the server that it is sent to."""

    label: str
    pid: int | None
    """The root of its process tree; None where it cannot be known."""
    load_time: float | None
    """Seconds from its start until it was ready; None where it ran already."""
    engine: Mapping[str, object]
    versions: Mapping[str, str]
    lacks: str | None
    """What it was started without and needs under a load; None where nothing tells that it lacks anything."""
    agreed: bool
    """Whether it was found out in which words it wants to be asked."""

    @property
    def endpoint(self) -> Endpoint: ...

    def metrics(self) -> Counters: ...

    def metrics_between(self, readings: Sequence[Counters]) -> Counters: ...

    def explain(self) -> str: ...

    @property
    def prefix_cache(self) -> PrefixCache:
        """What is known of its cache of prompts."""

    def blocks(self) -> Blocks:
        """In what blocks it keeps prompts."""

    def prompt_ids(self, text: str | None = None, messages: Sequence[Message] | None = None) -> list[int]:
        """The token ids that it makes of a prompt.

        :raises NoIdsError: if it does not tell them.
        """

    def advice(self, failures: Mapping[str, str]) -> str:
        """What may help against failures, kind to an example: the end of a sentence, or nothing."""

    def learn(self, words: Words) -> None:
        """It wants to be asked in these *words* from now on."""


@dataclass(frozen=True, slots=True)
class LoadBench:
    """One server under load.

    :param slo: seconds that a good request stays within, by metric.
    """

    server: RunningServer
    monitor: Monitor | None
    progress: ProgressListener
    slo: Mapping[str, float]
    whose: str = ""
    """Comes before the server's name where a person sees what is going on."""

    def ask(self, plan: LoadPlan) -> LoadResult:
        """Send a few requests that are not measured, to learn what the server makes of them.

        :raises errors.EngineError: with the first failure, if all fail.
        """
        result = self._send(plan)
        self._refuse_failures(result.requests)
        return result

    def agree(self, plan: LoadPlan) -> None:
        """Find out in which words the server wants to be asked, by a plan that is not measured.

        :raises errors.EngineError: if it takes none; of another failure the level will tell.
        """
        result = self._send(plan)
        if any(is_refusal(request) for request in result.requests):
            self._refuse_failures(result.requests)
        self.server.agreed = True

    def _send(self, plan: LoadPlan) -> LoadResult:
        count = len(plan.requests)
        what = f"{units.count(count, 'request')} ahead, not measured"
        self.progress.asking(f"{self.whose}{self.server.label}", what)
        with LoadClient(self._follow, plan.timeout) as client:
            try:
                result, words = send(client.run, plan)
            finally:
                self._unfollow(client.pids)
        if words is not None:
            self.server.learn(words)
        return result

    def level(self, plan: LoadPlan, run: Run, *, fresh: bool) -> Level:
        """Measure one level into *run*, as one more of its processes.

        :param fresh: whether the server was started for this level alone.
        :raises errors.EngineError: if no request succeeded; what came back is kept.
        """
        server, monitor = self.server, self.monitor
        record = ProcessRun(
            pid=server.pid or 0,
            engine=server.engine,
            versions=server.versions,
            measured={"load_time": server.load_time if fresh else None},
            unwatched=MONITOR_OFF if monitor is None else None,
        )
        run.processes.append(record)
        self.progress.asking(f"{self.whose}{server.label}", _described(plan))
        with LoadClient(self._follow, plan.timeout) as client:
            try:
                start = monitor.edge() if monitor is not None else None
                with _Readings(server) as readings:
                    cpu_time = TreeTime(server.pid)
                    result = client.run(plan)
                    had = cpu_time.until_now()
                end = monitor.edge() if monitor is not None else None
            finally:
                self._unfollow(client.pids)
        level = summarize_level(result, plan, slo=self.slo)
        start_ns, end_ns = level.window(result.started)
        says = any(request.cached_tokens is not None for request in result.requests)
        for request in result.measured:
            if request.timeline is not None and request.ok:
                # Choosing by the end would favor short requests: the long ones are still going on.
                counted = start_ns <= request.due <= end_ns
                measured = Round(request.timeline, request=request, counted=counted)
                record.rounds.append(measured)
                _take_cached(measured, request, says=says)
                run.text = request.text if run.text is None else run.text
            else:
                record.failures.append(_failed(request, result.started))
        record.settle()
        rows = (row for row in METRICS.values() if row.scope == "level" and row.of_process is None)
        record.measured.update({row.name: getattr(level, row.name, None) for row in rows})
        record.measured["cpu_time_per_token"] = _shared(had, result.requests)
        failures = (request.failure for request in result.requests if request.failure is not None)
        record.load = level = replace(
            level,
            server_metrics=server.metrics_between(readings.taken),
            advice=self._advice(failures).removeprefix("; ") or None,
            energy=monitor.energy(start, end).joules if monitor and start and end else None,
        )
        if monitor is not None:
            self._take_hardware(record, (start_ns, end_ns), monitor)
        self._refuse_failures(result.measured)
        return level

    def _take_hardware(self, record: ProcessRun, window: tuple[int, int], monitor: Monitor) -> None:
        record.hardware = monitor.summary(*window)
        record.measured["peak_vram"] = record.hardware.peak_vram
        if self.server.pid is not None:
            record.measured["peak_rss"] = monitor.peak_rss_of(self.server.pid)
        judge(record, monitor, _SECOND)

    def _follow(self, pid: int) -> None:
        if self.monitor is not None:
            self.monitor.follow(pid)

    def _unfollow(self, pids: Sequence[int]) -> None:
        if self.monitor is not None:
            for pid in pids:
                self.monitor.unfollow(pid)

    def _advice(self, failures: Iterable[Failure]) -> str:
        return self.server.advice({failure.kind: failure.detail for failure in failures})

    def _refuse_failures(self, requests: Sequence[RequestResult]) -> None:
        failures = [request.failure for request in requests if request.failure is not None]
        if len(failures) < len(requests) or not failures:
            return
        what = f"all {len(failures)} requests failed: " if len(failures) > 1 else ""
        helps = self._advice(failures) or advice(self.server.endpoint, requests[0])
        msg = f"{self.server.label}: {what}{failures[0]}{helps}{self.server.explain()}"
        raise errors.EngineError(msg)


class _Readings:
    """The server's own counters before, once a second during, and after a level."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name="llmbench-server-metrics", daemon=True)
        self.taken: list[Counters] = []

    def __enter__(self) -> _Readings:
        self.taken.append(self._server.metrics())
        if any(value is not None for value in self.taken[0].values()):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self.taken.append(self._server.metrics())

    def _read_on(self) -> None:
        while not self._over.wait(_READ_EVERY):
            self.taken.append(self._server.metrics())


def _described(plan: LoadPlan) -> str:
    count = f"{len(plan.requests)} requests"
    if plan.schedule is not None:
        return f"{count} in {min(plan.schedule[-1], plan.duration or math.inf):.0f} s"
    many = f"{plan.at_once} at once"
    if plan.conversations is not None:
        many = f"{units.count(plan.conversations, 'conversation')} at once"
    return f"{many}, {count if plan.duration is None else f'for {plan.duration:g} s'}"


def _take_cached(measured: Round, request: RequestResult, *, says: bool) -> None:
    """Have what the server said of its cache in a request's round.

    :param says: whether it said of any request of the level how many tokens its cache had. Such a server
        means 0 where it does not say it: vLLM leaves a 0 out.
    """
    cached, source = request.cached_tokens, request.cached_source
    if cached is None and says and request.token_source == "usage":
        cached, source = 0, "usage"
    if cached is not None:
        measured.measured["cached_tokens"] = cached
        measured.cache = CacheFacts(source=source)
        if 0 < measured.timeline.prompt_tokens < cached:
            measured.invalid = (
                f"{cached} tokens are said to have come from the cache ({source}), and the prompt has "
                f"{measured.timeline.prompt_tokens}"
            )
            measured.counted = False
    elif request.turn is not None:
        measured.cache = CacheFacts(unknown="the server does not say how many tokens its cache had")


def _shared(cpu_time: float | None, requests: Iterable[RequestResult]) -> float | None:
    """The server's CPU time, shared among all tokens that came, those of the warm-up and of failed requests
    too: it was spent on them all."""
    tokens = sum(request.timeline.output_tokens for request in requests if request.timeline is not None)
    return None if cpu_time is None or not tokens else cpu_time / tokens


def _failed(request: RequestResult, started: int) -> FailedRequest:
    failure, timeline = request.failure, request.timeline
    return FailedRequest(
        kind=None if failure is None else failure.kind,
        detail=None if failure is None else failure.detail,
        ended=round((request.ended - started) * NANO, 9),
        output_tokens=0 if timeline is None else timeline.output_tokens,
        request=request,
    )
