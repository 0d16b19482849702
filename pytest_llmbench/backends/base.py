"""What must an engine offer so that it can be measured?

A :class:`Backend` describes an engine without importing it; it is what the plugin, the command
line and the registry see. Its :meth:`Backend.load` runs in the worker process and returns an
:class:`Engine`, which generates tokens and hands each to a :class:`Sink` the moment it exists.
No engine computes a metric or takes a time: the sink does.

Modules of backends are imported by the worker, in an environment that may hold nothing but the
engine: keep to the standard library at the top, and import the engine inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmbench.models.attention import KVBits
    from pytest_llmbench.models.outline import Outline
    from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel
    from pytest_llmbench.workloads.messages import Message


T = TypeVar("T", int, float)

_FILTER = "filter"

Options: TypeAlias = Mapping[str, Any]
"""The options of one backend by name, each of the type that its row (:class:`OptionSpec`) says."""
Facts: TypeAlias = Mapping[str, Any]
"""What JSON can hold, by name."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What is known of a parameter that keeps tokens from being sampled, where ``temperature`` is above 0."""

    off: float
    """The value at which it keeps none."""
    extension: bool
    """Whether the API of OpenAI lacks it, so that servers know it by their own extensions."""


def _filter(off: T, *, extension: bool) -> T:
    """Declare a parameter that keeps tokens from being sampled.

    :param off: the value at which it keeps none.
    :param extension: whether the API of OpenAI lacks it, so that servers know it by their own extensions.
    """
    return field(default=off, metadata={_FILTER: Filter(off, extension)})


@dataclass(frozen=True, slots=True)
class GenerationParams:
    """How the engine is to generate.

    A parameter that a server takes under its own name, and that a setting of that name sets, is one field;
    one that :func:`_filter` declares is sent to every server that can take it.
    """

    max_new_tokens: int = 64
    """Tokens; exactly that many are generated while ``ignore_eos`` holds."""
    ignore_eos: bool = True
    """Go on past the end-of-sequence token, so that two runs do the same work."""
    temperature: float = 0.0
    """0 is greedy decoding."""
    top_k: int = _filter(0, extension=True)
    """0 is off; used only where ``temperature`` is above 0."""
    top_p: float = _filter(1.0, extension=False)
    """1 is off; used only where ``temperature`` is above 0."""
    seed: int = 0


REQUEST_PARAMS = tuple(one.name for one in fields(GenerationParams) if one.name != "max_new_tokens")
"""The parameters that a request to a server has under their own names."""
FILTERS: Mapping[str, Filter] = {
    one.name: one.metadata[_FILTER] for one in fields(GenerationParams) if _FILTER in one.metadata
}
"""Those of them that keep tokens from being sampled."""


class Sink(Protocol):
    """Where an engine reports what happened; implemented by the measuring loop."""

    def prefilled(self) -> None:
        """The prompt is evaluated, on the device too; nothing was sampled yet."""

    def token(self, token: int) -> None:
        """One more token is known to the host."""


class Engine(Protocol):
    """A loaded model, in the worker process."""

    context_length: int
    """Tokens that prompt and output may have together."""

    @property
    def info(self) -> Facts:
        """JSON-able facts of this load: threads, device, dtype, context, build flags, ...

        ``n_threads`` and ``on_gpu`` say whether its CPU time compares (:mod:`.cpu_time`).
        """

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a prompt, with the special tokens that the model puts before it."""

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Text of *tokens*; special tokens are left out."""

    def render_chat(self, messages: Sequence[Message]) -> str:
        """The prompt text that the model's own chat template makes of *messages*.

        :raises EngineError: if the model has no chat template.
        """

    def tokenize_rendered(self, text: str) -> list[int]:
        """Token ids of a text that :meth:`render_chat` made: special tokens in it are parsed,
        and none is added before it that it already has."""

    def reset(self) -> None:
        """Empty the prompt and KV caches: the next prompt is evaluated whole."""

    def generate(self, prompt: Sequence[int], params: GenerationParams, sink: Sink) -> str:
        """Evaluate *prompt*, call ``sink.prefilled()``, then ``sink.token(id)`` for each token.

        What an earlier call left in the KV cache may be used for a common prefix; :meth:`reset`
        prevents it. Returns the finish reason: ``"length"`` or ``"stop"``.

        :raises PromptTooLongError: if prompt and output do not fit into the context.
        """

    def close(self) -> None:
        """Free the model."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """How many tokens of the last prompt lay in the KV cache already, and were not evaluated again."""

    tokens: int | None
    """None where it is not known, or where the model cannot reuse a part of what its cache holds."""
    source: str
    """Who says so, such as ``cut``: the engine cut its own cache there."""
    reason: str | None = None
    """Why ``tokens`` is None."""
    doubt: str | None = None
    """What of the engine's own count contradicts it; the round is invalid then."""


@dataclass(frozen=True, slots=True)
class SavedState:
    """A copy of what a KV cache holds."""

    tokens: tuple[int, ...]
    """Of which text, as ids."""
    size: int
    """Bytes of the copy."""
    data: object
    """The engine's own."""


@runtime_checkable
class CachingEngine(Engine, Protocol):
    """An engine that keeps its KV cache from one generation to the next, and says what it reused of it.

    What it says is held against what the token ids allow, so it has to be what was done, never a guess. An
    engine that has a count of its own for what it evaluated holds what it did against that, and says
    :attr:`Reuse.doubt` where they differ.
    """

    def reused(self) -> Reuse:
        """Of the last :meth:`generate`."""

    def tokenize_part(self, text: str) -> list[int]:
        """Token ids of a part of a rendered chat that stands after other tokens: special tokens in it are
        parsed, and none is put before it."""

    def evaluate(self, tokens: Sequence[int], room: int = 1) -> None:
        """Empty the KV cache and have it hold *tokens*; nothing of it is reported.

        :param room: how many tokens have to fit into the context behind them.
        :raises PromptTooLongError: if they do not; nothing was evaluated then.
        """

    def save_state(self) -> SavedState:
        """A copy of the KV cache and what it holds.

        :raises EngineError: if this model or its cache cannot be copied; it says why.
        """

    def restore_state(self, state: SavedState) -> None:
        """Have the KV cache hold what it held when *state* was saved; as often as wanted."""


