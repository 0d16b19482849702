"""What would a benchmark ask of its model: how many tokens, in which context, and in how much memory?

Known without running it: made prompts have the length that is asked for, others are counted by the model's
own tokenizer and chat template, where the model's files are here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llmbench.backends.base import Backend, LoadsVocabularies
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.registry import Registry, reference_of
from pytest_llmbench.cases.need import Need, of_load, of_prompt
from pytest_llmbench.cases.room import Fit, Memory
from pytest_llmbench.cases.target import EngineTarget
from pytest_llmbench.errors import LLMBenchError, one_line
from pytest_llmbench.measure.engine import Prompt
from pytest_llmbench.measure.tokens import TokenCounter, TokenizerSpec
from pytest_llmbench.models.resolve import kept_place
from pytest_llmbench.settings.suite_rows import Asked
from pytest_llmbench.workloads.scenarios.conversation import Conversation
from pytest_llmbench.workloads.tasks import task_of

if TYPE_CHECKING:
    from pytest_llmbench.cases.case import Case
    from pytest_llmbench.cases.room import Space
    from pytest_llmbench.cases.target import Target
    from pytest_llmbench.models.spec import ModelSpec
    from pytest_llmbench.settings.case import CaseSettings
    from pytest_llmbench.settings.kinds import Fixture

IN_THE_TEST = "the test says it when it runs"


@dataclass(frozen=True, slots=True)
class Listed:
    """What a benchmark would ask; under load, of middle lengths."""

    prompts: tuple[int, ...] | None
    """Tokens of the prompt of each turn, and of what lies before it; None where that is not known."""
    answers: tuple[int, ...]
    """Tokens of each answer."""
    context: int | None
    """Tokens of the longest turn and its answer."""
    memory: Memory | None
    unknown: str | None = None
    """Why the prompts are not known."""


class Lister:
    """Counts; the processes that it starts end with :meth:`close`."""

    def __init__(self, registry: Registry, space: Space, python: str) -> None:
        self._registry = registry
        self._space = space
        self._python = python
        self._counters: dict[object, TokenCounter | str] = {}

    def listed(
        self, fixture: Fixture, case: Case[Target], held: CaseSettings, asked: Asked | Conversation | None
    ) -> Listed:
        """What a case asks of its model; *asked* is None where only its test knows."""
        if isinstance(asked, Asked) and asked.conversation is not None:
            asked = asked.conversation
        elif isinstance(asked, Asked) and asked.task is not None and asked.prompt_tokens is None:
            asked = Asked(prompt=task_of(asked.task, held.seed).prompt)
        answers = self._answers(fixture, held, asked)
        prompts = self._prompts(fixture, case, held, asked, answers)
        if isinstance(prompts, str):
            return Listed(None, answers, None, None, prompts)
        context = max(prompt + answer for prompt, answer in zip(prompts, answers, strict=True))
        fit: Fit = self._space.fit(case.target, case.spec, held)
        memory = fit.memory(Need(context, context, "", context))
        return Listed(prompts, answers, context, memory)

    def close(self) -> None:
        """End what it started."""
        counters, self._counters = self._counters, {}
        for counter in counters.values():
            if isinstance(counter, TokenCounter):
                counter.close()

    def _answers(
        self, fixture: Fixture, held: CaseSettings, asked: Asked | Conversation | None
    ) -> tuple[int, ...]:
        turns = getattr(asked, "turns", None)
        if turns is not None:
            return tuple(turn.max_new_tokens or held.max_new_tokens for turn in turns)
        if fixture == "llm_load":
            return (of_load(held, made=False).least - 1,)
        return (held.max_new_tokens,)

    def _prompts(
        self,
        fixture: Fixture,
        case: Case[Target],
        held: CaseSettings,
        asked: Asked | Conversation | None,
        answers: tuple[int, ...],
    ) -> tuple[int, ...] | str:
        """The tokens of each prompt, or why they are not known."""
        if isinstance(asked, Conversation):
            own = "recorded" if fixture == "llm_load" else asked.history
            talk = replace(asked, history=held.history or own, placement=held.placement or asked.placement)
            counter = self._counter(case.target, case.spec, held)
            try:
                return counter if isinstance(counter, str) else tuple(counter.turns(talk, answers))
            except LLMBenchError as error:
                return one_line(str(error))
        if asked is not None and asked.prompt_tokens is not None:
            return (of_prompt(held, asked.prompt_tokens).least - answers[0],)
        if asked is not None and (asked.prompt is not None or asked.messages is not None):
            counter = self._counter(case.target, case.spec, held)
            prompt = Prompt(text=asked.prompt, messages=asked.messages)
            try:
                return counter if isinstance(counter, str) else (held.depth + counter.count(prompt),)
            except LLMBenchError as error:
                return one_line(str(error))
        if fixture == "llm_load" and asked == Asked():
            need = of_load(held, made=True)
            return "its data set has them" if need.tokens is None else (need.tokens - answers[0],)
        return IN_THE_TEST

    def _counter(self, target: Target, spec: ModelSpec, held: CaseSettings) -> TokenCounter | str:
        """What counts the tokens of a model, or why nothing can."""
        if target.form is None:
            return "the server has the tokenizer"
        backend = self._reader(target)
        if backend is None:
            return f"no backend here counts tokens of {target.form} models"
        if (place := kept_place(spec, target.form)) is None:
            return "the model's files are not here yet"
        options = option_values(backend, held.backend_options.of(backend.name))
        key = (backend.name, place, repr(options))
        if key not in self._counters:
            tokenizer = TokenizerSpec(reference_of(backend), spec, place, options, self._python)
            try:
                self._counters[key] = TokenCounter(tokenizer)
            except LLMBenchError as error:
                self._counters[key] = one_line(str(error))
        return self._counters[key]

    def _reader(self, target: Target) -> Backend | None:
        """The backend that makes tokens for a target: its own; of a server, one that reads the same files."""
        if isinstance(target, EngineTarget):
            return target.backend if isinstance(target.backend, LoadsVocabularies) else None
        for name in self._registry.names():
            backend = self._registry.get(name)
            able = backend.form == target.form and isinstance(backend, LoadsVocabularies)
            if able and backend.availability().available:
                return backend
        return None
