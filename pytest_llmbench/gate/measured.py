"""What of one measured case is compared: which test it is, what it did, and which values count?"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from pytest_llmbench.backends.base import FILTERS
from pytest_llmbench.measure.run import MAX_DISTURBED, UNWATCHED, marks, too_many_failed
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import by_reason, explain_untimed
from pytest_llmbench.metrics.units import count
from pytest_llmbench.metrics.values import case_values, process_values
from pytest_llmbench.results.records import CaseRecord, Header, ProcessRecord, RoundRecord
from pytest_llmbench.servers.urls import stored_url

# How often and how patiently it is measured changes how sure the result is, not what it is.
_HOW_OFTEN = frozenset({"rounds", "processes", "timeout", "thresholds"})
_ONCE_A_SERVER = re.compile(r"(?<=[\[-])openai(?=[-\]])")
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

    def __init__(self, case: CaseRecord, header: Header) -> None:
        self.case = case
        self.header = header
        self.session = header.session.id
        """The id of the session that measured it."""
        self.rounds = 0
        """How many are part of the metrics."""
        self.dropped = 0
        """Processes of which no round is left."""
        self.work: dict[str, set[tuple[int | None, int, str]]] = {}
        """What was asked (its hash), to what came of it: prompt tokens, output tokens, output hash."""
        self._counted: list[list[RoundRecord]] = []
        self._clean: list[list[RoundRecord]] = []
        self._centers: dict[str, list[float]] = {}
        for process in case.processes:
            counted = [r for r in process.rounds if r.counted]
            clean = [r for r in counted if not marks(r.disturbance, process.watch_lost)]
            self.rounds += len(counted)
            self.dropped += bool(counted) and not clean
            self._counted.append(counted)
            self._clean.append(clean)
            for r in process.rounds:
                did = (r.prompt_tokens, r.output_tokens, r.output_hash)
                if r.prompt_hash in self.work:
                    self.work[r.prompt_hash].add(did)
                else:
                    self.work[r.prompt_hash] = {did}
        self.written = self._written()
        """All that :attr:`identity` is made of, as it was kept: equal, and so is the identity."""
        self.remedy = ""
        """What would help where it is spoiled; empty where the reason says it already, or it is not known."""
        self.spoiled = self._why_spoiled()
        """Why its times say nothing, if they do not."""

    @cached_property
    def identity(self) -> Identity:
        """What has to be equal."""
        case, machine = self.case, self.header.machine
        model = case.model
        return Identity(
            machine=None if machine is None else machine.id,
            backend=model.backend,
            engine=engine_version(case),
            # Of a server that runs already only the name is known.
            weights=model.digest or (f"{model.name}@{model.revision}" if model.revision else model.name),
            quantization=model.quantization,
            params=tuple((name, _ADDRESS.sub("", value)) for name, value in sorted(case.params.items())),
            protocol=tuple(sorted(protocol(case).items())),
        )

    def _written(self) -> tuple[object, ...]:
        case, machine = self.case, self.header.machine
        model = case.model
        return (
            None if machine is None else machine.id,
            (model.backend, model.digest, model.name, model.revision, model.quantization),
            case.params,
            case.protocol,
            case.processes[0].engine if case.processes else None,
            engine_version(case),
        )

    @property
    def prompts(self) -> frozenset[str]:
        """Hashes of what was asked."""
        return frozenset(self.work)

    @property
    def usable(self) -> bool:
        """Whether a later case may be compared with it."""
        return self.case.outcome == "passed" and bool(self.work)

    def _why_spoiled(self) -> str | None:
        for process in self.case.processes:
            if process.load is not None and (why := _spoiled_load(process)) is not None:
                return why
        disturbed = self.rounds - sum(map(len, self._clean))
        if disturbed <= MAX_DISTURBED * self.rounds:
            return None
        found = {
            code
            for process in self.case.processes
            for r in process.rounds
            if r.counted
            for code in marks(r.disturbance, process.watch_lost)
        }
        how = "disturbed or not watched" if UNWATCHED in found else "disturbed"
        self.remedy = ": measure again" + (" on a quieter machine" if found != {UNWATCHED} else "")
        return f"{disturbed} of {self.rounds} rounds were {how} ({', '.join(sorted(found))})"

    def has(self, metric: str) -> bool:
        """Whether it was measured at all, disturbed or not."""
        return any(self._values(metric, self._counted))

    def unknown(self, metric: str) -> str | None:
        """Why it has no value, where that is known."""
        for why, names in by_reason(self.case.unknown).items():
            if metric in names:
                return explain_untimed(why)
        return None

    def values(self, metric: str) -> list[list[float]]:
        """The values that count, in the metric's unit: of each process that has any."""
        rounds = self._counted if METRICS[metric].exact else self._clean
        return [found for found in self._values(metric, rounds) if found]

    def _values(self, metric: str, rounds: Iterable[Sequence[RoundRecord]]) -> Iterator[list[float]]:
        """Of each process the values of its *rounds*; a case's own value stands for those of a process."""
        if METRICS[metric].scope == "case":
            yield case_values(metric, self.case)
            return
        for process, those in zip(self.case.processes, rounds, strict=True):
            yield process_values(metric, process, those)

    def centers(self, metric: str) -> list[float]:
        """The median of each process."""
        found = self._centers.get(metric)
        if found is None:
            found = [v[0] if len(v) == 1 else statistics.median(v) for v in self.values(metric)]
            self._centers[metric] = found
        return found

    @property
    def under_load(self) -> bool:
        """Whether it is a load level of a server."""
        return any(process.load is not None for process in self.case.processes)

    @property
    def greedy(self) -> bool:
        """Whether equal prompts must give equal outputs."""
        # Null: the server was asked without one, and has one of its own.
        return self.case.protocol.temperature == 0