@runtime_checkable
class GivesLogits(Protocol):
    """An engine that says how likely each token is, so that rounding is not taken for a wrong cache."""

    def logits(self, tokens: Sequence[int], at_once: int, params: GenerationParams) -> Sequence[float]:
        """The logits after *tokens*, one a token of the vocabulary.

        They are evaluated as :meth:`Engine.generate` does it with an empty cache: the first *at_once*, which
        are at least one, as a prompt, and each of the others as a token that was generated. The logits are
        those that greedy decoding with *params* takes the largest of, so tokens that it must not take have
        minus infinity. What the KV cache holds afterwards is not promised.

        :raises PromptTooLongError: if they do not fit into the context.
        """


def _as_it_is(value: object) -> object:
    return value


def _same(asked: Any, told: object) -> bool:
    asked_text, told_text = str(asked).casefold(), str(told).casefold()
    # A device without its number is any of them.
    return asked_text in ("auto", told_text) or told_text.startswith(f"{asked_text}:")


def at_most(asked: Any, told: object) -> bool:
    """Whether a number is a bound below which an engine stayed."""
    return isinstance(told, int) and (asked < 0 or told <= asked)


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """One engine option, as ``--llm-option BACKEND.NAME=VALUE`` takes it."""

    name: str
    type: type[int] | type[float] | type[str] | type[bool]
    default: int | float | str | bool | None
    help: str
    choices: tuple[str, ...] = ()
    minimum: int | float | None = None
    """The smallest value of a number; None for no bound."""
    maximum: int | float | None = None
    """The largest value of a number; None for what a C int holds, of a whole one."""
    path: bool = False
    """Whether it is a file's or a folder's path; see :mod:`pytest_llmbench.models.paths`."""
    only: tuple[str, ...] = ()
    """The kinds of cases for which it does anything, as in :data:`pytest_llmbench.settings.kinds.KINDS`."""
    also: tuple[str, ...] = ()
    """What other tools call it, as an option without its dashes: known in messages, not taken."""
    context: bool = False
    """Whether it is the tokens that prompt and output may have together: set to what a test needs, where that
    is more than :attr:`default_context` and nothing else is said."""
    default_context: int | None = None
    """Of that option: the tokens that there are at most where it is not set; None for as many as the model
    was trained for."""
    parse: Callable[[object], object] | None = None
    """Reads what is neither number nor text nor truth value, from a text or from what a marker has; raises
    ValueError saying what is wrong, without the value where that may be secret."""
    kept: Callable[[Any], object] | None = _as_it_is
    """What the results document has of a value; None for an option that says only how a server is reached,
    and of which the document has nothing."""
    holds: Callable[[Any, object], bool] = _same
    """Whether a value that was asked for is what the engine says of itself afterwards, by the same name."""


@runtime_checkable
class KnowsItsCache(Protocol):
    """A backend that can tell, before it loads a model, how much memory a context takes at least."""

    def kv_bits(self, outline: Outline, quantization: str | None, options: Options) -> KVBits:
        """Bits that a value of the K cache has at least, and one of the V cache.

        :param quantization: what was asked for; None for the model's own.
        :param options: every option, defaults filled in.
        """


class Vocabulary(Protocol):
    """What makes tokens of texts: the part of an :class:`Engine` that needs no weights."""

    def tokenize(self, text: str) -> list[int]: ...

    def detokenize(self, tokens: Sequence[int]) -> str: ...

    def render_chat(self, messages: Sequence[Message]) -> str: ...

    def tokenize_rendered(self, text: str) -> list[int]: ...

    def close(self) -> None: ...


@runtime_checkable
class LoadsVocabularies(Protocol):
    """A backend that can count the tokens of prompts without loading the weights."""

    def load_vocabulary(self, spec: ModelSpec, path: Path, options: Options) -> Vocabulary:
        """The tokenizer and the chat template of the model in *path*, as :meth:`Backend.load` has them.

        :raises ModelError: for files the engine cannot read; :raises EngineError: for the rest.
        """


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can run here, and if not, why and what to do."""

    available: bool
    reason: str | None = None


@runtime_checkable
class Backend(Protocol):
    """An engine's description; cheap to import and to ask."""

    name: str
    """As in ``--llm-backend NAME``."""
    extra: str
    """The extra that installs the engine: ``pip install 'pytest-llmbench[EXTRA]'``."""
    form: Form
    """The model files that :meth:`load` takes."""
    quantizations: tuple[str, ...]
    """Every name that ``quantizations=[...]`` may have for this backend."""
    options: tuple[OptionSpec, ...]
    modules: tuple[str, ...]
    """What :meth:`load` imports; imported before the clock of ``load_time`` starts."""

    def availability(self) -> Availability:
        """Whether the engine is installed; must not import it (``importlib.util.find_spec``)."""

    def versions(self) -> Mapping[str, str]:
        """Distribution name to version, from the installed metadata; the engine's own first."""

    def load(self, model: ResolvedModel, options: Options) -> Engine:
        """Load *model* in this process. *options* holds every option, defaults filled in.

        :raises ModelError: for files the engine cannot read; :raises EngineError: for the rest.
        """
