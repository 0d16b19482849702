"""What of one measured case is compared: which test it is, what it did, and which values count?"""

from __future__ import annotations

import re
import statistics
from functools import cached_property
from typing import Any, NamedTuple

from pytest_llmbench.measure.metrics import METRICS
from pytest_llmbench.results.document import Case, Header, RoundRecord

MAX_DISTURBED = 0.2
"""The share of rounds that may be left out: with more, what is left was chosen by the disturbance."""

# How often and how patiently it is measured changes how sure the result is, not what it is.
_HOW_OFTEN = frozenset({"rounds", "processes", "timeout", "thresholds"})
# A default repr: the address is another one in each run.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class Identity(NamedTuple):
    """What has to be equal for two measurements to compare, beside test id and measurement."""

    machine: str | None
    backend: str
    engine: str | None
    """The engine's distribution and version."""
    weights: str | None
    quantization: str | None
    params: tuple[tuple[str, str], ...]
    protocol: tuple[tuple[str, str], ...]


class Measured:
    """One case of one session.

    The unit is the process: the median of its rounds, those left out that the machine's other load
    disturbed. Which these are was decided from that load, never from their times.
    """

    def __init__(self, case: Case, header: Header) -> None:
        self.case = case
        self.header = header
        self.rounds = sum(len(process.rounds) for process in case.processes)
        self._values: dict[str, list[list[float]]] = {}

    @property
    def session(self) -> str:
        """The id of the session that measured it."""
        return self.header.session.id

    @cached_property
    def identity(self) -> Identity:
        """What has to be equal."""
        case, machine = self.case, self.header.machine
        model = case.model
        return Identity(
            machine=None if machine is None else machine.id,
            backend=model.backend,
            engine=engine_version(case),
            weights=model.digest or (f"{model.name}@{model.revision}" if model.revision else None),
            quantization=model.quantization,
            params=tuple((name, _ADDRESS.sub("", value)) for name, value in sorted(case.params.items())),
            protocol=tuple(sorted(protocol(case).items())),
        )

    @cached_property
    def prompts(self) -> frozenset[str]:
        """Hashes of what was asked."""
        return frozenset(r.prompt_hash for process in self.case.processes for r in process.rounds)

    @property
    def usable(self) -> bool:
        """Whether a later case may be compared with it."""
        return self.case.outcome == "passed" and bool(self.prompts)

    @cached_property
    def _clean(self) -> list[list[RoundRecord]]:
        return [[r for r in process.rounds if not r.disturbance] for process in self.case.processes]

    @cached_property
    def spoiled(self) -> str | None:
        """Why its times say nothing, if they do not."""
        disturbed = self.rounds - sum(map(len, self._clean))
        if disturbed <= MAX_DISTURBED * self.rounds:
            return None
        codes = sorted({code for p in self.case.processes for r in p.rounds for code in r.disturbance})
        return f"{disturbed} of {self.rounds} rounds were disturbed ({', '.join(codes)})"

    @property
    def dropped(self) -> int:
        """Processes of which no round is left."""
        pairs = zip(self.case.processes, self._clean, strict=True)
        return sum(bool(process.rounds) and not clean for process, clean in pairs)

    def values(self, metric: str) -> list[list[float]]:
        """The values that count, in the metric's unit: of each process that has any."""
        if metric not in self._values:
            self._values[metric] = self._read(metric)
        return self._values[metric]

    def _read(self, metric: str) -> list[list[float]]:
        scope = METRICS[metric].scope
        if scope == "process":
            known = [getattr(process, metric, None) for process in self.case.processes]
            return [[float(value)] for value in known if value is not None]
        found = []
        for rounds in self._clean:
            if scope == "gap":
                values = [gap for r in rounds for gap in r.gaps]
            else:
                values = [float(value) for r in rounds if (value := getattr(r, metric, None)) is not None]
            if values:
                found.append(values)
        return found

    def centres(self, metric: str) -> list[float]:
        """The median of each process."""
        return [statistics.median(values) for values in self.values(metric)]

    @property
    def greedy(self) -> bool:
        """Whether equal prompts must give equal outputs."""
        return not self.case.protocol.get("temperature")

    @cached_property
    def work(self) -> dict[str, set[tuple[int, int, str]]]:
        """What was asked (its hash), to what came of it: prompt tokens, output tokens, output hash."""
        found: dict[str, set[tuple[int, int, str]]] = {}
        for process in self.case.processes:
            for r in process.rounds:
                found.setdefault(r.prompt_hash, set()).add((r.prompt_tokens, r.output_tokens, r.output_hash))
        return found


def other_work(base: Measured, now: Measured) -> str | None:
    """Why two measurements of one test did not do the same work, if they did not.

    Only greedy decoding has to repeat itself. An engine that answers differently from round to
    round is not held to one answer, but to its number of tokens.
    """
    if not now.greedy:
        return None
    for prompt in base.work.keys() & now.work.keys():
        old, new = base.work[prompt], now.work[prompt]
        for index, what in enumerate(("prompt", "output")):
            counts = [sorted({one[index] for one in side}) for side in (old, new)]
            if counts[0] != counts[1]:
                said = " → ".join("/".join(map(str, count)) for count in counts)
                return f"not the same work as session {base.session}: {what} tokens {said}"
        if len(old) == len(new) == 1 and old != new:
            return (
                f"not the same work as session {base.session}: greedy decoding of the same prompt "
                "gave other tokens"
            )
    return None


def engine_version(case: Case) -> str | None:
    """The engine's own distribution and version, such as ``llama-cpp-python 0.3.36``."""
    for process in case.processes:
        for name, version in process.versions.items():
            return f"{name} {version}"
    return None


def protocol(case: Case) -> dict[str, str]:
    """What of the protocol changes the work or its timing, dotted; what is not set is left out.

    An option that was left to the engine counts as what the engine made of it, so that a machine
    with fewer threads to give is not taken for the same.
    """
    flat: dict[str, Any] = {k: v for k, v in case.protocol.items() if k not in _HOW_OFTEN}
    options = flat.pop("options", None)
    if isinstance(options, dict):
        engine = case.processes[0].engine if case.processes else {}
        for name, value in options.items():
            flat[f"options.{name}"] = engine.get(name, value)
    return {name: str(value) for name, value in flat.items() if value is not None}
