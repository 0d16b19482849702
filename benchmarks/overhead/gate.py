"""How often is the gate wrong on a real engine: false alarms on equal sides, misses on a worse one?

``python benchmarks/overhead/gate.py pairs --sessions 12``: llama.cpp on ``tiny``, judged in A/B pairs,
in whole suites, or against stored sessions; on the machine as it is, or with others at work on it.
See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, get_args

import gate_pairs
import gate_shared
import gate_stored
import gate_suite
import psutil
from gate_engine import Work, natural, watching
from machine import Watch
from neighbors import BURSTS, SPIN, Neighbors, parse_kind
from pairs import NotMeasuredError

from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.gate.noise import OnDisturbed
from pytest_llmbench.gate.thresholds import ClockChoice
from pytest_llmbench.results.files import atomic_write

_BUSY = 10.0
_INTERRUPTED = 130
_WORK = Work()
CLOCKS: tuple[str, ...] = get_args(ClockChoice)
DISTURBED: tuple[str, ...] = get_args(OnDisturbed)


class Result(Protocol):
    """One session, or suite, with its verdicts; its text is a line of progress."""

    def to_json(self) -> dict[str, Any]: ...


Results = Generator[Result, None, None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One table."""

    sessions: int
    """How many there are by default, of each row or side."""
    least: int
    """Fewer have no verdict."""
    measure: Callable[[argparse.Namespace, Neighbors], Results]
    """Yields what is measured; the neighbors are entered when nothing needs a quiet machine any more."""
    table: Callable[[Sequence[Any]], str]
    rows: Sequence[str] = ()
    """That can be named; empty where there is no choice."""
    default_rows: Sequence[str] = ()
    clock: Sequence[ClockChoice] = ()
    """By default; empty: pytest's own."""


def _work(given: argparse.Namespace) -> Work:
    return Work(given.rounds, given.tokens, given.threads, given.model, given.quantization)


def _pairs(given: argparse.Namespace, load: Neighbors) -> Results:
    judging = gate_pairs.Judging(given.clock, given.disturbed, given.gate)
    if given.again is not None:
        yield from _again(given.again, given.rows, judging)
        return
    work = _work(given)
    known = natural(work)
    with watching(given.monitor) as monitor, load:
        yield from gate_pairs.measure(given.sessions, given.rows, work, judging, known, monitor)


def _again(kept: Sequence[Mapping[str, Any]], rows: Sequence[str], judging: gate_pairs.Judging) -> Results:
    for session in kept:
        if session["row"] in rows:
            try:
                yield gate_pairs.judge_again(session, judging)
            except gate_pairs.OutOfPairsError as error:
                print(f"{session['sides']} {session['seed']}: left out: {error}", file=sys.stderr)


def _suite(given: argparse.Namespace, load: Neighbors) -> Results:
    with load:
        yield from gate_suite.measure(given.sessions, _pytest_options(given))


def _shared(given: argparse.Namespace, load: Neighbors) -> Results:
    with load:
        yield from gate_shared.measure(given.sessions, given.rows, _pytest_options(given))


def _stored(given: argparse.Namespace, load: Neighbors) -> Results:
    if given.again is not None:
        yield from gate_stored.judge_again(given.again, given.clock)
        return
    work = _work(given)
    known = natural(work)
    with watching(given.monitor) as monitor, load:
        yield from gate_stored.measure(given.sessions, given.interval, work, given.clock, known, monitor)


def _pytest_options(given: argparse.Namespace) -> list[str]:
    """What pytest is told beside what it is told in any case: nothing that is not given."""
    options = [] if given.monitor else ["--llm-monitor-rate=0"]
    options += [f"--llm-clock={clock}" for clock in given.clock]
    return options if given.disturbed is None else [*options, f"--llm-disturbed={given.disturbed}"]


