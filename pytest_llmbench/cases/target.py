"""What runs the model of a case: an engine in a process of ours, or a server?

A target knows what test ids call it, which files it reads, how it is started for the measuring loop, and
what the other side of an A/B session is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pytest_llmbench.backends.base import KnowsItsCache
from pytest_llmbench.backends.options import kept_options, option_values
from pytest_llmbench.backends.registry import reference_of
from pytest_llmbench.backends.threads import THREADS
from pytest_llmbench.errors import ModelError, UsageError
from pytest_llmbench.servers.options import SERVER, SERVER_OPTIONS
from pytest_llmbench.servers.urls import read_url
from pytest_llmbench.settings.options import BackendOptions

if TYPE_CHECKING:
    from pytest_llmbench.backends.base import Backend
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.gate.ab import BaseSide
    from pytest_llmbench.measure.engine import EngineSpec
    from pytest_llmbench.measure.loop import Startable
    from pytest_llmbench.models.attention import KVBits
    from pytest_llmbench.models.outline import Outline
    from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel
    from pytest_llmbench.servers.keep import ServerChoice, Servers, Teller
    from pytest_llmbench.servers.table import Start

_OF_A_CONTAINER = frozenset(spec.name for spec in SERVER_OPTIONS.options if "docker" in spec.only)
_OF_A_START = _OF_A_CONTAINER | {spec.name for spec in SERVER_OPTIONS.options if "started" in spec.only}
"""Options of servers that say nothing of one that runs already."""


class Resources(Protocol):
    """What a session lends to what it measures."""

    @property
    def registry(self) -> Registry: ...

    @property
    def python(self) -> str:
        """The interpreter of engines."""

    @property
    def progress(self) -> Teller: ...

    @property
    def servers(self) -> Servers: ...

    def spec(self, name: str) -> ModelSpec:
        """The model that a name of the command line means.

        :raises UsageError: if there is none.
        """

    def resolve(self, spec: ModelSpec, form: Form) -> ResolvedModel:
        """A model's files, built or downloaded if they are not there yet.

        :raises ModelError: if they cannot be found or built.
        """

    def looked_up(self, spec: ModelSpec, form: Form) -> ResolvedModel | ModelSpec:
        """A model as far as it is known."""


class ContextOption(NamedTuple):
    """The option that is the tokens which prompt and output may have together."""

    name: str
    default: int | None
    """Tokens that there are at most where it is not set; None for as many as the model was trained for."""


class Target(Protocol):
    """What runs the model of a case."""

    @property
    def name(self) -> str:
        """What stands before its options, and in the results: a backend's name, or ``server``."""

    @property
    def label(self) -> str:
        """What test ids call it."""

    @property
    def form(self) -> Form | None:
        """The form of the files that it reads; None for a server that runs already: it has its own models."""

    @property
    def kinds(self) -> frozenset[str]:
        """What its cases are, of :data:`pytest_llmbench.settings.kinds.KINDS`."""

    @property
    def one_thread(self) -> BackendOptions:
        """The options with which its CPU time compares whatever else the machine does; empty for none."""

    @property
    def context(self) -> ContextOption | None:
        """None where the context is not ours to set."""

    def kv_bits(self, outline: Outline, spec: ModelSpec, given: BackendOptions) -> KVBits | None:
        """Bits that a value of its K cache has, and one of its V cache; None where that is not known."""

    def misfit(self, spec: ModelSpec, registry: Registry) -> str | None:
        """Why it cannot run a model, as far as the model's name and files tell; None if it may."""

    def resolved(
        self, spec: ModelSpec, given: BackendOptions, resources: Resources
    ) -> ResolvedModel | ModelSpec:
        """Its model as far as that was looked up."""

    def startable(self, spec: ModelSpec, given: BackendOptions, resources: Resources) -> Startable:
        """What the measuring loop starts.

        :raises LLMBenchError: if the model or the server is not available.
        """

    def base_startable(
        self, spec: ModelSpec, given: BackendOptions, base: BaseSide, resources: Resources
    ) -> Startable:
        """The same for the base side of an A/B session.

        :raises UsageError: for a base side that it cannot have.
        """


