"""Is what the load client reports what the server did?

``python benchmarks/overhead/serving.py`` sends loads to a server that writes down when it handed each
token to the kernel (truth_server.c), and holds the client's figures against that log of the same run.
See README.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any, get_args

import numpy as np
import psutil
from pairs import Bound, NotMeasuredError
from peers import PEERS
from tables import markdown
from truth import Served, TruthServer, build, certificate

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.plan import History, LoadPlan, LoadResult, Request
from pytest_llmbench.client.process import LoadClient
from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.measure.level import summarize_level
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import NANO, Timeline
from pytest_llmbench.servers.endpoint import Api, Endpoint
from pytest_llmbench.workloads.messages import Message

_BUSY = 10.0
_BARE = Path(__file__).with_name("bare_load.py")
_ROWS = ("closed", "exponential", "chat", "chunks", "conversations", "tls", "open")
_CONVERSATIONS, _TURNS = 256, 4
_TEXT = "Explain what a benchmark is in three sentences."
_RATE = 500.0
_PEER_STREAMS = (64, 256)

TTFT, TPOT, GAP, THROUGHPUT = "TTFT p50", "TPOT p50", "gap p99", "output throughput"
CPU, LAG, LATE, TLS = "client CPU an event", "send lag p99", "server late", "TLS minus plain"
BARE, TIMES_BARE = "bare loop's CPU an event", "client CPU / bare loop's"
TIMES_PLAIN = "client CPU / without conversations"
COMMAND = "CPU of the command"
UNITS = {
    TTFT: ("ms", 1e3),
    TPOT: ("ms", 1e3),
    GAP: ("ms", 1e3),
    THROUGHPUT: ("tokens/s", 1.0),
    CPU: ("µs", 1e6),
    LAG: ("ms", 1e3),
    LATE: ("ms", 1e3),
    TLS: ("µs", 1e6),
    BARE: ("µs", 1e6),
    TIMES_BARE: ("", 1.0),
    TIMES_PLAIN: ("", 1.0),
    COMMAND: ("s", 1.0),
}
"""What each figure is printed in, and how many of that are one of its SI unit."""


def _within(share: float) -> Bound:
    return Bound(at_least=1 - share, at_most=1 + share)


# What holds for that many streams or fewer; ratios for what has a truth, else in the SI unit.
_BOUNDS: Mapping[int, Mapping[str, Bound]] = {
    64: {
        TTFT: _within(0.02),
        TPOT: _within(0.005),
        GAP: _within(0.05),
        THROUGHPUT: _within(0.01),
        CPU: Bound(at_most=12e-6),
    },
    256: {
        TTFT: _within(0.04),
        TPOT: _within(0.005),
        GAP: _within(0.10),
        THROUGHPUT: _within(0.01),
        CPU: Bound(at_most=10e-6),
    },
    1024: {
        TTFT: _within(0.15),
        TPOT: _within(0.01),
        GAP: _within(0.25),
        THROUGHPUT: _within(0.02),
        CPU: Bound(at_most=10e-6),
    },
}


_OF_TALKS = {TTFT: _within(0.01), TIMES_PLAIN: Bound(at_most=1.1)}
"""Conversations with recorded answers, against single requests of the same number."""


@dataclass(frozen=True, slots=True)
class Value:
    """A figure of one run, in its SI unit; *truth* is None where the server cannot know it."""

    client: float
    truth: float | None = None

    @property
    def judged(self) -> float:
        """What a bound is on: client / truth, or the client's own."""
        return self.client if self.truth is None else self.client / self.truth