KINDS = {
    "pairs": Kind(
        gate_pairs.SESSIONS,
        1,
        _pairs,
        gate_pairs.table,
        [scenario.key for scenario in gate_pairs.SCENARIOS],
        gate_pairs.ROWS,
        ("wall",),
    ),
    "shared": Kind(gate_shared.SESSIONS, 1, _shared, gate_shared.table, gate_shared.ROWS, gate_shared.ROWS),
    "suite": Kind(gate_suite.SUITES, 1, _suite, gate_suite.table),
    "stored": Kind(
        gate_stored.SESSIONS, gate_stored.BASELINE + 1, _stored, gate_stored.table, clock=("wall",)
    ),
}
_ENGINE = ("pairs", "stored")
"""Kinds that ask the engine themselves, and not through pytest."""
_OWNERS = {
    "rows": ("pairs", "shared"),
    "interval": ("stored",),
    "gate": ("pairs",),
    "again": _ENGINE,
    "disturbed": ("pairs", "shared", "suite"),
    "rounds": _ENGINE,
    "tokens": _ENGINE,
    "threads": _ENGINE,
    "model": _ENGINE,
    "quantization": _ENGINE,
}
"""Options that are not for every kind."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure how often the gate is wrong on a real engine.")
    parser.add_argument(
        "kind", nargs="?", default="pairs", metavar="KIND", help=f"which table: {', '.join(KINDS)} (pairs)"
    )
    parser.add_argument(
        "--sessions", type=int, metavar="N", help="sessions of each row or side; of suite, suites"
    )
    rows = "; ".join(f"{name}: {', '.join(kind.rows)}" for name, kind in KINDS.items() if kind.rows)
    parser.add_argument("--rows", nargs="+", metavar="ROW", help=f"measure these only ({rows})")
    parser.add_argument(
        "--clock",
        nargs="+",
        metavar="CLOCK",
        help=f"who judges: {', '.join(CLOCKS)} (pairs and stored: wall, others: pytest's own); several "
        "judge the same pairs or sessions",
    )
    parser.add_argument(
        "--disturbed", metavar="WHAT", help=f"what becomes of disturbed pairs: {', '.join(DISTURBED)} (auto)"
    )
    parser.add_argument(
        "--gate", nargs="+", metavar="METRIC", help=f"of pairs, what gates ({' '.join(gate_pairs.GATES)})"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"of a process ({_WORK.rounds})")
    parser.add_argument("--tokens", type=int, metavar="N", help=f"new ones of a round ({_WORK.tokens})")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="of the engine (its own choice; 1 if the cpu clock judges)"
    )
    parser.add_argument("--model", metavar="NAME", help=f"that the engine runs ({_WORK.model})")
    parser.add_argument("--quantization", metavar="NAME", help=f"of the model ({_WORK.quantization})")
    parser.add_argument(
        "--interval",
        type=float,
        metavar="SECONDS",
        help="of stored, from the start of one session to that of the next (0: at once)",
    )
    parser.add_argument("--load", type=int, default=0, metavar="N", help="so many others work meanwhile (0)")
    parser.add_argument(
        "--load-kind",
        metavar="KIND",
        help=f"what each of them does: {BURSTS} and pauses, {SPIN} all the time, or a share of a core such "
        f"as 0.5 ({BURSTS})",
    )
    parser.add_argument("--no-monitor", dest="monitor", action="store_false", help="nothing is dropped")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every verdict here")
    parser.add_argument(
        "--again",
        type=Path,
        metavar="FILE",
        help="of pairs and stored, measure nothing: judge again what an earlier --json kept",
    )
    return parser


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.kind not in KINDS:
        parser.error(f"there is no kind {given.kind!r}; there are: {', '.join(KINDS)}")
    kind = KINDS[given.kind]
    for option, owners in _OWNERS.items():
        if getattr(given, option) is not None and given.kind not in owners:
            parser.error(f"--{option} is for {' and '.join(owners)}, not for {given.kind}")
    given.interval = 0.0 if given.interval is None else given.interval
    given.rows = kind.default_rows if given.rows is None else given.rows
    _known(parser, "row", given.rows, kind.rows)
    given.clock = list(kind.clock) if given.clock is None else list(dict.fromkeys(given.clock))
    _known(parser, "clock", given.clock, CLOCKS)
    if len(given.clock) > 1 and given.kind not in _ENGINE:
        parser.error(f"--clock={' '.join(given.clock)}: only one can judge {given.kind}")
    if given.kind == "pairs":
        given.disturbed = given.disturbed or "auto"
        given.gate = gate_pairs.GATES if given.gate is None else tuple(given.gate)
        _known(parser, "metric that can be judged in pairs", given.gate, gate_pairs.judged_in_pairs())
    if given.disturbed is not None:
        _known(parser, "way", [given.disturbed], DISTURBED)
    given.rounds = _WORK.rounds if given.rounds is None else given.rounds
    given.tokens = _WORK.tokens if given.tokens is None else given.tokens
    given.model = given.model or _WORK.model
    given.quantization = given.quantization or _WORK.quantization
    if given.threads is None and "cpu" in given.clock and given.kind in _ENGINE:
        # As the plugin does where the CPU's clock judges.
        given.threads = 1
    given.sessions = kind.sessions if given.sessions is None else given.sessions
    if given.sessions < kind.least:
        why = f" for {given.kind}: the first ones are the baseline" if kind.least > 1 else ""
        parser.error(f"--sessions={given.sessions}: at least {kind.least} {_are(kind.least)} needed{why}")
    # With one token there is no time per output token.
    for option, least in (("rounds", 1), ("tokens", 2), ("threads", 1)):
        if (value := getattr(given, option)) is not None and value < least:
            parser.error(f"--{option}={value}: at least {least} {_are(least)} needed")
    if given.load < 0:
        parser.error(f"--load={given.load}: it is a number of processes, 0 or more")
    if given.load_kind is not None and not given.load:
        parser.error("--load-kind says what the processes of --load do; give their number too: --load 2")
    try:
        given.load_kind = parse_kind(given.load_kind or BURSTS)
    except ValueError as error:
        parser.error(f"--load-kind: {error}")
    if not 0 <= given.interval < float("inf"):
        parser.error(f"--interval={given.interval:g}: it is a number of seconds, 0 or more")
    if given.json is not None and (given.json.is_dir() or not given.json.resolve().parent.is_dir()):
        what = "is a folder" if given.json.is_dir() else f"there is no folder {given.json.resolve().parent}"
        parser.error(f"--json={given.json}: {what}")
    if given.again is not None:
        try:
            given.again = _kept(given.again, given.kind)
        except ValueError as error:
            parser.error(f"--again={given.again}: {error}")
    return given


def _known(parser: argparse.ArgumentParser, what: str, named: Sequence[str], known: Sequence[str]) -> None:
    """End with what there is, for what there is not."""
    for name in named:
        if name not in known:
            parser.error(f"there is no {what} {name!r}; there are: {', '.join(known)}")


def _kept(file: Path, kind: str) -> list[dict[str, Any]]:
    """The sessions of a file that was written for that kind.

    :raises ValueError: if it is not one.
    """
    try:
        told = json.loads(file.read_text())
        of, sessions = told["kind"], list(told["results"])
    except OSError as error:
        raise ValueError(error.strerror) from None
    except (ValueError, KeyError, TypeError):
        msg = "it is not a file that --json wrote"
        raise ValueError(msg) from None
    if of != kind:
        msg = f"it is of {of}, not of {kind}"
        raise ValueError(msg)
    return sessions


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0, or 1 if it did not come to its end."""
    given = _arguments(arguments)
    kind = KINDS[given.kind]
    busy = psutil.cpu_percent(interval=1.0)
    if busy > _BUSY:
        print(f"The machine is busy: {busy:.0f}% of its CPU is used by others.", file=sys.stderr)
    neighbors = Neighbors(given.load, given.load_kind)
    began, status, cores, watch = time.monotonic(), 0, 0.0, Watch()
    results: list[Result] = []

    def keep() -> None:
        if given.json is not None:
            facts = {
                "kind": given.kind,
                "version": version("pytest-llmbench"),
                "python": platform.python_version(),
                "rows": list(given.rows),
                "clock": given.clock,
                "disturbed": given.disturbed,
                "rounds": given.rounds,
                "tokens": given.tokens,
                "threads": given.threads,
                "model": given.model,
                "quantization": given.quantization,
                "load": given.load,
                "load_kind": given.load_kind,
                "cores_of_load": cores,
                "monitor": given.monitor,
                "busy_before": busy,
                "minutes": (time.monotonic() - began) / 60,
                "machine": watch.seen().to_json(),
                "results": [result.to_json() for result in results],
            }
            atomic_write(given.json, (json.dumps(facts, indent=1) + "\n").encode())

    # Whoever ends us by a signal ends the session that runs as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with closing(kind.measure(given, neighbors)) as measured:
            for result in measured:
                results.append(result)
                cores = neighbors.cores
                print(result, file=sys.stderr, flush=True)
                # Each one at once: a run of hours that is ended loses nothing.
                keep()
    except (LLMBenchError, NotMeasuredError) as error:
        print(f"{given.kind} ended early: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = _INTERRUPTED
    print(kind.table(results))
    load = f", with {given.load} others ({given.load_kind})" if given.load else ""
    load += f" that took {cores:.1f} cores" if load and results else ""
    watched = "" if given.monitor else ", without the monitor"
    seen = watch.seen()
    stolen = "steal not known" if seen.steal is None else f"steal {seen.steal:.1%}"
    print(f"\n{seen.seconds / 60:.1f} minutes on {_machine()}, {stolen}{load}{watched}")
    return status


def _machine() -> str:
    count = psutil.cpu_count() or 0
    return f"{count} logical core{'' if count == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