@dataclass(frozen=True, slots=True)
class EngineTarget:
    """An engine, which loads the model in a process of ours."""

    backend: Backend

    @property
    def name(self) -> str:
        return self.backend.name

    @property
    def label(self) -> str:
        return self.backend.name

    @property
    def form(self) -> Form:
        return self.backend.form

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset({"engine"})

    @property
    def one_thread(self) -> BackendOptions:
        has = any(option.name == THREADS for option in self.backend.options)
        return BackendOptions({self.name: {THREADS: 1}} if has else {})

    @property
    def context(self) -> ContextOption | None:
        found = next((option for option in self.backend.options if option.context), None)
        return None if found is None else ContextOption(found.name, found.default_context)

    def kv_bits(self, outline: Outline, spec: ModelSpec, given: BackendOptions) -> KVBits | None:
        if not isinstance(self.backend, KnowsItsCache):
            return None
        options = option_values(self.backend, given.of(self.name))
        return self.backend.kv_bits(outline, spec.quantization, options)

    def misfit(self, spec: ModelSpec, registry: Registry) -> str | None:
        """Why it cannot run a model: the form of its files, or the quantization."""
        del registry
        return other_form(self.form, spec, self.name) or _no_quantization(
            spec, self.backend.quantizations, self.name
        )

    def resolved(
        self, spec: ModelSpec, given: BackendOptions, resources: Resources
    ) -> ResolvedModel | ModelSpec:
        del given
        return resources.looked_up(spec, self.form)

    def startable(self, spec: ModelSpec, given: BackendOptions, resources: Resources) -> EngineSpec:
        """What a worker has to load."""
        from pytest_llmbench.measure.engine import EngineSpec

        resources.progress.loading(f"{self.name} {spec.label}")
        return EngineSpec(
            backend=self.name,
            reference=reference_of(self.backend),
            model=resources.resolve(spec, self.form),
            options=option_values(self.backend, given.of(self.name)),
            python=resources.python,
        )

    def base_startable(
        self, spec: ModelSpec, given: BackendOptions, base: BaseSide, resources: Resources
    ) -> EngineSpec:
        if base.base_url is not None:
            msg = "--llm-ab base_url=... is a base side for a server, and this case has none"
            raise UsageError(msg)
        options = BackendOptions(base.options).over(given)
        engine = self.startable(_base_spec(spec, base, resources), options, resources)
        return replace(engine, python=base.python or engine.python, environment=dict(base.environment))


