"""How does a test, or the plugin, ask what the machine did?

:class:`HardwareMonitor` is this process's end of the sampler process. It talks to it at edges
alone; between two edges this process does nothing for it.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from pytest_llmbench.hardware.disturbance import BOUNDS, assess, gap
from pytest_llmbench.hardware.facts import Assessment, Energy, HardwareSummary
from pytest_llmbench.hardware.nvml import event_reasons
from pytest_llmbench.hardware.probes import STOPPED
from pytest_llmbench.hardware.raspberry import reasons_between
from pytest_llmbench.hardware.series import (
    NANO,
    NEAR,
    Sample,
    bits_over,
    energy_over,
    is_bits,
    rows,
    span,
)
from pytest_llmbench.processes.guard import GUARD

if TYPE_CHECKING:
    import pandas as pd

MAX_SAMPLES = 36_000
"""Samples of one test that are kept: an hour at 10 Hz, 60 MB or so. The oldest tenth goes first."""
MAX_GAP = 3.0
"""Seconds, or beats where those are longer, without a sample: what came and went meanwhile is not known."""
ANSWER_WITHIN = 20.0
"""Seconds; starting NVML takes some on a machine with many GPUs."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A moment at which the counters were read."""

    time_ns: int
    """``time.perf_counter_ns``."""
    energy: Mapping[str, float]
    """Domain (``gpu0``, ``package0``) to joules of its counter, which began at any time."""


@dataclass(slots=True)
class Window:
    """A named part of a test."""

    name: str
    start_ns: int
    end_ns: int | None = None
    summary: HardwareSummary | None = None
    """None until the window is left."""


