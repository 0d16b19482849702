"""How are samples taken without disturbing, or being starved by, what is measured?

``python -m pytest_llmbench.hardware.sampler RATE [PID ...]`` is a process of its own: a thread
starves while an engine holds the interpreter's lock. It reads its probes RATE times a second and
keeps what it read until it is asked. PIDs are further processes of ours, beside its parent.

Commands come on standard input and answers go to standard output, one line of JSON each:

- ``{"do": "follow", "pid": N}`` and ``{"do": "unfollow", "pid": N}``;
- ``{"do": "begin"}``: a new test, the records of memory start anew;
- ``{"do": "edge"}``: read the counters right now;
- ``{"do": "stop"}``, or the end of standard input, which the death of the parent brings about.

Each is answered with all samples since the last answer. It runs at normal priority: nice would
delay its samples just when the machine is busy, which is when they matter.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import BinaryIO

from pytest_llmbench.hardware.cpu import CpuFrequency, CpuTemperature, CpuThrottling, CpuTime
from pytest_llmbench.hardware.memory import Memory, Pressure
from pytest_llmbench.hardware.nvml import GpuEnergy, GpuPcie, GpuProcesses, GpuState, Nvml
from pytest_llmbench.hardware.probes import STOPPED, Probe, why
from pytest_llmbench.hardware.processes import ProcessTrees, process_reader
from pytest_llmbench.hardware.rapl import Rapl
from pytest_llmbench.hardware.raspberry import RaspberryThrottling

MAX_SAMPLES = 36_000
"""Samples that are kept, an hour at 10 Hz, some 25 MB here; older ones go, and are counted."""
ENTRY_POINTS = "pytest_llmbench.probes"


def make_probes(trees: ProcessTrees) -> tuple[list[Probe], dict[str, str]]:
    """All probes, energy first, so that an edge's time stamp is nearest to the energy counters.

    The second value is reasons for third parties' probes that could not be made.
    """
    nvml = Nvml()
    probes: list[Probe] = [GpuEnergy(nvml), Rapl(), CpuTime(), trees, Pressure(), Memory()]
    probes += [CpuFrequency(), CpuTemperature(), CpuThrottling(), RaspberryThrottling()]
    if nvml.gpus:
        probes += [GpuState(nvml), GpuProcesses(nvml, trees), GpuPcie(nvml)]
    reasons: dict[str, str] = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            probes.append(entry.load()())
        except Exception as error:  # noqa: BLE001 - whatever a third party raises must not end the sampler
            reasons[entry.name] = why(error)
    return probes, reasons


class Sampler:
    """Reads the probes beat by beat, and answers."""

    def __init__(
        self, trees: ProcessTrees, probes: Sequence[Probe], rate: float, reasons: Mapping[str, str]
    ) -> None:
        self._trees = trees
        self._reasons = dict(reasons)
        self._interval = 1.0 / rate
        self._probes: list[tuple[Probe, int]] = []
        """Each with the number of beats from one of its readings to the next."""
        self._samples: deque[str] = deque(maxlen=MAX_SAMPLES)
        self._dropped = 0
        self._missed = 0
        self._news = True
        for probe in probes:
            try:
                self._reasons.update(probe.start())
            except Exception as error:  # noqa: BLE001 - see make_probes
                self._reasons[probe.name] = why(error)
            else:
                self._probes.append((probe, max(1, round(probe.every / self._interval))))

    def run(self, commands: queue.Queue[bytes | None], answers: BinaryIO) -> None:
        """Sample until there are no more commands.

        A beat is due at a multiple of the interval from the start, so that delays do not add up;
        beats that are past when their turn comes are left out and counted.
        """
        parent = os.getppid()
        begin = time.perf_counter()
        beat = 0
        while True:
            wait = begin + beat * self._interval - time.perf_counter()
            try:
                command = commands.get(timeout=max(0.0, wait)) if wait > 0 else commands.get_nowait()
            except queue.Empty:
                self._sample(beat)
                late = int((time.perf_counter() - begin) / self._interval)
                self._missed += max(0, late - beat)
                beat = max(beat, late) + 1
                # The pipe stays open where another child of the parent inherited its end.
                if os.getppid() != parent:
                    return
                continue
            if command is None or not self._obey(json.loads(command), answers):
                return

    def _obey(self, command: Mapping[str, object], answers: BinaryIO) -> bool:
        do, pid = command["do"], command.get("pid")
        if do == "stop":
            return False
        if isinstance(pid, int):
            {"follow": self._trees.follow, "unfollow": self._trees.unfollow}[str(do)](pid)
        if do == "begin":
            self._trees.begin()
        self._sample(None)
        answers.write(self._answer())
        answers.flush()
        return True

    def _sample(self, beat: int | None) -> None:
        """Read what is due at *beat*, or at an edge (None)."""
        sample: dict[str, float] = {"t": time.perf_counter_ns()}
        if beat is None:
            sample["edge"] = True
        for at, (probe, beats) in enumerate(self._probes):
            # Slow probes take different beats, so that no beat is a long one.
            if probe.at_edges if beat is None else beats == 1 or beat == 0 or (beat + at) % beats == 0:
                try:
                    sample.update(probe.sample())
                except Exception as error:  # noqa: BLE001 - one source must not end the others
                    self._reasons[probe.name] = f"{STOPPED}: {why(error)}"
                    self._probes = [pair for pair in self._probes if pair[0] is not probe]
                    self._news = True
        self._dropped += len(self._samples) == MAX_SAMPLES
        self._samples.append(json.dumps(sample, separators=(",", ":")))

    def _answer(self) -> bytes:
        facts: dict[str, object] = {
            "cpu": time.process_time(),
            "missed": self._missed,
            "dropped": self._dropped,
            "trees": {pid: asdict(record) for pid, record in self._trees.records.items()},
        }
        if self._news:
            facts["unavailable"] = self._reasons
            facts["methods"] = {k: v for probe, _ in self._probes for k, v in probe.methods.items()}
            facts["cores"] = _cores()
            self._news = False
        samples = ",".join(self._samples)
        self._samples.clear()
        return f'{{"facts":{json.dumps(facts)},"samples":[{samples}]}}\n'.encode()


def _cores() -> list[int]:
    """The cores that this process may run on; pytest and its engines inherit the same."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _listen(commands: queue.Queue[bytes | None]) -> None:
    for line in iter(sys.stdin.buffer.readline, b""):
        commands.put(line)
    commands.put(None)


def main(rate: float, own: Iterable[int]) -> None:
    """The process's whole life."""
    # Ctrl-C is for pytest; what it does then closes our standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A library that prints must not break into the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    commands: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()
    trees = ProcessTrees(process_reader(), alone=(os.getppid(), os.getpid()))
    for pid in own:
        trees.own(pid)
    probes, reasons = make_probes(trees)
    with suppress(BrokenPipeError):
        Sampler(trees, probes, rate, reasons).run(commands, answers)
    # The listener sits in a read that only the parent's end can finish: leave it where it is.
    os._exit(0)


if __name__ == "__main__":
    main(float(sys.argv[1]), [int(pid) for pid in sys.argv[2:]])
