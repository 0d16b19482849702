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
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import gate_pairs
import gate_stored
import gate_suite
import psutil
from gate_engine import natural, watching
from neighbors import Neighbors
from pairs import NotMeasuredError

from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.results.files import atomic_write

_BUSY = 10.0
_INTERRUPTED = 130


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


def _pairs(given: argparse.Namespace, load: Neighbors) -> Results:
    known = natural()
    with watching(given.monitor) as monitor, load:
        yield from gate_pairs.measure(given.sessions, given.rows, known, monitor)


def _suite(given: argparse.Namespace, load: Neighbors) -> Results:
    with load:
        yield from gate_suite.measure(given.sessions, monitored=given.monitor)


def _stored(given: argparse.Namespace, load: Neighbors) -> Results:
    known = natural()
    with watching(given.monitor) as monitor, load:
        yield from gate_stored.measure(given.sessions, given.interval, known, monitor)


KINDS = {
    "pairs": Kind(gate_pairs.SESSIONS, 1, _pairs, gate_pairs.table),
    "suite": Kind(gate_suite.SUITES, 1, _suite, gate_suite.table),
    "stored": Kind(gate_stored.SESSIONS, gate_stored.BASELINE + 1, _stored, gate_stored.table),
}


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    rows = [scenario.key for scenario in gate_pairs.SCENARIOS]
    parser = argparse.ArgumentParser(description="Measure how often the gate is wrong on a real engine.")
    parser.add_argument(
        "kind", nargs="?", default="pairs", metavar="KIND", help=f"which table: {', '.join(KINDS)} (pairs)"
    )
    parser.add_argument(
        "--sessions", type=int, metavar="N", help="sessions of each row or side; of suite, suites"
    )
    parser.add_argument(
        "--rows", nargs="+", metavar="ROW", help=f"of pairs, measure these only: {', '.join(rows)}"
    )
    parser.add_argument(
        "--interval",
        type=float,
        metavar="SECONDS",
        help="of stored, from the start of one session to that of the next (0: at once)",
    )
    parser.add_argument("--load", type=int, default=0, metavar="N", help="so many others work meanwhile (0)")
    parser.add_argument("--no-monitor", dest="monitor", action="store_false", help="nothing is dropped")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every verdict here")
    given = parser.parse_args(arguments)
    if given.kind not in KINDS:
        parser.error(f"there is no kind {given.kind!r}; there are: {', '.join(KINDS)}")
    for option, owner in (("rows", "pairs"), ("interval", "stored")):
        if getattr(given, option) is not None and given.kind != owner:
            parser.error(f"--{option} is for {owner}, not for {given.kind}")
    given.rows = rows if given.rows is None else given.rows
    given.interval = 0.0 if given.interval is None else given.interval
    for row in given.rows:
        if row not in rows:
            parser.error(f"there is no row {row!r}; there are: {', '.join(rows)}")
    kind = KINDS[given.kind]
    given.sessions = kind.sessions if given.sessions is None else given.sessions
    if given.sessions < kind.least:
        why = f" for {given.kind}: the first ones are the baseline" if kind.least > 1 else ""
        parser.error(f"--sessions={given.sessions}: at least {kind.least} {_are(kind.least)} needed{why}")
    if given.load < 0:
        parser.error(f"--load={given.load}: it is a number of processes, 0 or more")
    if not 0 <= given.interval < float("inf"):
        parser.error(f"--interval={given.interval:g}: it is a number of seconds, 0 or more")
    if given.json is not None and (given.json.is_dir() or not given.json.resolve().parent.is_dir()):
        what = "is a folder" if given.json.is_dir() else f"there is no folder {given.json.resolve().parent}"
        parser.error(f"--json={given.json}: {what}")
    return given


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0, or 1 if it did not come to its end."""
    given = _arguments(arguments)
    kind = KINDS[given.kind]
    busy = psutil.cpu_percent(interval=1.0)
    if busy > _BUSY:
        print(f"The machine is busy: {busy:.0f}% of its CPU is used by others.", file=sys.stderr)
    neighbors = Neighbors(given.load)
    began, status, cores = time.monotonic(), 0, 0.0
    results: list[Result] = []

    def keep() -> None:
        if given.json is not None:
            facts = {
                "kind": given.kind,
                "version": version("pytest-llmbench"),
                "python": platform.python_version(),
                "load": given.load,
                "cores_of_load": cores,
                "monitor": given.monitor,
                "busy_before": busy,
                "minutes": (time.monotonic() - began) / 60,
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
    load = f", with {given.load} others" if given.load else ""
    load += f" that took {cores:.1f} cores" if load and results else ""
    watched = "" if given.monitor else ", without the monitor"
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes on {_machine()}{load}{watched}")
    return status


def _machine() -> str:
    count = psutil.cpu_count() or 0
    return f"{count} logical core{'' if count == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