class HardwareMonitor:
    """Watches the machine from a process of its own; what user tests know as ``hw_monitor``.

    Never raises for what it cannot read or for a sampler that died: ``unavailable`` says why.

    :param rate: samples a second; :param own_pids: processes whose CPU time, with that of all
        below them, is not the load of others.
    """

    def __init__(self, rate: float = 10.0, *, own_pids: Iterable[int] = ()) -> None:
        if not rate > 0:
            msg = f"the hardware monitor's rate is {rate} samples a second: it has to be above 0"
            raise ValueError(msg)
        self.rate = rate
        self.windows: dict[str, Window] = {}
        """The windows of this test by name; the last of a name that was used twice."""
        self._own = tuple(own_pids)
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._lock = threading.RLock()
        self._samples: list[Sample] = []
        self._began = time.perf_counter_ns()
        self._let_go = False
        """Whether samples of this test were dropped, here or by the sampler."""
        self._records: dict[int, dict[str, int]] = {}
        self._ended: dict[int, dict[str, int]] = {}
        self._unavailable: dict[str, str] = {}
        self._methods: dict[str, str] = {}
        self._cores: list[int] = []
        self._facts: dict[str, Any] = {}
        self._peaks: dict[str, float] = {}
        self._vram_before: float | None = None

    # -- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the sampler process; does not wait for it. Nothing happens if it runs."""
        if self._process is not None:
            return
        # -P: a file of the user's folder must not pass for a module of the standard library.
        command = [sys.executable, "-P", "-m", "pytest_llmbench.hardware.sampler", str(self.rate)]
        try:
            self._process = subprocess.Popen(
                [*command, *map(str, self._own)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Out of the terminal's process group: Ctrl-C is not for the sampler.
                start_new_session=sys.platform != "win32",
            )
        except OSError as error:
            self._unavailable["sampler"] = f"the sampler process does not start: {error}"
            return
        GUARD.watch(self._process.pid)
        self._unavailable.pop("sampler", None)
        assert self._process.stdout is not None
        self._answers = queue.Queue()
        threading.Thread(
            target=_read, args=(self._process.stdout, self._answers), name="llmbench-hardware", daemon=True
        ).start()

    def stop(self) -> None:
        """End the sampler process. What was sampled stays. Nothing happens if none runs."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
            try:
                process.wait(timeout=2.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            GUARD.release(process.pid)

    def __enter__(self) -> HardwareMonitor:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def begin(self) -> None:
        """A new test starts: windows, samples and peaks start anew; the sampler goes on."""
        self._ask("begin")
        # The last sample stays: it has the counters from which the new test's rates grow.
        self._samples = self._samples[-1:]
        self._began = time.perf_counter_ns()
        self._let_go = False
        self._peaks.clear()
        self._ended.clear()
        self.windows = {}

    # -- what to watch -----------------------------------------------------------------------

    def follow(self, pid: int) -> None:
        """Count the process *pid* and all below it as the engine's."""
        self._ask("follow", pid)

    def unfollow(self, pid: int) -> None:
        """Do not count *pid* any more; its peaks up to now stay."""
        self._ask("edge")
        if pid in self._records:
            self._ended[pid] = self._records[pid]
        self._ask("unfollow", pid)

    # -- what was seen -----------------------------------------------------------------------

    def edge(self) -> Edge:
        """Read the counters now, in one round trip to the sampler."""
        self._ask("edge")
        sample = self._samples[-1] if self._alive() and self._samples else {"t": time.perf_counter_ns()}
        energy = {k.removesuffix("_energy"): v for k, v in sample.items() if k.endswith("_energy")}
        return Edge(sample["t"], energy)

    @contextmanager
    def window(self, name: str) -> Iterator[Window]:
        """Watch a part of a test: ``with hw_monitor.window("prefill") as w: ...``, then ``w.summary``."""
        window = Window(name, self.edge().time_ns)
        try:
            yield window
        finally:
            window.end_ns = self.edge().time_ns
            window.summary = self.summary(window.start_ns, window.end_ns)
            self.windows[name] = window

    def summary(self, start_ns: int, end_ns: int) -> HardwareSummary:
        """What happened between two times of ``time.perf_counter_ns``."""
        samples, beats = self._between(start_ns, end_ns)
        peak_rss, peak_vram, methods = self._memory(samples)
        return HardwareSummary(
            duration=(end_ns - start_ns) * NANO,
            samples=sum(start_ns <= row["t"] <= end_ns for row in beats),
            rate=self.rate,
            values=_values(beats),
            held_back=_held_back(samples),
            energy=self._energy(start_ns, end_ns),
            peak_rss=peak_rss,
            peak_vram=peak_vram,
            disturbance=self._assess(start_ns, end_ns),
            unavailable=self.unavailable,
            methods={**self._methods, **methods},
            sampler_cpu=self._facts.get("cpu"),
            missed_beats=self._facts.get("missed"),
        )

    def energy(self, start: Edge, end: Edge) -> Energy:
        """Energy between two edges, by what is known of it until now; see :func:`.series.energy_over`."""
        return self._energy(start.time_ns, end.time_ns)

    def disturbance(self, start_ns: int, end_ns: int) -> tuple[str, ...] | None:
        """Reason codes of what spoiled the span (:data:`.disturbance.BOUNDS`); empty if nothing did.

        None where that cannot be said, because the span was not watched: :meth:`unwatched` has the reason.
        """
        return self._assess(start_ns, end_ns).codes

    def unwatched(self, start_ns: int, end_ns: int) -> str | None:
        """Why it is not known what spoiled the span; None if it was watched."""
        return self._assess(start_ns, end_ns).unknown

    @property
    def peak_rss(self) -> int | None:
        """Bytes: the largest memory of the followed trees in this test; None if none was followed."""
        self._ask("edge")
        return _whole(self._peaks, "rss", "rss_high_water")

    @property
    def peak_vram(self) -> int | None:
        """Bytes: the largest GPU memory of the followed trees in this test, all GPUs together.

        Where the driver does not report the memory of single processes: what the GPUs hold above
        what they held when the monitor started. None without a GPU.
        """
        self._ask("edge")
        return _whole(self._peaks, "vram") if "vram" in self._peaks else self._vram_grown(self._samples)

    def peak_rss_of(self, pid: int) -> int | None:
        """Bytes: the largest memory of the one followed tree below *pid*; None if it is not known.

        For a tree of one process the kernel's own record, hence exact between the samples too.
        """
        if self._alive() and pid not in self._ended:
            self._ask("edge")
        record = self._records.get(pid) or self._ended.get(pid)
        return _whole(record, "rss", "high_water") if record else None

    @property
    def samples(self) -> pd.DataFrame:
        """One row a beat of this test: ``time`` (s since it began) and every field, NaN if not read.

        Fields and units: :mod:`pytest_llmbench.hardware.probes`, :func:`.series.rows`.
        """
        import pandas as pd

        self._ask("edge")
        table = pd.DataFrame([r for r in rows(self._samples, self._cores) if r["t"] >= self._began])
        if table.empty:
            return pd.DataFrame({"time": pd.Series(dtype="float64")})
        table.insert(0, "time", (table.pop("t") - self._began) * NANO)
        return table

    @property
    def unavailable(self) -> dict[str, str]:
        """Field, or whole source, to the reason why it is not read."""
        return dict(self._unavailable)

    # -- the sampler's answers ---------------------------------------------------------------

    def _alive(self) -> bool:
        return self._process is not None and "sampler" not in self._unavailable

    def _ask(self, do: str, pid: int | None = None) -> None:
        """Send a command and take the samples that come back; quiet if there is no sampler."""
        with self._lock:
            if self._process is None or not self._alive():
                return
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps({"do": do, "pid": pid}).encode() + b"\n")
                self._process.stdin.flush()
                line = self._answers.get(timeout=ANSWER_WITHIN)
            except (OSError, ValueError, queue.Empty):
                line = b""
            if not line:
                self._mourn()
                return
            answer = json.loads(line)
            self._take(answer["facts"], answer["samples"])

    def _mourn(self) -> None:
        process = self._process
        assert process is not None
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        status = process.returncode
        if status is None:
            process.kill()
            process.wait()
        GUARD.release(process.pid)
        how = "did not answer and was ended" if status is None else f"ended by itself, with status {status}"
        self._unavailable["sampler"] = f"the sampler process {how}: nothing is known from then on"

    def _take(self, facts: dict[str, Any], samples: list[Sample]) -> None:
        self._facts = facts
        self._records = {int(pid): record for pid, record in facts["trees"].items()}
        if "unavailable" in facts:
            self._unavailable = facts["unavailable"]
            self._methods, self._cores = facts["methods"], facts["cores"]
        for sample in samples:
            if self._vram_before is None:
                self._vram_before = _sum(sample, "_memory_used")
            for name, value in _peaks(sample).items():
                self._peaks[name] = max(value, self._peaks.get(name, 0))
        self._samples += samples
        self._let_go = self._let_go or bool(facts.get("dropped"))
        if len(self._samples) > MAX_SAMPLES:
            self._let_go = True
            del self._samples[: len(self._samples) - MAX_SAMPLES * 9 // 10]

    def _between(self, start_ns: int, end_ns: int) -> tuple[Sequence[Sample], list[dict[str, float]]]:
        """The samples that bracket a span, and the rows of its beats, or of the nearest beat."""
        self._reach(end_ns)
        if not self._samples:
            return [], []
        first, last = span(self._samples, start_ns, end_ns)
        samples = self._samples[first : last + 1]
        # Slow sources give a rate only against their reading a second earlier.
        margin = int(2.5e9 * max(1.0, 1.0 / self.rate))
        before, _ = span(self._samples, start_ns - margin, end_ns)
        near = list(rows(self._samples[before : last + 2], self._cores))
        inside = [row for row in near if start_ns <= row["t"] <= end_ns]
        if not inside and near:
            middle = (start_ns + end_ns) / 2
            inside = [min(near, key=lambda row: abs(row["t"] - middle))]
        return samples, inside

    def _energy(self, start_ns: int, end_ns: int) -> Energy:
        self._reach(end_ns)
        if not self._samples:
            return energy_over([], start_ns, end_ns, self._unavailable)
        # Edges have counters alone: the power is in the beats beside them.
        first, last = span(self._samples, start_ns - NEAR, end_ns + NEAR)
        return energy_over(self._samples[first : last + 1], start_ns, end_ns, self._unavailable)

    def _reach(self, end_ns: int) -> None:
        if not self._samples or self._samples[-1]["t"] < end_ns:
            self._ask("edge")

    def _assess(self, start_ns: int, end_ns: int) -> Assessment:
        self._reach(end_ns)
        found = assess(self._samples, start_ns, end_ns, self._cores)
        missing = gap(self._samples, start_ns, end_ns, MAX_GAP * max(1.0, 1.0 / self.rate))
        if missing is not None:
            why = f"the sampler process was late: {missing}"
            if self._let_go and self._samples[0]["t"] > start_ns:
                why = f"{MAX_SAMPLES} samples are kept, and older ones were dropped; lower --llm-monitor-rate"
            if not self._samples or self._samples[-1]["t"] <= start_ns:
                # All that is known is of the time before.
                found = replace(found, codes=(), figures=dict.fromkeys(found.figures))
            return _unsure(found, self._unavailable.get("sampler", why))
        stopped = {
            probe: why
            for code, figure in found.figures.items()
            if figure is None
            for probe in BOUNDS[code].probes
            if (why := self._unavailable.get(probe, "")).startswith(STOPPED)
        }
        if stopped:
            return _unsure(found, "; ".join(f"the probe {probe} {why}" for probe, why in stopped.items()))
        return found

    def _memory(self, samples: Sequence[Sample]) -> tuple[int | None, int | None, dict[str, str]]:
        """The peaks of a span, of the processes' memory and of the GPUs', and how they are known."""
        methods: dict[str, str] = {}
        rss = [s["rss"] for s in samples if "rss" in s]
        # The kernel's record counts where it was broken inside the span.
        before = samples[0].get("rss_high_water", 0) if samples else 0
        high = [s["rss_high_water"] for s in samples if s.get("rss_high_water", 0) > before]
        if rss:
            alone = all(s.get("processes", 1) < 2 for s in samples)
            exact = alone and (high or max(rss) >= before > 0)
            methods["peak_rss"] = "kernel_high_water" if exact else "sampled"
        held = [vram for s in samples if (vram := _sum(s, "_vram")) is not None]
        vram = int(max(held)) if held else self._vram_grown(samples)
        if vram is not None:
            methods["peak_vram"] = "process" if held else "card_growth"
        return max(rss + high, default=None), vram, methods

    def _vram_grown(self, samples: Sequence[Sample]) -> int | None:
        held = [used for s in samples if (used := _sum(s, "_memory_used")) is not None]
        if not held or self._vram_before is None:
            return None
        return int(max(0.0, max(held) - self._vram_before))


def _read(answers: BinaryIO, into: queue.Queue[bytes]) -> None:
    """Runs in a thread, so that an answer that never comes can be given up; sleeps between answers."""
    with suppress(ValueError, OSError):
        for line in iter(answers.readline, b""):
            into.put(line)
    into.put(b"")
    answers.close()


def _unsure(found: Assessment, why: str) -> Assessment:
    """*found* of a span of which not all is known: where nothing was found, something may have been."""
    return replace(found, codes=found.codes or None, unknown=why)


def _sum(sample: Sample, ending: str) -> float | None:
    values = [v for name, v in sample.items() if name.startswith("gpu") and name.endswith(ending)]
    return sum(values) if values else None


def _peaks(sample: Sample) -> dict[str, float]:
    peaks = {name: sample[name] for name in ("rss", "rss_high_water") if name in sample}
    vram = _sum(sample, "_vram")
    return peaks if vram is None else {**peaks, "vram": vram}


def _whole(peaks: Mapping[str, float], *names: str) -> int | None:
    values = [peaks[name] for name in names if name in peaks]
    return int(max(values)) if values else None


def _values(beats: Iterable[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    columns: dict[str, list[float]] = {}
    for row in beats:
        for name, value in row.items():
            if name not in ("t", "rss_high_water") and not is_bits(name):
                columns.setdefault(name, []).append(value)
    return {name: {"mean": sum(v) / len(v), "max": max(v)} for name, v in columns.items()}


def _held_back(samples: Sequence[Sample]) -> dict[str, tuple[str, ...]]:
    """What lowered the clocks, by name: ``gpuN`` (NVML's event reasons, idling left out), ``pi``."""
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted({n for s in samples for n in s if n.endswith("_event_reasons")}):
        reasons = tuple(r for r in event_reasons(bits_over(samples, name)) if r != "gpu_idle")
        found[name.removesuffix("_event_reasons")] = reasons
    if pi := [int(s["pi_throttled"]) for s in samples if "pi_throttled" in s]:
        found["pi"] = tuple(reasons_between(pi[0], *pi))
    return found
