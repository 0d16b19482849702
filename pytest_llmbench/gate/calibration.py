"""What change can be seen on this machine, with how many pairs, in how much time?

A/A pairs, both sides the same, show how far equal engines lie apart here. From that spread follows
what an A/B session can find: the smallest change that so many pairs call a failure with a power of
80%.

Short sessions of the same, one after the other, show how far sessions lie apart. That is what a
baseline of a single session cannot tell, so the gate takes it from here, where machine, backend,
engine version and metric are the same. Sessions add up: those of several days know more than those of
an hour.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median, stdev, variance
from typing import TYPE_CHECKING

from pytest_llmbench.backends.cpu_time import comparable
from pytest_llmbench.errors import ResultsError
from pytest_llmbench.gate.paired import CASE_ALPHA
from pytest_llmbench.gate.statistics import smallest_detectable, to_change
from pytest_llmbench.gate.stored import CalibratedNoise
from pytest_llmbench.measure.run import too_many_disturbed
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.measured import Measured

if TYPE_CHECKING:
    from pytest_llmbench.gate.compare import NoiseOf
    from pytest_llmbench.gate.thresholds import ClockChoice
    from pytest_llmbench.measure.pairs import Pair
    from pytest_llmbench.measure.run import Run
    from pytest_llmbench.results.store import Store

PAIRS = (8, 12, 20, 32)
"""For how many pairs the smallest detectable change is reported: the looks of an A/B session."""
MIN_SESSIONS = 3
"""Fewer calibrated sessions than this are not used."""
FOLDER = "calibration"


@dataclass(frozen=True, slots=True)
class Floor:
    """The noise floor of one metric."""

    metric: str
    pairs: int
    spread: float
    """Standard deviation of the pairs' log ratios: 0.03 is about 3%."""
    mean: float
    """Their mean: what equal sides seem to differ by; near 0, or the measurement leans."""
    detectable: Mapping[str, float]
    """Number of pairs to the smallest relative change over the threshold that they can find."""


def calibrated_metrics(names: Iterable[str], clock: ClockChoice = "auto") -> tuple[str, ...]:
    """Of which metrics a calibration shows how far they lie apart, in the table's order.

    Those of *names*, and those that tell the same of the CPU's clock; by a *clock* other than ``auto`` that
    one's alone.
    """
    wall = set(names)
    both = {*wall, *(METRICS[name].on_cpu for name in wall)}
    return tuple(n for n, row in METRICS.items() if n in both and clock in ("auto", row.clock))


def pair_floors(pairs: Sequence[Pair], metrics: Iterable[str], threshold: float) -> list[Floor]:
    """The floor of each metric that two or more of the A/A pairs have undisturbed.

    CPU times that compare have theirs from pairs that the load of others disturbed, too.
    """
    floors = []
    for metric in metrics:
        used = [pair for pair in pairs if pair.dropped(metric) is None]
        if METRICS[metric].clock == "cpu":
            used = [pair for pair in used if pair.incomparable is None]
        differences = [found for pair in used if (found := pair.difference(metric)) is not None]
        if len(differences) > 1:
            floors.append(noise_floor(metric, differences, threshold))
    return floors


def short_values(run: Run, metrics: Iterable[str]) -> dict[str, list[float]]:
    """What is kept of a short session: of each metric the median of each process, in the metric's unit.

    A metric is left out where too many of the rounds that count for it were disturbed, and one of the CPU's
    clock where the engine says that it does not compare.
    """
    there = all(comparable(process.engine) for process in run.processes)
    found: dict[str, list[float]] = {}
    for metric in metrics:
        if METRICS[metric].clock == "cpu" and not there:
            continue
        clean = [[r for r in process.rounds if not process.marks(r, metric)] for process in run.processes]
        if too_many_disturbed(len(run.rounds) - sum(map(len, clean)), len(run.rounds)):
            continue
        known = [[value for r in rounds if (value := r.value(metric))] for rounds in clean]
        if medians := [median(values) for values in known if values]:
            found[metric] = medians
    return found


def noise_floor(metric: str, differences: Sequence[float], threshold: float) -> Floor:
    """The noise floor from the log ratios of at least two A/A pairs.

    :raises ValueError: for fewer.
    """
    if len(differences) < 2:
        msg = f"{metric}: {len(differences)} undisturbed pairs do not show a spread; two or more are needed"
        raise ValueError(msg)
    spread = stdev(differences)
    better = METRICS[metric].better
    shift = math.log1p(threshold)
    detectable = {}
    for pairs in PAIRS:
        error = spread / math.sqrt(pairs)
        found = smallest_detectable(shift, error, CASE_ALPHA, len(differences) - 1, ranks=True)
        detectable[str(pairs)] = to_change(found, better)
    return Floor(metric, len(differences), spread, fmean(differences), detectable)


def save_calibration(store: Store, machine: str, floors: Sequence[Floor], facts: Json) -> Path:
    """Keep what was found, one file a machine; the newest holds. Returns its path.

    :raises ResultsError: if it cannot be written.
    """
    from pytest_llmbench.results.files import atomic_write, make_folder

    folder = store.path / FOLDER
    store.create()
    make_folder(folder)
    path = folder / f"{machine}.json"
    content = {**facts, "machine": machine, "floors": [asdict(floor) for floor in floors]}
    atomic_write(path, (json.dumps(content, indent=2) + "\n").encode())
    return path


