"""What can a test ask of a model in a conversation?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.bench.measurement import Measurement, ModelFixture
from pytest_llmbench.bench.model import Generated
from pytest_llmbench.bench.open_chat import OpenChat
from pytest_llmbench.cases.need import of_conversation
from pytest_llmbench.errors import LLMBenchError, UsageError, warn
from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.gate.pairing import PairedRun
from pytest_llmbench.measure.served import NEEDS_CHAT
from pytest_llmbench.measure.talk import measure_chat
from pytest_llmbench.measure.turn_pairs import ChatSide, TurnPairs
from pytest_llmbench.measure.turns import ChatPlan, ChatRun
from pytest_llmbench.servers.options import SERVER
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Text, Turn

if TYPE_CHECKING:
    from pytest_llmbench.gate.pairing import Pairing
    from pytest_llmbench.measure.run import Run
    from pytest_llmbench.settings.case import CaseSettings

TURNS_LABEL = "chat"
"""What a conversation is called that a test holds turn by turn, where it gives no name."""


@dataclass(slots=True, repr=False)
class LLMChat(ModelFixture):
    """The fixture ``llm_chat``: one model on one backend or server, ready for a conversation."""

    fixture = "llm_chat"

    chats: list[ChatRun] = field(default_factory=list)
    """Every conversation of this test so far."""
    _open: OpenChat | None = None
    """The conversation that is held turn by turn."""
    _name: str | None = None
    """What it is called, where the test says it."""
    _system: Text | None = None

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
        :raises OutputDiffersError: if a warm turn generates something else than the cold one; after all were
            measured.
        :raises LLMBenchError: if the conversation, the model or the engine fails; turns that were
            measured until then are kept.
        """
        __tracebackhide__ = True
        try:
            conversation = self._found(conversation)
            held = self._call(settings)
            label = self._free(label or conversation.name)
            conversation = _as_set(conversation, held)
            self._make_room(of_conversation(held, conversation))
            chat = self._plan(conversation, held)
            self._close_open()
            run = ChatRun.of(chat, label)
            self._keep(run, run)
            runtime = self._runtime
            try:
                if runtime.pairing is not None:
                    self._measure_pairs(runtime.pairing, chat, run, label)
                else:
                    measure_chat(chat, run, runtime.pool, runtime.loop_monitor, runtime.progress)
            finally:
                _told(run, chat)
        except LLMBenchError as error:
            raise error.with_traceback(None) from None
        finally:
            self._runtime.progress.done()
        self._warn(run)
        return run

    def turn(
        self,
        user: Text,
        *,
        documents: Mapping[str, Text] | None = None,
        remove: Sequence[str] = (),
        **settings: object,
    ) -> Generated:
        """Say one more thing in a conversation that the test makes up as it goes, and measure the answer.

        What was said and answered before stands in the prompt, by token ids where the engine is in a process
        of ours. All turns are asked of one engine, and no warm-up of ours comes before them. Each is a round
        of a case of its own, ``chat turn 3``; with ``cache=paired`` it is asked both ways, and what is
        returned is the warm one, which has the ``cache_speedup``.

        :param user: what the person says.
        :param documents: what a retrieval puts before the model from this turn on, by name.
        :param remove: names of documents that are not there any more from this turn on.
        :param settings: ``max_new_tokens``, ``cache``, ``temperature``, ...
        :raises LLMBenchError: as :meth:`run`; that a warm answer differs is raised when the conversation
            ends.
        """
        __tracebackhide__ = True
        try:
            held = self._call(settings)
            label = self._open.label if self._open is not None else self._name or self._next_name()
            said = _as_set(Conversation(name=label, turns=(), system=self._system), held)
            if self._open is None:
                # Nobody knows how long it gets.
                self._with_room = None
            # It has no answers but the model's own.
            chat = replace(self._plan(replace(said, history="live"), held), whole=False)
            if self._open is None:
                self._open = OpenChat.begin(chat, self._free(label), self._runtime)
                self._keep(self._open.run, ())
            turn = Turn(user=user, add=tuple(documents or ()), remove=tuple(remove))
            try:
                self._keep(self._open.run, self._open.say(turn, documents or {}, chat))
                answer, measured = self._open.ask()
            except UsageError:
                raise
            except BaseException:
                # What the engine's cache has is not known any more, and it may be gone.
                self._close_open(failed=True)
                raise
            _told(self._open.run, chat)
        except LLMBenchError as error:
            raise error.with_traceback(None) from None
        finally:
            self._runtime.progress.done()
        return Generated(answer.text, measured)

    def reset(self, name: str | None = None, *, system: Text | None = None) -> None:
        """Begin the conversation of :meth:`turn` anew.

        Without a *name* or another *system* prompt, it is the same conversation once more, in the same
        engine: its turns are further rounds of the cases that there are, and have to say the same. Else it is
        another one, with an engine and cases of its own.

        :param name: stands before the labels of its turns.
        :raises LLMBenchError: as :meth:`finish`, where another conversation ends.
        """
        __tracebackhide__ = True
        if self._open is not None and name is None and system == self._system:
            self._open.again()
            return
        if name is not None:
            self._free(name)
        self.finish()
        self._name, self._system = name, system

    def finish(self) -> None:
        """The test is over: end the engine of :meth:`turn`; once is enough.

        :raises OutputDiffersError: if a warm turn generated something else than a cold one does.
        """
        __tracebackhide__ = True
        try:
            self._close_open()
        except LLMBenchError as error:
            raise error.with_traceback(None) from None
        finally:
            self._runtime.progress.done()

    def _measure_pairs(self, pairing: Pairing, chat: ChatPlan, run: ChatRun, label: str) -> None:
        """Measure a conversation in pairs; the judgments are in the measurements of its turns."""
        base = pairing.base
        if chat.plan.isolation != "test":
            msg = f"isolation={chat.plan.isolation!r} keeps one process; --llm-ab needs isolation='test'"
            raise UsageError(msg)
        other = self._case.target.base_startable(self._case.spec, self._options, base, self._runtime)
        base_chat = replace(chat, plan=replace(chat.plan, engine=other))
        base_run = ChatRun.of(base_chat, label, BASE_SUFFIX)
        for one in base_run:
            one.protocol = {**one.protocol, "ab": base.to_json()}
            one.model = other.model
        measured = self.measurements[-len(run.runs) :]
        self.measurements += [Measurement(one) for one in base_run]
        pairs = TurnPairs(
            ChatSide(base_chat, base_run),
            ChatSide(chat, run),
            self._runtime.pool,
            self._runtime.loop_monitor,
            self._runtime.progress,
            coin=pairing.coin(),
        )
        tracks = [PairedRun(run.runs[key], base_run.runs[key], pairs.scopes(key)) for key in pairs.keys]
        settings = self.settings
        try:
            found = pairing.measure_all(pairs, tracks, settings.thresholds, settings.clock)
        finally:
            _told(base_run, base_chat)
        for measurement, judgments in zip(measured, found, strict=True):
            measurement.paired = judgments
        pairs.check()

    def _close_open(self, *, failed: bool = False) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            self._name = None
            opened.close(failed=failed)
            self._warn(opened.run)

    def _keep(self, run: ChatRun, added: Iterable[Run]) -> None:
        """Have *run* among the test's conversations, and *added* of its turns among its measurements."""
        if not any(one is run for one in self.chats):
            self.chats.append(run)
        self.measurements += [Measurement(one) for one in added]

    def _warn(self, run: ChatRun) -> None:
        for one in run:
            if one.invalid is not None:
                warn(f"{self._case.id}, {one.label}: {one.invalid}")
        for doubt in dict.fromkeys(doubt for one in run for doubt in one.doubts):
            warn(f"{self._case.id}: {doubt}")

    def _found(self, said: Conversation | str | Path) -> Conversation:
        """The conversation that is meant, if it can be held."""
        from pytest_llmbench.settings.conversations import find_conversation

        return find_conversation(said, self._folder)

    def _free(self, label: str) -> str:
        if label in self._taken:
            msg = f"this test has a conversation {label!r} already; give each a label of its own"
            raise UsageError(msg)
        return label

    @property
    def _taken(self) -> set[str]:
        return {run.label.rpartition(" turn ")[0] for run in self.runs}

    def _next_name(self) -> str:
        name, number, taken = TURNS_LABEL, 2, self._taken
        while name in taken:
            name, number = f"{TURNS_LABEL} {number}", number + 1
        return name

    def _call(self, settings: Mapping[str, object]) -> CaseSettings:
        return self._runtime.call_settings("llm_chat", self.settings, settings, self._folder)

    def _plan(self, conversation: Conversation, held: CaseSettings) -> ChatPlan:
        options = self.settings.backend_options
        if self._case.target.name == SERVER and options.of(SERVER).get("endpoint") != "chat":
            raise UsageError(NEEDS_CHAT)
        return ChatPlan(self._base_plan(held), conversation, held.cache, held.same_output)


def _as_set(conversation: Conversation, held: CaseSettings) -> Conversation:
    """The conversation with what the settings say of it."""
    return replace(
        conversation,
        history=held.history or conversation.history,
        placement=held.placement or conversation.placement,
    )


def _told(run: ChatRun, chat: ChatPlan) -> None:
    """Have the protocol of each turn say what of it holds otherwise for the engine."""
    for one in run:
        one.protocol = {**one.protocol, **chat.plan.engine.told()}