@dataclass(frozen=True, slots=True)
class ServerTarget:
    """A server: one that runs already, or one to start."""

    base_url: str | None = field(default=None, repr=False)
    """It may have a password in it."""
    engine: str | None = None
    """As in ``--llm-serve``: ``vllm``, ``docker:vllm``, ``vllm:single-user``."""
    start: Start | None = None
    """The preset that *engine* names."""
    alone: bool = True
    """Whether it is the only one that runs already."""

    @property
    def name(self) -> str:
        return SERVER

    @property
    def label(self) -> str:
        if self.engine is not None:
            from pytest_llmbench.servers.table import start_label

            return start_label(self.engine)
        return SERVER if self.alone else f"{SERVER}@{read_url(self.base_url or '').place}"

    @property
    def form(self) -> Form | None:
        if self.engine is None:
            return None
        from pytest_llmbench.servers.table import find_engine

        return find_engine(self.engine).form

    @property
    def kinds(self) -> frozenset[str]:
        if self.engine is not None:
            from pytest_llmbench.servers.table import DOCKER

            return frozenset({"started", "docker"} if self.engine.startswith(DOCKER) else {"started"})
        secure = (self.base_url or "").startswith("https:")
        return frozenset({"running", "https"} if secure else {"running"})

    @property
    def one_thread(self) -> BackendOptions:
        """Nothing: what servers call it, and whether they are to have one, is for whoever starts them."""
        return BackendOptions()

    @property
    def context(self) -> ContextOption | None:
        if self.engine is None:
            return None
        from pytest_llmbench.servers.table import find_engine

        name = next(option.name for option in SERVER_OPTIONS.options if option.context)
        return ContextOption(name, find_engine(self.engine).default_context)

    def kv_bits(self, outline: Outline, spec: ModelSpec, given: BackendOptions) -> KVBits | None:
        """None: what a server's cache holds is for whoever starts it."""
        del outline, spec, given
        return None

    def misfit(self, spec: ModelSpec, registry: Registry) -> str | None:
        """Why it cannot be started with a model; of one that runs already, only it knows."""
        if self.engine is None or self.form is None:
            return None
        from pytest_llmbench.models.forms import find_form

        if spec.quantization is not None and not find_form(self.form).quantized:
            return f"{self.engine} takes a model as it is: quantization {spec.quantization!r} is not made"
        if (reason := other_form(self.form, spec, self.engine)) is not None:
            return reason
        backends = (registry.get(name) for name in registry.names())
        known = next((backend.quantizations for backend in backends if backend.form == self.form), None)
        # Of a form that no backend reads, the quantizations are not known here.
        return None if known is None else _no_quantization(spec, known, self.engine)

    def choice(self, spec: ModelSpec, given: BackendOptions, resources: Resources) -> ServerChoice:
        """Which server is to answer, and how it is asked.

        :raises UsageError: for an option that servers do not have.
        """
        from pytest_llmbench.servers.keep import ServerChoice

        options = option_values(SERVER_OPTIONS, given.of(SERVER))
        return ServerChoice(spec, options, self.base_url, self.engine, self.start, resources.python)

    def resolved(
        self, spec: ModelSpec, given: BackendOptions, resources: Resources
    ) -> ResolvedModel | ModelSpec:
        return resources.servers.resolved(self.choice(spec, given, resources))

    def startable(self, spec: ModelSpec, given: BackendOptions, resources: Resources) -> Startable:
        """The server that runs, started if it does not."""
        return _served(self.choice(spec, given, resources), resources)

    def base_startable(
        self, spec: ModelSpec, given: BackendOptions, base: BaseSide, resources: Resources
    ) -> Startable:
        """Another server that runs already, with the options of the case."""
        if base.base_url is None:
            msg = "a server's base side is another server: --llm-ab base_url=http://HOST:PORT/v1"
            raise UsageError(msg)
        options = BackendOptions(base.options).over(given)
        other = ServerTarget(base_url=base.base_url)
        named = spec if base.model is None else replace(spec, name=base.model)
        return _served(other.choice(named, options, resources), resources)

    def base_choice(
        self, case_id: str, now: ServerChoice, base: BaseSide, resources: Resources
    ) -> ServerChoice:
        """The server of the base side under a load, where a case is measured on the one of *now*.

        What ``--llm-ab`` names and a server cannot have is refused: left out in silence, the two sides
        would be the same.

        :raises UsageError: for what its server cannot have, or if nothing of *base* is of a server.
        """
        given = base.options.get(SERVER, {})
        options = option_values(SERVER_OPTIONS, {**now.options, **given})
        own = [key for key in ("python", "quantization") if getattr(base, key) is not None]
        own += [f"env.{variable}" for variable in base.environment]
        if not (own or given or base.model or base.base_url):
            others = ", ".join(key for key in base.to_json() if key not in own)
            msg = (
                f"{case_id} is measured on a server, which --llm-ab {others} does not change: give "
                f"base_url=, model= or {SERVER}.OPTION=; for one that --llm-serve starts, python=, "
                "quantization= or env.NAME="
            )
            raise UsageError(msg)
        if now.engine is None or base.base_url is not None:
            url = base.base_url or now.base_url
            own += [f"{SERVER}.{option}" for option in given if option in _OF_A_START]
            _refuse(own, f"{url} runs already", base.base_url)
            spec = now.spec if base.model is None else replace(now.spec, name=base.model)
            return replace(now, options=options, base_url=url, engine=None, start=None, spec=spec)
        self._check_start(now.engine, base, given)
        spec = _base_spec(now.spec, base, resources)
        if (why := self.misfit(spec, resources.registry)) is not None:
            msg = f"--llm-ab: {why}"
            raise UsageError(msg)
        python, environment = base.python or now.python, dict(base.environment)
        return replace(now, options=options, spec=spec, python=python, environment=environment)

    def _check_start(self, engine: str, base: BaseSide, given: Mapping[str, str]) -> None:
        """Refuse what the start of an engine cannot have.

        :raises UsageError: saying what to give instead.
        """
        from pytest_llmbench.servers.table import DOCKER, find_engine

        inside = engine.startswith(DOCKER)
        if base.python is not None and (inside or "{python}" not in find_engine(engine).program):
            instead = f"{SERVER}.image=IMAGE" if inside else "env.PATH=FOLDERS"
            msg = (
                f"--llm-ab python={base.python}: {engine} is not run by an interpreter of this machine; name "
                f"the base side's by {instead}, or start it yourself and give base_url=http://HOST:PORT/v1"
            )
            raise UsageError(msg)
        alone = [] if inside else [f"{SERVER}.{option}" for option in given if option in _OF_A_CONTAINER]
        if alone:
            msg = f"--llm-ab {_words(alone)}: {engine} is started without a container; serve docker:{engine}"
            raise UsageError(msg)


