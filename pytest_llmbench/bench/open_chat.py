"""How is a conversation held that a test makes up turn by turn?

One engine holds it. What is said is known only when it is, so each turn gets its run when it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_llmbench.errors import UsageError, few
from pytest_llmbench.measure.loop import Bench
from pytest_llmbench.measure.same_output import SameOutput
from pytest_llmbench.measure.talk import ChatBench, Talk, Telling
from pytest_llmbench.measure.turns import ChatPlan, ChatRun
from pytest_llmbench.workloads.scenarios.conversation import Made, Text, Turn

if TYPE_CHECKING:
    from pytest_llmbench.bench.runtime import Runtime
    from pytest_llmbench.measure.engine import Generation
    from pytest_llmbench.measure.run import Round, Run


@dataclass(slots=True)
class OpenChat:
    """A conversation so far, and the engine that holds it."""

    chat: ChatPlan
    """What was said, its texts made."""
    label: str
    run: ChatRun
    _bench: ChatBench
    _talk: Talk
    _tell: Telling
    _turn: int = 0
    """How many turns were asked since it last began."""
    _repetition: int = 1
    _said: list[tuple[Turn, dict[str, Text]]] = field(default_factory=list)
    """Each turn as it was given, with the documents that came with it."""
    _texts: int = 0
    """How many texts were given: each one that is made has words of its own."""

    @classmethod
    def begin(cls, chat: ChatPlan, label: str, runtime: Runtime) -> OpenChat:
        """Start the engine; *chat* has no turn yet."""
        run = ChatRun.of(chat, label)
        tell = Telling(runtime.progress, chat.plan.engine.label, None)
        bench = Bench(chat.plan, runtime.pool, runtime.loop_monitor, runtime.progress)
        held = ChatBench(chat, bench, run, SameOutput(chat.conversation.name), tell)
        return cls(held.chat, label, run, held, held.talk(1), tell, _texts=1)

    def again(self) -> None:
        """Begin anew: the turns that come are further rounds of those that there are."""
        if self._turn:
            self._repetition += 1
        self._turn, self._talk = 0, self._bench.talk(self._repetition)

    def say(self, said: Turn, documents: Mapping[str, Text], chat: ChatPlan) -> list[Run]:
        """Take what is to be asked next. Returns the runs that came in for it.

        :param documents: the texts of those that the turn adds.
        :param chat: how it is to be measured; what was said in it does not count.
        :raises UsageError: for a turn that cannot be, or that was another one when the conversation was held
            before.
        """
        number = self._turn + 1
        given = (said, dict(documents))
        if number <= len(self._said):
            self.chat = replace(chat, conversation=self.chat.conversation)
            self._check_again(number, given)
        else:
            self._check(said, documents)
            part = replace(self.chat.conversation, system=None, turns=(said,), documents=dict(documents))
            made = self._bench.fill(part, self._texts)
            self._texts += 2 + len(documents)
            before = self.chat.conversation
            grown = replace(
                before,
                turns=(*before.turns, *made.turns),
                documents={**before.documents, **made.documents},
                placement=chat.conversation.placement,
            )
            self._said.append(given)
            self.chat = replace(chat, conversation=grown)
        return self.run.extend(self.chat, self.label)

    def ask(self) -> tuple[Generation, Round]:
        """Ask it: what the warm one of its ways answered, and its round."""
        number = self._turn + 1
        self._tell(self._repetition, self._repetition, number)
        measured, generation = self._bench.turn(self._talk, number, self.chat)[0]
        self._turn = number
        return generation, measured

    def close(self, *, failed: bool = False) -> None:
        """End the engine.

        :param failed: whether it cannot be asked any more.
        :raises OutputDiffersError: if a warm turn generated something else than a cold one does.
        """
        try:
            if not failed:
                self._bench.check()
        finally:
            self._bench.close()
        if not failed:
            self._bench.same.check()

    def _check(self, said: Turn, documents: Mapping[str, Text]) -> None:
        for what, text in (("what is said", said.user), *documents.items()):
            if not isinstance(text, str | Made):
                msg = f"turn(): {what} is {text!r}; it has to be a text, or Made(tokens=N)"
                raise UsageError(msg)
        conversation = self.chat.conversation
        there = conversation.present(self._turn)
        if absent := [name for name in said.remove if name not in there]:
            msg = f"turn(remove={absent!r}): of documents there are {few(list(there)) or 'none'}"
            raise UsageError(msg)
        if taken := [name for name in documents if name in conversation.documents]:
            msg = f"turn(): there was a document {taken[0]!r} already; give each a name of its own"
            raise UsageError(msg)

    def _check_again(self, number: int, given: tuple[Turn, dict[str, Text]]) -> None:
        other = ["what is said"] if given != self._said[number - 1] else []
        for way in self.chat.ways(number):
            if (run := self.run.runs.get((number, way))) is not None:
                now = self.chat.protocol(number, way)
                told = self.chat.plan.engine.told()
                other += [key for key, value in run.protocol.items() if {**now, **told}.get(key) != value]
        if other:
            msg = (
                f"turn {number} of the conversation {self.label!r} was another when it was held before "
                f"({few(list(dict.fromkeys(other)))}); reset(name=...) begins another conversation"
            )
            raise UsageError(msg)
