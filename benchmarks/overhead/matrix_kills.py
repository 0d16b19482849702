"""Is every cell measured once, whatever is killed meanwhile?

``python matrix_kills.py --cells 300 --kills 30`` starts a Ray head and three nodes here, has ``llmbench
matrix run`` measure a matrix of *tiny* on them, and kills in turn a worker in the middle of an attempt, a
node, the driver, and the head; what was killed is started again, the same command too. At the end it counts.
Nodes run on the CPUs of this machine in turn, and a CPU has one attempt at a time: three nodes on two CPUs
wait for each other.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml
from ray_nodes import RayNodes

from pytest_llmbench.matrix.executor import End
from pytest_llmbench.matrix.exits import Exit
from pytest_llmbench.matrix.journal import Ended, Start, read_parts
from pytest_llmbench.matrix.state import measured_cell
from pytest_llmbench.matrix.summary import matrix_folder
from pytest_llmbench.results.store import Store

KINDS = ("worker", "node", "driver", "head")
NODES = 3
_NAME = "kills"
_LOOK = 0.1
_STUCK = 300.0
"""Seconds without a further result, after which it is given up."""
_GONE_WITHIN = 60.0


@dataclass(slots=True)
class Report:
    """What came of it."""

    cells: int
    kills: Counter[str] = field(default_factory=Counter)
    starts_of_driver: int = 0
    exits: Counter[int] = field(default_factory=Counter)
    """With what drivers ended that were not killed."""
    stored: int = 0
    """Cells that have exactly one document."""
    twice: list[str] = field(default_factory=list)
    """Cells that have more."""
    attempts: int = 0
    ended: Counter[End] = field(default_factory=Counter)
    cut_off: int = 0
    """Attempts without an end: their driver was killed."""
    left: list[str] = field(default_factory=list)
    """Processes that are still there."""
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        """Whether every cell has one result, and no attempt was made beyond those that were cut off."""
        again = self.attempts - self.cells
        lost = self.cut_off + sum(self.ended.values()) - self.ended["measured"]
        return self.stored == self.cells and not self.twice and not self.left and again == lost

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.cells} cells, {sum(self.kills.values())} kills ({_counts(self.kills)}), "
                f"{self.starts_of_driver} starts of the driver, {self.seconds:.0f} s",
                f"exactly one result: {self.stored}; more than one: {len(self.twice)}",
                f"attempts: {self.attempts}; ended: {_counts(self.ended)}; cut off with their driver: "
                f"{self.cut_off}",
                f"exit statuses of drivers that were not killed: {_counts(self.exits)}",
                f"processes that are left: {len(self.left)} {' | '.join(self.left[:5])}",
                "held" if self.held else "MISSED",
            ]
        )


def _counts(counter: Counter[str] | Counter[End] | Counter[int]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in sorted(counter.items())) or "none"


class Stage:
    """The cluster, the driver, and whatever they have started."""

    def __init__(self, folder: Path, cells: int, seed: int, report: Report) -> None:
        self._folder = folder
        self._store = Store(folder / "store")
        self._matrix = folder / f"{_NAME}.yaml"
        self._matrix.write_text(yaml.safe_dump(_matrix(cells)))
        self._random = random.Random(seed)
        self._report = report
        self._cpus = sorted(os.sched_getaffinity(0))
        self._seen: dict[tuple[int, float], psutil.Process] = {}
        self._places: dict[int, int] = {}
        """The CPU of each node that is there, by its number."""
        self.nodes = self._start_cluster()
        self.driver = self._start_driver()

    def kill(self, kind: str) -> bool:
        """Kill one, and start what takes its place; False if there is none just now."""
        self._remember()
        done = {
            "worker": self._kill_worker,
            "node": self._kill_node,
            "driver": self._kill_driver,
            "head": self._kill_head,
        }[kind]()
        if done:
            self._report.kills[kind] += 1
        return done

    def results(self) -> int:
        """How many documents there are."""
        with suppress(FileNotFoundError):
            return sum(path.suffix == ".json" for path in self._store.results.iterdir())
        return 0

    def go_on(self) -> bool:
        """Start the driver again where it has ended; False if that was the end."""
        status = self.driver.poll()
        if status is None:
            return True
        self._report.exits[status] += 1
        if status != Exit.AGAIN:
            return False
        self.driver = self._start_driver()
        return True

    def close(self) -> None:
        """End all, and wait for it."""
        self._remember()
        self.driver.kill()
        self.driver.wait()
        self.nodes.close()
        end = time.monotonic() + _GONE_WITHIN
        while (left := self._alive()) and time.monotonic() < end:
            time.sleep(_LOOK)
        self._report.left = [_described(one) for one in left]

    def count(self) -> None:
        """Count what is in the store, and in the journal."""
        report = self._report
        found = Counter(
            cell.id
            for path in self._store.results.glob("*.json")
            if (cell := measured_cell(path)) is not None
        )
        report.stored = sum(count == 1 for count in found.values())
        report.twice = [cell for cell, count in found.items() if count > 1]
        open_starts: set[str] = set()
        for event in (one for part in read_parts(matrix_folder(self._store, _NAME)) for one in part.events):
            match event:
                case Start():
                    report.attempts += 1
                    open_starts.add(event.session)
                case Ended():
                    report.ended[event.end] += 1
                    open_starts.discard(event.session)
                case _:
                    pass
        report.cut_off = len(open_starts)

    # --- What is killed -----------------------------------------------------------------------------

    def _kill_worker(self) -> bool:
        attempts = self._attempts()
        if not attempts:
            return False
        worker = self._random.choice(attempts).parent()
        if worker is None:
            return False
        worker.kill()
        return True

    def _kill_node(self) -> bool:
        if not self._attempts():
            return False
        number = self._random.choice(sorted(self._places))
        if self._random.random() < 0.5:
            # As the notice of a spot market does.
            self.nodes.drain(number)
        self.nodes.kill(number)
        self._add_node(self._places.pop(number))
        return True

    def _kill_driver(self) -> bool:
        if not self._attempts():
            return False
        self.driver.kill()
        self.driver.wait()
        self.driver = self._start_driver()
        return True

    def _kill_head(self) -> bool:
        if not self._attempts():
            return False
        self.nodes.kill_head()
        self.driver.wait(_STUCK)
        self._report.exits[self.driver.returncode] += 1
        self._remember()
        self.nodes.close()
        self.nodes = self._start_cluster()
        self.driver = self._start_driver()
        return True

    # --- What is started ----------------------------------------------------------------------------

    def _start_cluster(self) -> RayNodes:
        path = os.pathsep.join(filter(None, [str(_package()), os.environ.get("PYTHONPATH")]))
        self.nodes = RayNodes(environment={**os.environ, "PYTHONPATH": path})
        self._places.clear()
        for place in range(NODES):
            self._add_node(self._cpus[place % len(self._cpus)])
        return self.nodes

    def _add_node(self, cpu: int) -> None:
        self._places[self.nodes.add({"cpu": 1}, cpus={cpu})] = cpu

    def _start_driver(self) -> subprocess.Popen[bytes]:
        self._report.starts_of_driver += 1
        command = [sys.executable, "-m", "pytest_llmbench", "matrix", "run", str(self._matrix)]
        command += ["--on", self.nodes.address, "--store", str(self._store.path)]
        with (self._folder / "driver.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env={**os.environ, **self.nodes.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    # --- What is there ------------------------------------------------------------------------------

    def _below(self) -> Iterator[psutil.Process]:
        for pid in (self.nodes.pid, self.driver.pid):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                yield process
                yield from process.children(recursive=True)

    def _attempts(self) -> list[psutil.Process]:
        """Those that measure just now."""
        found = []
        for process in self._below():
            with suppress(psutil.NoSuchProcess):
                if f"{_NAME}.llm.yaml" in " ".join(process.cmdline()):
                    parent = process.parent()
                    if parent is not None and parent.name().startswith("ray::"):
                        found.append(process)
        return found

    def _remember(self) -> None:
        for process in self._below():
            with suppress(psutil.NoSuchProcess):
                self._seen[process.pid, process.create_time()] = process

    def _alive(self) -> list[psutil.Process]:
        found = []
        for process in self._seen.values():
            with suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def _matrix(cells: int) -> dict[str, object]:
    cases = [
        {"name": f"case-{number}", "prompt": f"What is benchmark number {number}?"} for number in range(cells)
    ]
    return {
        "version": 1,
        "matrix": {"hardware": {"cpu": 1}, "models": ["tiny"], "backends": ["llamacpp"], "order": "written"},
        "defaults": {"rounds": 1, "processes": 1, "max_new_tokens": 4},
        "cases": cases,
    }


def _package() -> Path:
    import pytest_llmbench

    return Path(pytest_llmbench.__file__).parents[1]


def _described(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return f"{process.pid} {' '.join(process.cmdline())[:100]}"
    return str(process.pid)


def _say(line: str) -> None:
    print(line, flush=True)


def run(
    folder: Path,
    *,
    cells: int,
    kills: int,
    seed: int = 0,
    kinds: Sequence[str] = KINDS,
    say: Callable[[str], None] = _say,
) -> Report:
    """The whole of it, with its files in *folder*."""
    report = Report(cells)
    began = time.monotonic()
    stage = Stage(folder, cells, seed, report)
    drawn = random.Random(seed)
    # Each kind as often, at places of the run that are drawn.
    order = [kinds[number % len(kinds)] for number in range(kills)]
    places = sorted(drawn.sample(range(cells), kills) if kills <= cells else [])
    try:
        before, since = -1, time.monotonic()
        while True:
            results = stage.results()
            if results != before:
                before, since = results, time.monotonic()
            if time.monotonic() - since > _STUCK:
                say(f"nothing was measured for {_STUCK:.0f} s")
                break
            if order and results >= places[0] and stage.kill(order[0]):
                say(f"{time.monotonic() - began:5.0f} s: {results} results, killed a {order[0]}")
                del order[0], places[0]
                since = time.monotonic()
            if not stage.go_on():
                break
            time.sleep(_LOOK)
    finally:
        stage.close()
        stage.count()
        report.seconds = time.monotonic() - began
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, do it, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where its files are kept")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        report = run(folder, cells=given.cells, kills=given.kills, seed=given.seed)
    print(report)
    sys.exit(0 if report.held else 1)


if __name__ == "__main__":
    main()