@dataclass(frozen=True, slots=True)
class ShortSession:
    """One session of a calibration."""

    date: str
    """When it was measured: ISO 8601, UTC."""
    backend: str
    engine: str | None
    """The engine's distribution and version."""
    model: str
    quantization: str | None
    rounds: int
    max_new_tokens: int
    values: Mapping[str, Sequence[float]]
    """Metric to the median of each process, in the metric's unit."""

    @property
    def only_cpu_time(self) -> bool:
        """Whether nothing is left of its times but those of the CPU's clock."""
        return all((row := METRICS.get(name)) is not None and row.clock == "cpu" for name in self.values)

    @property
    def kind(self) -> tuple[object, ...]:
        """Sessions of one kind repeat each other."""
        processes = max(map(len, self.values.values()), default=0)
        return (
            self.backend,
            self.engine,
            self.model,
            self.quantization,
            self.rounds,
            self.max_new_tokens,
            processes,
        )


class Calibration:
    """The short sessions of one machine, and what they say about cases that were measured on it."""

    def __init__(self, machine: str, sessions: Sequence[ShortSession]) -> None:
        self.machine = machine
        self.sessions = tuple(sessions)
        self._known: dict[tuple[object, ...], CalibratedNoise | None] = {}

    def noise_of(self, metric: str, now: Measured) -> CalibratedNoise | None:
        """How far sessions of this case lie apart; None where too little like it was calibrated."""
        model = now.case.model
        if now.identity.machine != self.machine:
            return None
        key = (metric, model.backend, now.identity.engine, model.name, model.quantization)
        if key not in self._known:
            self._known[key] = self._noise(*key)
        return self._known[key]

    def _noise(
        self, metric: str, backend: str, engine: str | None, model: str, quantization: str | None
    ) -> CalibratedNoise | None:
        """Sessions of the case's own model come first; of other kinds, that which varies most."""
        kinds: dict[tuple[object, ...], list[ShortSession]] = {}
        for session in self.sessions:
            if (session.backend, session.engine) == (backend, engine):
                kinds.setdefault(session.kind, []).append(session)
        found = [
            replace(noise, alike=(group[0].model, group[0].quantization) == (model, quantization))
            for group in kinds.values()
            if (noise := session_noise(metric, group)) is not None
        ]
        return max(found, key=lambda noise: (noise.alike, noise.variance), default=None)


def calibrated_noise(store: Store, problems: list[str]) -> NoiseOf:
    """What the calibrations in *store* say of any machine's cases.

    A damaged file is passed over, with a line in *problems*.
    """
    known: dict[str | None, Calibration] = {}
    ending = _sessions_path(store, "").name
    for path in sorted((store.path / FOLDER).glob(f"*{ending}")):
        machine = path.name.removesuffix(ending)
        try:
            known[machine] = read_calibration(store, machine)
        except ResultsError as error:
            problems.append(str(error))

    def noise_of(metric: str, now: Measured) -> CalibratedNoise | None:
        calibration = known.get(now.identity.machine)
        return None if calibration is None else calibration.noise_of(metric, now)

    return noise_of


def session_noise(metric: str, sessions: Sequence[ShortSession]) -> CalibratedNoise | None:
    """How far *sessions* of one kind lie apart in a metric; None for fewer than three that have it.

    The variance of their mean log values, and that of the processes within them.
    """
    kept = [(one, [math.log(v) for v in values]) for one in sessions if (values := one.values.get(metric))]
    if len(kept) < MIN_SESSIONS:
        return None
    spare = sum(len(logs) - 1 for _, logs in kept)
    squares = sum(variance(logs) * (len(logs) - 1) for _, logs in kept if len(logs) > 1)
    return CalibratedNoise(
        variance=variance([fmean(logs) for _, logs in kept]),
        df=len(kept) - 1,
        process=squares / spare if spare else 0.0,
        processes=min(len(logs) for _, logs in kept),
        source=f"the calibration of {max(one.date for one, _ in kept)[:10]}",
    )


def add_sessions(store: Store, machine: str, sessions: Sequence[ShortSession]) -> Path:
    """Keep short sessions with those of this machine that are kept already. Returns the file's path.

    :raises ResultsError: if it cannot be written, or what is there cannot be read.
    """
    from pytest_llmbench.results.files import atomic_write, make_folder

    kept = [*read_calibration(store, machine).sessions, *sessions]
    store.create()
    path = _sessions_path(store, machine)
    make_folder(path.parent)
    content = {"machine": machine, "sessions": [asdict(one) for one in kept]}
    atomic_write(path, (json.dumps(content, indent=2) + "\n").encode())
    return path


def read_calibration(store: Store, machine: str) -> Calibration:
    """The short sessions of a machine; empty where none was measured.

    :raises ResultsError: if the file cannot be read, or is damaged.
    """
    from pytest_llmbench.results.files import results_error

    path = _sessions_path(store, machine)
    try:
        content = json.loads(path.read_bytes())
        return Calibration(machine, [_short_session(one) for one in content["sessions"]])
    except FileNotFoundError:
        return Calibration(machine, ())
    except OSError as error:
        raise results_error("read", path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is damaged, or is not a calibration ({error}); remove it and calibrate again"
        raise ResultsError(msg) from error


def _short_session(content: Json) -> ShortSession:
    session = ShortSession(**content)
    if not all(isinstance(v, float | int) and 0 < v < math.inf for vs in session.values.values() for v in vs):
        msg = "its values are not positive numbers"
        raise ValueError(msg)
    return session


def _sessions_path(store: Store, machine: str) -> Path:
    return store.path / FOLDER / f"{machine}-sessions.json"
