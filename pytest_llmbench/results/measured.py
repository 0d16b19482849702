"""What of one measured case is compared: which test it is, what it did, and which values count?"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from pytest_llmbench.backends.base import FILTERS
from pytest_llmbench.backends.cpu_time import comparable, why_incomparable
from pytest_llmbench.hardware.disturbance import slows_cpu
from pytest_llmbench.measure.run import UNWATCHED, keeps_cpu_time, marks, too_many_disturbed, too_many_failed
from pytest_llmbench.metrics.row import Clock
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


class _Kept(NamedTuple):
    """Which rounds count for the metrics of one clock."""

    rounds: list[list[RoundRecord]]
    """Of each process."""
    dropped: int
    """Processes of which no round is left."""
    why_not: str | None
    """That too many were disturbed for the others to count, if they were."""
    remedy: str
    """What would help against that; empty where it is not known."""


class Measured:
    """One case of one session.

    The unit is the process: the median of its rounds, those left out that the machine's other load
    disturbed. Which these are was decided from that load, never from their times. It depends on the metric:
    where CPU times compare beside other load, those of rounds that it held up count too.
    """

    def __init__(self, case: CaseRecord, header: Header) -> None:
        self.case = case
        self.header = header
        self.session = header.session.id
        """The id of the session that measured it."""
        self.rounds = 0
        """How many are part of the metrics."""
        self.work: dict[str, set[tuple[int | None, int, str]]] = {}
        """What was asked (its hash), to what came of it: prompt tokens, output tokens, output hash."""
        self._counted: list[list[RoundRecord]] = []
        self._centers: dict[str, list[float]] = {}
        self._load_invalid: str | None = None
        """Why a load level cannot be used, whatever the machine did."""
        self.impossible: str | None = None
        """Why figures of a round cannot be right, such as more hits of a cache than it can have had."""
        for process in case.processes:
            counted = [r for r in process.rounds if r.counted]
            self.rounds += len(counted)
            self._counted.append(counted)
            for r in process.rounds:
                if r.invalid is not None and self.impossible is None and process.load is None:
                    self.impossible = r.invalid
                # Words of its own make a prompt a little longer or shorter, and another answer of it.
                own = r.own_words
                did = (None if own else r.prompt_tokens, r.output_tokens, "" if own else r.output_hash)
                if r.prompt_hash in self.work:
                    self.work[r.prompt_hash].add(did)
                else:
                    self.work[r.prompt_hash] = {did}
            if process.load is not None and self._load_invalid is None:
                self._load_invalid = _spoiled_load(process)
        self._wall = self._keep()
        self.spoiled = self._load_invalid or self._wall.why_not
        """Why its times say nothing, if they do not: those of the wall's clock."""
        self.written = self._written()
        """All that :attr:`identity` is made of, as it was kept: equal, and so is the identity."""

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
        return self.case.outcome == "passed" and bool(self.work) and self.impossible is None

    @property
    def how_it_ended(self) -> str:
        """Why it is not usable, where it is not: ``was skipped``."""
        if self.impossible is not None:
            return f"is not valid ({self.impossible})"
        if self.case.outcome == "passed":
            return "has no measured round"
        how = {"error": "ended with an error", "skipped": "was skipped", "interrupted": "was interrupted"}
        return how.get(self.case.outcome, self.case.outcome)

    @property
    def left_out(self) -> str | None:
        """Why it has no place among the sessions of its case; None if it has.

        It has one if it is usable, or the gate alone failed it: verdicts come after the body of the test, so
        that it was measured as well as any.
        """
        judged = self.case.outcome == "failed" and self.case.verdict is not None and bool(self.work)
        return None if self.usable or judged else f"it {self.how_it_ended}"

    def spoiled_for(self, metric: str) -> str | None:
        """Why its values of a metric say nothing, if they do not; never for what no other load disturbs."""
        row = METRICS[metric]
        return None if row.exact else self.spoiled_on(row.clock)

    def spoiled_on(self, clock: Clock) -> str | None:
        """The same of metrics of a clock."""
        # What speaks against CPU times speaks against times as well.
        if self.spoiled is None:
            return None
        return self._load_invalid or (self._cpu if clock == "cpu" else self._wall).why_not

    def held_up(self, metric: str) -> bool:
        """Whether that is for the load of others alone."""
        return self._load_invalid is None and self.spoiled_for(metric) is not None

    def remedy_for(self, metric: str) -> str:
        """What would help where it is spoiled; empty where the reason says it already, or it is not known."""
        return "" if self._load_invalid is not None else self._kept(metric).remedy

    def dropped_for(self, metric: str) -> int:
        """Processes of which no round is left that counts for a metric."""
        return 0 if METRICS[metric].scope in ("process", "case") else self._kept(metric).dropped

    @property
    def only_cpu_time(self) -> bool:
        """Whether its CPU times say something, and its times do not."""
        if self._wall.why_not is None or self._load_invalid is not None or self.incomparable is not None:
            return False
        return self._cpu.why_not is None and any(
            row.clock == "cpu" and self.has(name) for name, row in METRICS.items()
        )

    @cached_property
    def incomparable(self) -> str | None:
        """Why its CPU times do not compare beside other load, if they do not."""
        told = (why_incomparable(process.engine) for process in self.case.processes)
        return next((why for why in told if why is not None), None)

    @cached_property
    def crowd(self) -> dict[str, int]:
        """The load of others that it ran beside, by reason codes, and how many rounds each was found in.

        Of load that CPU times hardly see: it makes them some percent longer. Empty where so few rounds had it
        that the others' times stand for the case.
        """
        found = [
            [code for code in r.disturbance or () if not slows_cpu(code)]
            for rounds in self._counted
            for r in rounds
        ]
        if not too_many_disturbed(sum(map(bool, found)), self.rounds):
            return {}
        return dict(sorted(Counter(code for codes in found for code in codes).items()))

    def disturbed(self, metric: str) -> dict[str, int]:
        """The reason codes that speak against its rounds, and how many processes have each."""
        found = Counter(
            code
            for process, rounds in zip(self.case.processes, self._counted, strict=True)
            for code in {code for r in rounds for code in self._marks(process, r, metric)}
        )
        return dict(sorted(found.items()))

    def _marks(self, process: ProcessRecord, r: RoundRecord, metric: str) -> Sequence[str]:
        cpu_time = keeps_cpu_time(metric, process.engine)
        return marks(r.disturbance, process.watch_lost, cpu_time=cpu_time)

    def _kept(self, metric: str) -> _Kept:
        return self._cpu if METRICS[metric].clock == "cpu" else self._wall

    @cached_property
    def _cpu(self) -> _Kept:
        """For the metrics of the CPU's clock; only made where somebody asks for one."""
        nothing = self._wall.rounds == self._counted
        return self._wall if nothing else self._keep(cpu_time=True)

    def _keep(self, *, cpu_time: bool = False) -> _Kept:
        rounds: list[list[RoundRecord]] = []
        dropped = disturbed = 0
        found: set[str] = set()
        for process, counted in zip(self.case.processes, self._counted, strict=True):
            there = cpu_time and comparable(process.engine)
            clean = counted
            # Most rounds are quiet, and there are a hundred thousand of them.
            if any(r.disturbance or r.disturbance is None for r in counted):
                clean = []
                for r in counted:
                    if codes := marks(r.disturbance, process.watch_lost, cpu_time=there):
                        found.update(codes)
                    else:
                        clean.append(r)
            rounds.append(clean)
            disturbed += len(counted) - len(clean)
            dropped += bool(counted) and not clean
        if not too_many_disturbed(disturbed, self.rounds):
            return _Kept(rounds, dropped, None, "")
        how = "disturbed or not watched" if UNWATCHED in found else "disturbed"
        why = f"{disturbed} of {self.rounds} rounds were {how} ({', '.join(sorted(found))})"
        remedy = ": measure again" + (" on a quieter machine" if found != {UNWATCHED} else "")
        return _Kept(rounds, dropped, why, remedy)

    def has(self, metric: str) -> bool:
        """Whether it was measured at all, disturbed or not."""
        return any(self._values(metric, self._counted))

    def unknown(self, metric: str) -> str | None:
        """Why it has no value, where that is known."""
        for why, names in by_reason(self.case.unknown).items():
            if metric in names:
                return explain_untimed(why)
        return None

    def values(self, metric: str, *, disturbed: bool = False) -> list[list[float]]:
        """The values that count, in the metric's unit: of each process that has any.

        :param disturbed: also of what was disturbed.
        """
        rounds = self._counted if disturbed or METRICS[metric].exact else self._kept(metric).rounds
        return [found for found in self._values(metric, rounds) if found]

    def _values(self, metric: str, rounds: Iterable[Sequence[RoundRecord]]) -> Iterator[list[float]]:
        """Of each process the values of its *rounds*; a case's own value stands for those of a process."""
        if METRICS[metric].scope == "case":
            yield case_values(metric, self.case)
            return
        of_rounds = METRICS[metric].scope == "round"
        for process, those in zip(self.case.processes, rounds, strict=True):
            if of_rounds and metric not in process.values:
                # The same without a call for each of a million rounds.
                yield [value for r in those if (value := r.values.get(metric)) is not None]
            else:
                yield process_values(metric, process, those)

    def centers(self, metric: str) -> list[float]:
        """The median of each process, of the values that count."""
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


def later_turn(case: CaseRecord) -> bool:
    """Whether it is a turn of a conversation whose process is another turn's: any but the first."""
    return any(r.turn is not None and r.turn.turn > 1 for p in case.processes for r in p.rounds[:1])


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