Figures = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load on one kind of server."""

    name: str
    requests: int
    tokens: int
    bounds: Mapping[str, Bound]
    streams: int | None = None
    """Closed loop; None: open loop with Poisson arrivals."""
    server: tuple[str, ...] = ()
    per_event: int = 1
    api: Api = "completions"
    turns: int = 0
    """Of conversations, as many of which go on as there are streams; 0: each request stands for itself."""
    history: History = "recorded"

    def plan(self, server: TruthServer, ca_file: Path | None, seed: int) -> LoadPlan:
        """What the client is to send."""
        random = Random(seed)
        gaps = (random.expovariate(_RATE) for _ in range(self.requests))
        return LoadPlan(
            Endpoint(
                server.base_url,
                "truth",
                api=self.api,
                ca_file=None if ca_file is None else str(ca_file),
            ),
            self._asked(),
            GenerationParams(max_new_tokens=self.tokens),
            concurrency=None if self.turns else self.streams,
            conversations=self.streams if self.turns else None,
            history=self.history,
            schedule=tuple(accumulate(gaps)) if self.streams is None else None,
            timeout=120.0,
        )

    def _asked(self) -> tuple[Request, ...]:
        if self.turns:
            return tuple(
                Request(
                    self.tokens,
                    messages=_said(turn),
                    follows=None if turn == 1 else number - 1,
                    conversation=number // self.turns + 1,
                    turn=turn,
                )
                for number in range(self.requests)
                for turn in [number % self.turns + 1]
            )
        if self.api == "chat":
            return (Request(self.tokens, messages=_said(1)),) * self.requests
        return (Request(self.tokens, _TEXT),) * self.requests


def _said(turn: int) -> tuple[Message, ...]:
    """What stands before the answer of a turn, from 1."""
    question: Message = {"role": "user", "content": _TEXT}
    answer: Message = {"role": "assistant", "content": _TEXT}
    return (question, answer) * (turn - 1) + (question,)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the server is, and its settings in every run."""

    program: Path
    arguments: tuple[str, ...]

    def run(
        self, case: Case, seed: int, *, tls: tuple[Path, tuple[Path, Path]] | None = None
    ) -> tuple[LoadPlan, LoadResult, list[Served]]:
        """One level on a fresh server, from a fresh client.

        :param tls: another program, and the certificate and key that it gets.
        :raises NotMeasuredError: if a request failed, or the client held the server up.
        """
        program, (cert, key) = (self.program, (None, None)) if tls is None else tls
        secure = () if cert is None else ("--cert", str(cert), "--key", str(key))
        arguments = (*self.arguments, "--seed", str(seed), *case.server, *secure)
        with TruthServer(program, *arguments) as server:
            plan = case.plan(server, cert, seed)
            with LoadClient() as client:
                result = client.run(plan)
            log = server.stop()
        failures = [request.failure for request in result.requests if request.failure is not None]
        if failures:
            msg = f"{len(failures)} of {len(result.requests)} requests failed, the first with {failures[0]}"
            raise NotMeasuredError(msg)
        if blocked := sum(served.blocked for served in log):
            msg = f"{blocked} events found no room in the kernel: when they left is not known"
            raise NotMeasuredError(msg)
        return plan, result, log

    def bare_cpu(self, case: Case) -> float:
        """Seconds of CPU an event that the shortest possible client takes for a closed loop of *case*."""
        assert case.streams is not None
        waves = case.requests // case.streams
        with TruthServer(self.program, *self.arguments, *case.server) as server:
            numbers = map(str, (server.port, case.streams, waves, case.tokens))
            done = subprocess.run(
                [sys.executable, str(_BARE), *numbers], capture_output=True, text=True, check=False
            )
        if done.returncode:
            msg = f"the bare loop ended with status {done.returncode}: {done.stderr.strip()[-1000:]}"
            raise NotMeasuredError(msg)
        cpu: float = json.loads(done.stdout)["cpu"]
        return cpu / (case.requests * -(-case.tokens // case.per_event))


@dataclass(frozen=True, slots=True)
class Truth:
    """The same figures from the server's log: seconds and tokens/s."""

    ttft: float
    tpot: float
    gap: float
    throughput: float
    late: float
    """Median over the requests of how late the latest event of each was."""

    @classmethod
    def of(cls, log: Sequence[Served], per_event: int, start: int, end: int) -> Truth:
        """Of a log whose requests are all complete; the throughput from *start* to *end*, in ns."""
        events = np.concatenate([served.events for served in log])
        brought = np.concatenate([served.tokens_of(per_event) for served in log])
        inside = int(brought[(events >= start) & (events <= end)].sum())
        return cls(
            ttft=_median([(served.events[0] - served.received) * NANO for served in log]),
            tpot=_median([_tpot(served, per_event) for served in log if len(served.events) > 1]),
            gap=_gap_p99([served.events for served in log]),
            throughput=inside / ((end - start) * NANO),
            late=_median([served.late * NANO for served in log]),
        )


def figures(case: Case, plan: LoadPlan, result: LoadResult, log: Sequence[Served]) -> Figures:
    """What the client found, beside what the server's log says of the same requests.

    :raises NotMeasuredError: if they do not agree on what was sent.
    """
    level = summarize_level(result, plan)
    lines = [request.timeline for request in result.requests if request.timeline is not None]
    seen = len(lines), sum(line.output_tokens for line in lines)
    sent = len(log), sum(served.tokens for served in log)
    if seen != sent:
        msg = f"{seen[0]} responses with {seen[1]} tokens came, and {sent[0]} with {sent[1]} were sent"
        raise NotMeasuredError(msg)
    truth = Truth.of(log, case.per_event, *level.window(result.started))
    found = {
        TTFT: Value(_median_of("ttft", lines), truth.ttft),
        TPOT: Value(_median_of("tpot", lines), truth.tpot),
        GAP: Value(_gap_p99([line.token_times for line in lines]), truth.gap),
        THROUGHPUT: Value(level.system_throughput, truth.throughput),
        CPU: Value((result.client.cpu or 0.0) / sum(request.chunks or 0 for request in result.requests)),
        LATE: Value(truth.late),
    }
    lags = [request.send_lag for request in result.requests if request.send_lag is not None]
    if lags:
        found[LAG] = Value(float(np.percentile(lags, 99)))
    return found


def _tpot(served: Served, per_event: int) -> float:
    """Seconds a token that came after the first event."""
    after = served.tokens - served.tokens_of(per_event)[0]
    return (served.events[-1] - served.events[0]) * NANO / after


def _median_of(metric: str, lines: Sequence[Timeline]) -> float:
    compute = METRICS[metric].compute
    assert compute is not None
    return _median([value for line in lines if (value := compute(line)) is not None])


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def _gap_p99(times: Sequence[Sequence[int]]) -> float:
    return float(np.percentile(np.concatenate([np.diff(one) for one in times]), 99)) * NANO


def bounds_for(streams: int) -> Mapping[str, Bound]:
    """Those of the next number of streams that has some."""
    return next((bounds for most, bounds in _BOUNDS.items() if streams <= most), _BOUNDS[max(_BOUNDS)])


def cases(streams: Sequence[int], tokens: int, waves: int) -> dict[str, list[Case]]:
    """What is measured, by row."""
    few = min(streams)
    plain = Case("", waves * few, tokens, bounds_for(few), few)
    # The bound on CPU is on the plainest load; elsewhere it is shown.
    accurate = {name: bound for name, bound in plain.bounds.items() if name != CPU}
    other = dataclasses.replace(plain, bounds=accurate)
    chat = ("--role-chunk", "--reasoning", "16")
    return {
        "closed": [Case(f"{n} streams", waves * n, tokens, bounds_for(n), n) for n in streams],
        "exponential": [
            dataclasses.replace(other, name=f"{few}, exponential gaps", server=("--gaps", "exponential"))
        ],
        "chat": [dataclasses.replace(other, name=f"{few}, chat", server=chat, api="chat")],
        "chunks": [
            dataclasses.replace(
                other, name=f"{few}, 4 tokens a chunk", server=("--tokens-per-chunk", "4"), per_event=4
            )
        ],
        "conversations": [
            Case(
                f"{_CONVERSATIONS} conversations{', live' if history == 'live' else ''}",
                _CONVERSATIONS * _TURNS * max(1, waves // _TURNS),
                tokens,
                _OF_TALKS if history == "recorded" else {},
                _CONVERSATIONS,
                api="chat",
                turns=_TURNS,
                history=history,
            )
            for history in get_args(History)
        ],
        "tls": [dataclasses.replace(other, name=f"{few}, TLS")],
        "open": [
            Case(
                f"{_RATE:g} requests/s",
                int(10 * _RATE),
                8,
                {**accurate, LAG: Bound(at_most=5e-3)},
            )
        ],
    }


@dataclass(slots=True)
class Row:
    """A case, and what its runs yielded."""

    case: Case
    measure: Callable[[int], Figures]
    """Takes the run's number."""
    runs: list[Figures] = field(default_factory=list)
    problem: str | None = None
    """Why it was not measured."""

    def take(self, number: int) -> None:
        """One run more; what cannot be measured here is a result as well."""
        if self.problem is None:
            try:
                self.runs.append(self.measure(number))
            except (LLMBenchError, NotMeasuredError) as error:
                self.problem = str(error)

    @property
    def held(self) -> bool:
        return self.problem is None and all(self.verdict(name) != "OVER" for name in self.runs[0])

    def judged(self, name: str) -> list[float]:
        """One value a run."""
        return [run[name].judged for run in self.runs]

    def verdict(self, name: str) -> str:
        """By the median of the runs."""
        bound = self.case.bounds.get(name)
        if bound is None:
            return "–"
        return "ok" if bound.holds(statistics.median(self.judged(name))) else "OVER"

    def lines(self) -> list[tuple[str, ...]]:
        """Its lines of the table."""
        if self.problem is not None:
            return [(self.case.name, "", "", "", "", "", "not measured")]
        return [self._line(name) for name in self.runs[0]]

    def _line(self, name: str) -> tuple[str, ...]:
        unit, scale = UNITS[name]
        values = [run[name] for run in self.runs]
        truths = [value.truth * scale for value in values if value.truth is not None]
        client = f"{_digits(statistics.median(value.client for value in values) * scale)} {unit}".strip()
        judged = self.judged(name)
        middle, low, high = (
            f"{value:.4f}" if truths else _digits(value * scale)
            for value in (statistics.median(judged), min(judged), max(judged))
        )
        bound = self.case.bounds.get(name)
        return (
            self.case.name,
            name,
            f"{_digits(statistics.median(truths))} {unit}" if truths else "–",
            client,
            f"{middle} ({low} to {high})",
            "–" if bound is None else _bound(bound, unit, scale, ratio=bool(truths)),
            self.verdict(name),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.case.name,
            "problem": self.problem,
            "bounds": {name: dataclasses.asdict(bound) for name, bound in self.case.bounds.items()},
            "verdicts": {name: self.verdict(name) for name in self.runs[0]} if self.runs else {},
            "runs": [{name: dataclasses.asdict(v) for name, v in run.items()} for run in self.runs],
        }


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def _bound(bound: Bound, unit: str, scale: float, *, ratio: bool) -> str:
    low, high = bound.at_least, bound.at_most
    assert high is not None
    if ratio and low is not None:
        return f"within {100 * (high - low) / 2:g}%"
    return f"at most {high * scale:g} {unit}".strip()


def _rows(given: argparse.Namespace, folder: Path) -> list[Row]:
    bench = Bench(build(folder), ("--ttft", str(given.ttft), "--gap", str(given.gap)))
    rows = []
    for name, found in cases(given.streams, given.tokens, given.waves).items():
        if name not in given.rows:
            continue
        for case in found:
            if name == "tls":
                measure = _tls_measure(bench, case, folder)
            elif name == "conversations":
                measure = _talks_measure(bench, case)
            else:
                measure = (_closed_measure if name == "closed" else _measure)(bench, case)
            rows.append(Row(case, measure))
            if name == "closed" and case.streams in _PEER_STREAMS:
                rows += [_peer_row(bench, case, peer) for peer in given.peer]
    return rows


def _peer_row(bench: Bench, case: Case, peer: str) -> Row:
    """Another client with the same load; nothing is asked of it."""
    name, _, python = peer.partition("=")

    def measure(_: int) -> Figures:
        with TruthServer(bench.program, *bench.arguments) as server:
            said = PEERS[name](
                python, server.port, streams=case.streams, requests=case.requests, tokens=case.tokens
            )
            log = server.stop()[-case.requests :]
        end = max(served.events[-1] for served in log)
        truth = Truth.of(log, case.per_event, log[0].received, end)
        return {
            TTFT: Value(said.ttft, truth.ttft),
            TPOT: Value(said.tpot, truth.tpot),
            GAP: Value(said.gap, truth.gap),
            THROUGHPUT: Value(said.throughput, truth.throughput),
            COMMAND: Value(said.cpu),
            LATE: Value(truth.late),
        }

    return Row(dataclasses.replace(case, name=f"{case.name}, {name}", bounds={}), measure)


def _measure(bench: Bench, case: Case) -> Callable[[int], Figures]:
    return lambda number: figures(case, *bench.run(case, number))


def _closed_measure(bench: Bench, case: Case) -> Callable[[int], Figures]:
    """With our client and with a bare loop, one after the other, and by turns first."""

    def measure(number: int) -> Figures:
        before = bench.bare_cpu(case) if number % 2 else None
        found = figures(case, *bench.run(case, number))
        bare = bench.bare_cpu(case) if before is None else before
        return {**found, BARE: Value(bare), TIMES_BARE: Value(found[CPU].client / bare)}

    return measure


def _talks_measure(bench: Bench, case: Case) -> Callable[[int], Figures]:
    """With conversations and without, one after the other, and by turns first."""
    plain = dataclasses.replace(case, turns=0, history="recorded")

    def measure(number: int) -> Figures:
        order = (case, plain) if number % 2 else (plain, case)
        found = {one.turns > 0: figures(one, *bench.run(one, number)) for one in order}
        cost = found[True][CPU].client / found[False][CPU].client
        return {**found[True], TIMES_PLAIN: Value(cost)}

    return measure


def _tls_measure(bench: Bench, case: Case, folder: Path) -> Callable[[int], Figures]:
    """With TLS and without, one after the other, and by turns first."""

    def measure(number: int) -> Figures:
        program = folder / "truth_server_tls"
        tls = program if program.exists() else build(folder, tls=True), certificate(folder)
        first, second = (tls, None) if number % 2 else (None, tls)
        found = {one is tls: figures(case, *bench.run(case, number, tls=one)) for one in (first, second)}
        cost = found[True][CPU].client - found[False][CPU].client
        return {**found[True], TLS: Value(cost)}

    return measure


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hold the load client's figures against the server's log.")
    parser.add_argument("--streams", type=int, nargs="+", default=[64, 256, 1024], metavar="N")
    parser.add_argument("--tokens", type=int, default=128, metavar="N", help="of a request")
    parser.add_argument("--waves", type=int, default=4, metavar="N", help="requests of each stream")
    parser.add_argument("--ttft", type=float, default=50.0, metavar="MS")
    parser.add_argument("--gap", type=float, default=10.0, metavar="MS")
    parser.add_argument(
        "--rows", nargs="+", default=list(_ROWS), choices=_ROWS, metavar="NAME", help=str(_ROWS)
    )
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each row; the median is judged")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value here")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help=f"send the same load with another client as well: {', '.join(PEERS)}, and its interpreter",
    )
    given = parser.parse_args(arguments)
    for name, least in (("tokens", 2), ("waves", 1), ("runs", 1)):
        if getattr(given, name) < least:
            parser.error(f"--{name}={getattr(given, name)}: at least {least} is needed")
    if min(given.streams) < 1:
        parser.error(f"--streams={min(given.streams)}: at least 1 is needed")
    for peer in given.peer:
        name, _, python = peer.partition("=")
        if name not in PEERS or not python:
            parser.error(f"--peer={peer}: NAME=PYTHON is wanted, and NAME is one of {', '.join(PEERS)}")
    if given.json is not None and not given.json.resolve().parent.is_dir():
        parser.error(f"--json={given.json}: there is no folder {given.json.resolve().parent}")
    return given


_HEAD = ("load", "figure", "truth", "client", "client / truth, or client (range)", "bound", "verdict")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 1 unless every bound was measured and held."""
    given = _arguments(arguments)
    busy = psutil.cpu_percent(interval=1.0)
    if busy > _BUSY:
        print(f"The machine is busy: {busy:.0f}% of its CPU is used by others.", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        rows = _rows(given, Path(name))
        # A run of every row, then the next of every row: a slow minute is not one row's alone.
        for number in range(given.runs):
            for row in rows:
                print(f"run {number + 1} of {given.runs}: {row.case.name} ...", file=sys.stderr, flush=True)
                row.take(number)
    for row in rows:
        if row.problem is not None:
            print(f"{row.case.name}: {row.problem}", file=sys.stderr)
    print(markdown([_HEAD, *(line for row in rows for line in row.lines())]))
    if given.json is not None:
        document = {
            "version": version("pytest-llmbench"),
            "python": platform.python_version(),
            "busy_before": busy,
            "rows": [row.to_json() for row in rows],
        }
        given.json.write_text(json.dumps(document, indent=1))
    return int(not all(row.held for row in rows if row.case.bounds))


if __name__ == "__main__":
    sys.exit(main())