def other_form(form: Form, spec: ModelSpec, name: str) -> str | None:
    """Why what runs models of *form*, and is called *name*, cannot read the files at a path; None if it may.

    Where no model lies there, whatever reads it gives the reason. An alias may have no repository of *form*.
    """
    if not spec.has_form(form):
        from pytest_llmbench.models.forms import find_form

        models = find_form(form).models
        return f"{name} runs {models}, and the models file names none for {spec.alias} ({form}_repo)"
    if not spec.is_path:
        return None
    from pytest_llmbench.models.forms import find_form, forms_at

    try:
        there = forms_at(Path(spec.name).expanduser())
    except (ModelError, OSError):
        return None
    return None if form in there else f"{name} runs {find_form(form).models}, and {spec.name} is none"


def _no_quantization(spec: ModelSpec, known: Sequence[str], name: str) -> str | None:
    """Why a model does not exist in its quantization, where *known* are those of what is called *name*."""
    if spec.quantization is None or spec.quantization in known:
        return None
    return f"{name} has no quantization {spec.quantization!r}; it has {', '.join(known)}"


def _served(choice: ServerChoice, resources: Resources) -> Startable:
    from pytest_llmbench.measure.served import ServedSpec

    server = resources.servers.of(choice)
    return ServedSpec(server, server.model or server.spec, kept_options(SERVER_OPTIONS, choice.options))


def _base_spec(spec: ModelSpec, base: BaseSide, resources: Resources) -> ModelSpec:
    """The model of the base side, where *spec* is the case's."""
    other = spec if base.model is None else resources.spec(base.model)
    return replace(other, quantization=base.quantization or other.quantization or spec.quantization)


def _refuse(keys: Sequence[str], why: str, base_url: str | None) -> None:
    """Refuse what only a server that is started can have."""
    if not keys:
        return
    what = "leave it out" if len(keys) == 1 else "leave them out"
    instead = (
        f"{what}, or set it where that server is started"
        if base_url is not None
        else "start the other server yourself, so set, and give base_url=http://HOST:PORT/v1; "
        "or let --llm-serve start both"
    )
    msg = f"--llm-ab {_words(keys)} cannot be set, because {why}: {instead}"
    raise UsageError(msg)


def _words(keys: Iterable[str]) -> str:
    return ", ".join(keys)