def other_work(base: Measured, now: Measured) -> str | None:
    """Why two measurements of one test did not do the same work, if they did not.

    Only greedy decoding has to repeat itself. An engine that answers differently from round to
    round is not held to one answer, but to its number of tokens; nor is a server under load, where
    a request's numbers depend on the batch that it happened to be in.
    """
    if not now.greedy or base.work == now.work:
        return None
    for prompt in base.work.keys() & now.work.keys():
        old, new = base.work[prompt], now.work[prompt]
        for index, what in enumerate(("prompt", "output")):
            counts = [sorted({str(one[index]) for one in side}) for side in (old, new)]
            if counts[0] != counts[1]:
                said = " → ".join("/".join(map(str, count)) for count in counts)
                return f"not the same work as session {base.session}: {what} tokens {said}"
        if len(old) == len(new) == 1 and old != new and not now.under_load:
            return (
                f"not the same work as session {base.session}: greedy decoding of the same prompt "
                "gave other tokens"
            )
    return None


def _spoiled_load(process: ProcessRecord) -> str | None:
    """Why a load level cannot be used: its client was late, or too many of its requests failed."""
    if process.load is not None and process.load.invalid is not None:
        return process.load.invalid
    failed, answered = len(process.failures), len(process.rounds)
    if too_many_failed(failed, answered):
        return f"{failed} of {count(failed + answered, 'request')} failed, so the others ran under less load"
    return None


def engine_version(case: CaseRecord) -> str | None:
    """The engine's own distribution and version, such as ``llama-cpp-python 0.3.36``.

    Of a server that does not report its version, what it is.
    """
    for process in case.processes:
        for name, version in process.versions.items():
            return f"{name} {version}"
        if (server := process.engine.get("server")) is not None:
            return str(server)
    return None


def without_address(case: CaseRecord) -> str:
    """The test's id without the address of the server that it was measured on.

    Ids have it where several servers that run are measured side by side. Its address does not describe the
    server, nor does the word "openai", which ids in documents of schema 1 have instead of "server".
    """
    for process in case.processes:
        if (url := process.engine.get("base_url")) is not None:
            place = stored_url(url)
            plain = case.nodeid if place is None else case.nodeid.replace(f"@{place.place}", "")
            return _ONCE_A_SERVER.sub("server", plain, count=1)
    return case.nodeid


def protocol(case: CaseRecord) -> dict[str, str]:
    """What of the protocol changes the work or its timing, dotted; what is not set is left out.

    An option that was left to the engine counts as what the engine made of it, so that a machine
    with fewer threads to give is not taken for the same.
    """
    flat = {k: v for k, v in dict(case.protocol).items() if k not in (*_HOW_OFTEN, "options")}
    # A document of before such a parameter came is one that did not set it.
    for name, one in FILTERS.items():
        if flat.get(name) == one.off:
            del flat[name]
    engine = case.processes[0].engine if case.processes else {}
    for name, value in case.protocol.options.items():
        flat[f"options.{name}"] = engine.get(name, value)
    return {name: str(value) for name, value in flat.items() if value is not None}
