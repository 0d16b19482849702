"""What can a test ask of a model in a conversation?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.bench.measurement import CaseFixture, Measurement
from pytest_llmbench.cases.need import of_conversation
from pytest_llmbench.cases.target import Target
from pytest_llmbench.errors import LLMBenchError, UsageError, warn
from pytest_llmbench.measure.loop import Plan
from pytest_llmbench.measure.turns import ChatPlan, ChatRun, measure_chat
from pytest_llmbench.workloads.scenarios.conversation import Conversation

if TYPE_CHECKING:
    from pytest_llmbench.models.spec import ModelSpec, ResolvedModel


@dataclass(slots=True, repr=False)
class LLMChat(CaseFixture[Target]):
    """The fixture ``llm_chat``: one model on one backend or server, ready for a conversation."""

    fixture = "llm_chat"

    chats: list[ChatRun] = field(default_factory=list)
    """Every conversation of this test so far."""

    @property
    def name(self) -> str:
        """The model as the test named it."""
        return self._case.spec.name

    @property
    def resolved(self) -> ResolvedModel | ModelSpec:
        """The model with its files, or only its spec where nothing was measured yet."""
        return self._case.target.resolved(self._case.spec, self._given, self._runtime)

    def run(
        self, conversation: Conversation | str | Path, *, label: str | None = None, **settings: object
    ) -> ChatRun:
        """Hold a conversation ``rounds`` times in each of ``processes`` fresh processes.

        :param conversation: what is said; or the name of a conversation that comes with the package, a file,
            or ``FILE#NAME`` of a file with several.
        :param label: stands before the labels of its turns, instead of the conversation's name.
        :param settings: what is measured in this call (``cache``, ``placement``, ...), and how often
            (``rounds``, ``processes``, ...) where the command line does not set that. The reference of
            settings says of each whether a call can set it.
        :raises OutputDiffersError: if a warm turn generates something else than the cold one.
        :raises LLMBenchError: if the conversation, the model or the engine fails; turns that were
            measured until then are kept.
        """
        __tracebackhide__ = True
        try:
            conversation = self._found(conversation)
            chat = self._plan(conversation, settings)
            run = ChatRun.of(chat, self._free(label or conversation.name))
            self.chats.append(run)
            self.measurements += [Measurement(one) for one in run.runs.values()]
            runtime = self._runtime
            if runtime.pairing is not None:
                msg = "conversations are not measured in pairs (--llm-ab)"
                raise UsageError(msg)
            try:
                measure_chat(chat, run, runtime.pool, runtime.loop_monitor, runtime.progress)
            finally:
                for one in run.runs.values():
                    one.protocol = {**one.protocol, **chat.plan.engine.told()}
        except LLMBenchError as error:
            raise error.with_traceback(None) from None
        finally:
            self._runtime.progress.done()
        for doubt in dict.fromkeys(doubt for one in run.runs.values() for doubt in one.doubts):
            warn(f"{self._case.id}: {doubt}")
        return run

    def finish(self) -> None:
        """The test is over."""

    def _found(self, said: Conversation | str | Path) -> Conversation:
        """The conversation that is meant, if it can be held."""
        if not isinstance(said, Conversation):
            from pytest_llmbench.settings.conversations import find_conversation

            return find_conversation(said, self._folder)
        if (fault := said.fault()) is not None:
            raise UsageError(f"the conversation {said.name}: {fault[1]}")
        return said

    def _free(self, label: str) -> str:
        taken = {run.label.rpartition(" turn ")[0] for run in self.runs}
        if label in taken:
            msg = f"this test has a conversation {label!r} already; give each run() a label of its own"
            raise UsageError(msg)
        return label

    def _plan(self, conversation: Conversation, settings: Mapping[str, object]) -> ChatPlan:
        held = self._runtime.call_settings("llm_chat", self.settings, settings, self._folder)
        conversation = replace(
            conversation,
            history=held.history or conversation.history,
            placement=held.placement or conversation.placement,
        )
        self._make_room(of_conversation(held, conversation))
        plan = Plan(
            engine=self._case.target.startable(self._case.spec, self._given, self._runtime),
            params=held.params,
            rounds=held.rounds,
            warmup_rounds=held.warmup_rounds,
            processes=held.processes,
            timeout=held.timeout,
            isolation=held.isolation,
        )
        return ChatPlan(plan, conversation, held.cache, held.same_output)
