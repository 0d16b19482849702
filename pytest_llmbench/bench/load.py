"""What can a test ask of a server under load?"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pytest_llmbench.bench.measurement import CaseFixture, Measurement
from pytest_llmbench.bench.model import free_label
from pytest_llmbench.bench.planning import Planner, Workload
from pytest_llmbench.cases.case import LoadLevel
from pytest_llmbench.cases.need import of_load
from pytest_llmbench.cases.target import ServerTarget
from pytest_llmbench.client.plan import LoadPlan
from pytest_llmbench.errors import LLMBenchError, warn
from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.measure.engine import Prompt
from pytest_llmbench.measure.load import LoadBench
from pytest_llmbench.measure.load_pairs import LoadPairs, LoadSide
from pytest_llmbench.measure.run import Run
from pytest_llmbench.workloads.datasets import Dataset, read_dataset
from pytest_llmbench.workloads.messages import Message
from pytest_llmbench.workloads.requests import TokenEstimator
from pytest_llmbench.workloads.scenarios.conversation import Conversation

if TYPE_CHECKING:
    from pytest_llmbench.gate.pairing import Pairing
    from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
    from pytest_llmbench.results.verdict import Judgment
    from pytest_llmbench.servers.keep import LLMServer, ServerChoice
    from pytest_llmbench.settings.case import CaseSettings


OneTalk: TypeAlias = Conversation | str | Path
"""A conversation, or the name or file of one."""


@dataclass(slots=True, repr=False)
class LLMLoad(CaseFixture[ServerTarget]):
    """The fixture ``llm_load``: one server under one load level, ready to be measured."""

    fixture = "llm_load"

    _server: LLMServer | None = None
    _estimators: dict[str, TokenEstimator] = field(default_factory=dict)
    """By side: ``now``, and ``base`` in an A/B session."""

    @property
    def name(self) -> str:
        """What requests call the model; before the first request, as the test named it."""
        return self._case.spec.name if self._server is None else self._server.endpoint.model

    @property
    def concurrency(self) -> int | None:
        """How many requests at once; None at a request rate."""
        return None if self._case.load is None else self._case.load.concurrency

    @property
    def conversations(self) -> int | None:
        """How many conversations at once; None where each request stands for itself."""
        return None if self._case.load is None else self._case.load.conversations

    @property
    def request_rate(self) -> float | None:
        """How many requests a second; None at a concurrency."""
        return None if self._case.load is None else self._case.load.request_rate

    @property
    def resolved(self) -> ResolvedModel | ModelSpec:
        """The model with its files where this session serves it, or else its spec."""
        if self._server is not None and self._server.model is not None:
            return self._server.model
        return replace(self._case.spec, name=self.name)

    @property
    def server(self) -> LLMServer:
        """The server; started or looked at when it is first asked for.

        :raises LLMBenchError: if it does not start, or does not answer.
        """
        if self._server is None:
            self._server = self._runtime.servers.of(self._choice)
        return self._server

    @property
    def _choice(self) -> ServerChoice:
        self._make_room(of_load(self.settings, made=True))
        return self._case.target.choice(self._case.spec, self._given, self._runtime)

    def measure(
        self,
        prompt: str | Sequence[Message] | None = None,
        *,
        conversation: OneTalk | Sequence[OneTalk] = (),
        label: str | None = None,
        **settings: object,
    ) -> Run:
        """Send one load level, ``processes`` times, each from a client process of its own.

        In an A/B session: a level on each side, as often as it takes to tell them apart.

        :param prompt: a text or chat messages for all requests, made unique at its beginning unless
            ``prefix_cache=True``; by default made prompts of ``prompt_length`` tokens, or ``dataset``.
        :param conversation: one or several, or the names of shipped ones or files, which are held instead,
            one after the other and again, so many at once as ``conversations`` says, or else
            ``concurrency``. Missing answers are made; with ``history="live"`` they are the server's own.
        :param label: names this measurement, where a test makes several.
        :param settings: what is measured in this call (``prompt_length``, ``arrivals``, ...), and how often
            (``requests``, ``duration``, ...) where the command line does not set that. The reference of
            settings says of each whether a call can set it.
        :raises LLMBenchError: if the server does not answer or every request fails; requests that
            were answered until then are kept.
        """
        __tracebackhide__ = True
        try:
            talks = [conversation] if isinstance(conversation, Conversation | str | Path) else conversation
            return self._measure(prompt, tuple(map(self._found, talks)), label, settings)
        except LLMBenchError as error:
            raise error.with_traceback(None) from None
        finally:
            self._runtime.progress.done()

    def finish(self) -> None:
        """The test is over; the server stays for the next one."""

    def _found(self, said: OneTalk) -> Conversation:
        """The conversation that is meant, if it can be held."""
        from pytest_llmbench.settings.conversations import find_conversation

        return find_conversation(said, self._folder)

    def _measure(
        self,
        prompt: str | Sequence[Message] | None,
        given: tuple[Conversation, ...],
        label: str | None,
        settings: Mapping[str, object],
    ) -> Run:
        values = self._runtime.call_settings("llm_load", self.settings, settings, self._folder)
        choice = self._choice
        workload = Workload(
            values,
            None if prompt is None else Prompt.of(prompt),
            self._dataset(values),
            secrets.randbits(40),
            given,
        )
        planner = Planner(
            workload,
            self._case.load or LoadLevel(),
            self._case.id,
            self._runtime.precedence.once,
            next(iter(self._estimators.values()), None),
        )
        run = Run(free_label(label, self.runs), {})
        measured = Measurement(run)
        self.measurements.append(measured)
        if (pairing := self._runtime.pairing) is not None:
            measured.paired = self._measure_pairs(pairing, planner, run)
            return run
        fresh = values.processes > 1 and choice.starts
        for process in range(values.processes):
            if fresh and process:
                self._server = self._runtime.servers.restart(choice)
            bench = self._bench(self.server, values)
            self._learn("now", planner, bench)
            plan = planner.plan(bench, choice.options, number=process, text=process)
            run.protocol = planner.protocol(plan, choice.options)
            level = bench.level(plan, run, fresh=fresh)
            if level.advice is not None:
                failed = f"{sum(level.failed.values())} of {level.sent} requests failed"
                warn(f"{self._case.id}: {failed}: {level.advice}")
            if level.invalid is not None:
                warn(f"{self._case.id}: {level.invalid}")
        for doubt in run.doubts:
            warn(f"{self._case.id}: {doubt}")
        return run

    def _measure_pairs(self, pairing: Pairing, planner: Planner, run: Run) -> tuple[Judgment, ...]:
        base = pairing.base
        now = self._choice
        other = self._case.target.base_choice(self._case.id, now, base, self._runtime)
        base_run = Run(f"{run.label}{BASE_SUFFIX}", {"ab": base.to_json()})
        self.measurements.append(Measurement(base_run))
        values = planner.workload.values
        for choice in (other, now):
            # Both are to be asked in the words that either of them wants.
            if choice.starts:
                continue
            try:
                planner.agree(self._bench(self._runtime.servers.of(choice), values))
            except LLMBenchError as error:
                side = "base" if choice is other else "new"
                error.add_note(f"It was the {side} side of pair 1. Nothing was measured.")
                raise
        pairs = LoadPairs(
            self._side("base", other, planner, base_run),
            self._side("now", now, planner, run),
            self._runtime.loop_monitor,
            self._runtime.progress,
            slo=values.slo,
            coin=pairing.coin(),
        )
        # One that was started for llm_server ends with the first level.
        self._server = None if now.starts else self._runtime.servers.of(now)
        judgments = pairing.measure(pairs, run, base_run, self.settings.thresholds, self.settings.clock)
        for side, measured in (("", run), ("the base side: ", base_run)):
            told = measured.doubts if measured.invalid is None else [measured.invalid, *measured.doubts]
            for what in told:
                warn(f"{self._case.id}: {side}{what}")
        return judgments

    def _bench(self, server: LLMServer, values: CaseSettings) -> LoadBench:
        return LoadBench(server, self._runtime.loop_monitor, self._runtime.progress, slo=values.slo)

    def _side(self, name: str, choice: ServerChoice, planner: Planner, run: Run) -> LoadSide:
        """One side of an A/B session, whose levels go into *run*."""
        servers = self._runtime.servers

        def plan(bench: LoadBench, pair: int, text: int) -> LoadPlan:
            # Each side is asked once: what a server was asked before a level warms it up.
            self._learn(name, planner, bench)
            made = planner.plan(bench, choice.options, number=pair, text=text)
            run.protocol = {**run.protocol, **planner.protocol(made, choice.options)}
            served = servers.of(choice)
            run.model = served.model or served.spec
            return made

        return LoadSide(run, partial(servers.during, choice), plan, fresh=choice.starts)

    def _learn(self, side: str, planner: Planner, bench: LoadBench) -> None:
        if side not in self._estimators and (found := planner.learn(bench)) is not None:
            self._estimators[side] = found

    def _dataset(self, values: CaseSettings) -> Dataset | None:
        path = values.dataset
        if path is None:
            return None
        held = self.conversations is not None
        dataset = read_dataset(
            path, time_unit=values.time_unit, block_size=values.block_size, conversations=held
        )
        for note in dataset.notes:
            warn(f"{path}: {note}")
        return dataset
