"""Which server answers, and for how long does it live?

A server that a session starts is kept for as long as consecutive cases ask for the same one: its
start takes longer than most load levels.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from pytest_llmbench.backends.base import Options
from pytest_llmbench.backends.cpu_time import CPU_TIME, told_of_server
from pytest_llmbench.errors import EngineError, UsageError, few, warn
from pytest_llmbench.hardware.cpu_time import TreeTime
from pytest_llmbench.hardware.listeners import command_line, listener
from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel
from pytest_llmbench.servers import needs
from pytest_llmbench.servers.ask import Access
from pytest_llmbench.servers.endpoint import Endpoint, Words, refused_note
from pytest_llmbench.servers.launch import Server, ServerSpec, probe
from pytest_llmbench.servers.prefix_cache import PrefixCache
from pytest_llmbench.servers.prompt_ids import Blocks, blocks_of, prompt_ids
from pytest_llmbench.servers.scrape import Scraper
from pytest_llmbench.servers.table import (
    ENGINES,
    Need,
    ServerEngine,
    Start,
    find_engine,
    without_preset,
)
from pytest_llmbench.servers.urls import URL, read_url
from pytest_llmbench.workloads.messages import Message

DEFAULT_KEY_ENV = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """Which server is to answer, and how it is asked: one that runs already, or one to start."""

    spec: ModelSpec
    """The model; without a name, the only one that a running server has."""
    options: Options
    """Of servers, all of them; see :mod:`.options`."""
    base_url: str | None = field(default=None, repr=False)
    """Of one that runs already. It may have a password in it."""
    engine: str | None = None
    """Of one to start, as in ``--llm-serve``: ``vllm``, ``docker:vllm``, ``vllm:single-user``."""
    start: Start | None = None
    """The preset that it is started with."""
    python: str = sys.executable
    """The interpreter that starts it; it does not concern one that runs already, like the environment."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further variables of its process; what they hold is shown nowhere."""

    @property
    def starts(self) -> bool:
        """Whether the session starts it."""
        return self.engine is not None

    @property
    def key(self) -> object:
        """Equal for what one server can be."""
        start = (self.start, self.python, tuple(sorted(self.environment.items()))) if self.starts else None
        options = tuple(sorted((name, str(value)) for name, value in self.options.items()))
        return (self.base_url, self.engine, self.spec, options, start)


class Follower(Protocol):
    """The monitor, as far as servers need it: what it is to watch."""

    def follow(self, pid: int) -> None:
        """Watch a process and what it starts."""

    def unfollow(self, pid: int) -> None:
        """Watch it no longer."""


class Teller(Protocol):
    """Where a person sees what is going on."""

    def loading(self, label: str) -> None:
        """A model is loaded, which takes its time."""


@dataclass(slots=True, repr=False)
class LLMServer:
    """A server that answers: what a load level needs of it, and the fixture ``llm_server``."""

    _endpoint: Endpoint
    label: str
    spec: ModelSpec
    """The model, by the name that the server has for it."""
    model: ResolvedModel | None
    """The model with its files, where this session serves it."""
    engine: Mapping[str, object]
    """What is known of the server, for the results document."""
    versions: Mapping[str, str]
    options: Options
    pid: int | None = None
    """The root of its process tree; None where it cannot be known."""
    load_time: float | None = None
    """Seconds from its start until it was ready; None where it ran already."""
    lacks: str | None = None
    """What it was started without and needs under a load, as far as its command line tells."""
    agreed: bool = False
    """Whether it was found out in which words it wants to be asked."""
    _scraper: Scraper | None = None
    _server: Server | None = None
    _known: ServerEngine | None = None
    _needs: tuple[Need, ...] = ()
    """What it may have been started without."""
    _words: dict[str, str | None] = field(default_factory=dict)
    """In which it wants to be asked; both sides of a comparison have the same."""

    def __repr__(self) -> str:
        # A failing assert shows it: neither its headers nor its options, which are many.
        return f"<llm_server {self.label}>"

    @property
    def endpoint(self) -> Endpoint:
        """Where and how it is asked, as far as that is known by now."""
        return replace(self._endpoint, words=dict(self._words))

    @property
    def base_url(self) -> str:
        """``http://HOST:PORT/v1``."""
        return self.endpoint.base_url

    @property
    def started(self) -> bool:
        """Whether this session started it."""
        return self._server is not None

    def learn(self, words: Words) -> None:
        """It wants to be asked in these *words* from now on; a warning says what is left out."""
        more = {key: name for key, name in words.items() if key not in self._words}
        self._words.update(more)
        if (note := refused_note(more)) is not None:
            warn(f"{self.label}: {note}")

    @property
    def prefix_cache(self) -> PrefixCache:
        """What is known of its cache of prompts."""
        return PrefixCache() if self._known is None else self._known.prefix_cache

    def blocks(self) -> Blocks:
        """In what blocks it keeps prompts."""
        url = None if self._scraper is None else self._scraper.url
        return blocks_of(self.prefix_cache, url, _access(self._endpoint))

    def prompt_ids(self, text: str | None = None, messages: Sequence[Message] | None = None) -> list[int]:
        """The token ids that it makes of a prompt.

        :raises NoIdsError: if it does not tell them.
        """
        endpoint = self.endpoint
        return prompt_ids(self.prefix_cache, endpoint, _access(endpoint), text=text, messages=messages)

    def metrics(self) -> Mapping[str, float | None]:
        """What the server counts of itself, by our names; empty where it reports none."""
        return {} if self._scraper is None else self._scraper.read()

    def metrics_between(self, readings: Sequence[Mapping[str, float | None]]) -> Mapping[str, float | None]:
        """What it counted from the first to the last of the readings; of what is not counted, the largest."""
        if self._scraper is None:
            return {}
        return self._scraper.difference(readings[0], readings[-1], readings[1:-1])

    def log_tail(self) -> str:
        """The last lines of its log; empty for a server that this session did not start."""
        return "" if self._server is None else self._server.log_tail()

    def explain(self) -> str:
        """What its log says, for an error message."""
        if self._server is not None and (how := self._server.ended) is not None:
            return f"; {how}\nThe last lines of its log:\n{self.log_tail()}"
        tail = self.log_tail()
        return f"\nThe last lines of the server's log:\n{tail}" if tail else ""

    def advice(self, failures: Mapping[str, str]) -> str:
        """What may help against failures, kind to an example: the end of a sentence, or nothing."""
        return needs.advice(self._known, self._needs, failures, started=self.started)

    def close(self) -> None:
        """End it, if this session started it."""
        if self._server is not None:
            self._server.close()


class Servers:
    """The servers of one session: those that run already, and the one that it started last."""

    def __init__(
        self,
        resolve: Callable[[ModelSpec, Form], ResolvedModel],
        progress: Teller,
        monitor: Follower | None,
        *,
        alike: bool = False,
    ) -> None:
        """Start nothing yet.

        :param alike: whether all servers are to be asked in the same words, because they are compared.
        """
        self._resolve = resolve
        self._progress = progress
        self._monitor = monitor
        self._running: dict[object, LLMServer] = {}
        self._words: dict[str, str | None] | None = {} if alike else None

    def of(self, choice: ServerChoice) -> LLMServer:
        """The server that is chosen; one that this session started before ends if it is another.

        :raises LLMBenchError: if it does not start, or does not answer.
        """
        key = choice.key
        if key not in self._running:
            if choice.engine is not None:
                self._end_started()
                self._running[key] = self._start(choice, choice.engine)
            else:
                assert choice.base_url is not None
                self._running[key] = self._look_at(choice, choice.base_url)
        return self._running[key]

    def restart(self, choice: ServerChoice) -> LLMServer:
        """The server that is chosen, started anew where this session starts it."""
        if choice.starts:
            self._end_started()
        return self.of(choice)

    @contextmanager
    def during(self, choice: ServerChoice) -> Iterator[LLMServer]:
        """A server for one level: started for it and ended after it; one that runs already stays.

        :raises LLMBenchError: if it does not start, or does not answer.
        """
        # Also the one of the case, if a running one is its base: it would have the machine's memory.
        self._end_started()
        try:
            yield self.of(choice)
        finally:
            self._end_started()

    def resolved(self, choice: ServerChoice) -> ResolvedModel | ModelSpec:
        """The model of a server as far as it is known."""
        running = self._running.get(choice.key)
        return choice.spec if running is None else running.model or running.spec

    def close(self) -> None:
        """End what this session started."""
        self._end_started()
        for running in self._running.values():
            self._unfollow(running.pid)
        self._running.clear()

    def _look_at(self, choice: ServerChoice, base_url: str) -> LLMServer:
        """A server that runs already."""
        spec, options = choice.spec, choice.options
        url = read_url(base_url)
        if url.user is not None and options["api_key_env"] is not None:
            msg = (
                f"{url.shown}: give the server either the user and password in its URL, or "
                f"the key in server.api_key_env={options['api_key_env']}; leave one of them out"
            )
            raise UsageError(msg)
        endpoint = _endpoint(url, spec.name, options, extensions=options["extensions"])
        access = _access(endpoint)
        info = probe(endpoint.base_url, access, named=bool(spec.name))
        known = None if info.engine is None else ENGINES[info.engine]
        if not spec.name:
            if len(info.models) != 1:
                there = f"has the models {few(info.models)}" if info.models else "does not name its models"
                msg = f"{url.shown} {there}: choose one with --llm-model"
                raise UsageError(msg)
            spec = replace(spec, name=info.models[0])
        elif (
            info.models
            and spec.name not in {*info.models, *info.also}
            and (known is None or known.lists_models)
        ):
            msg = f"{url.shown} has no model {spec.name!r}; it has {few(info.models)}"
            raise EngineError(msg)
        endpoint = replace(
            endpoint, model=spec.name, extensions=endpoint.extensions and (known is None or known.extensions)
        )
        pid, unknown = listener(url.host, url.port)
        command = command_line(pid)
        command = command if needs.is_of(known, command) else None
        lacking = needs.lacking(known, command)
        running = LLMServer(
            _endpoint=endpoint,
            _words=self._words_for(),
            label=f"server {spec.label}",
            spec=spec,
            model=None,
            engine={
                "server": info.engine,
                "base_url": url.shown,
                "context_length": info.context.get(spec.name),
                "process_unknown": unknown,
                CPU_TIME: told_of_server(unknown or _unreadable(pid)),
            },
            versions={} if info.engine is None or info.version is None else {info.engine: info.version},
            options=options,
            pid=pid,
            lacks=None if command is None else needs.warning(lacking),
            _known=known,
            _needs=lacking,
            _scraper=Scraper(info.metrics_url, info.engine, access),
        )
        self._follow(pid)
        return running

    def _start(self, choice: ServerChoice, engine: str) -> LLMServer:
        """A server of this session."""
        described, options = find_engine(engine), choice.options
        model = self._resolve(choice.spec, described.form)
        label = f"{engine} {choice.spec.label}"
        self._progress.loading(label)
        preset = choice.start or Start("")
        spec = ServerSpec(
            engine=without_preset(engine)[0],
            model=model,
            options=dict(preset.options),
            arguments=tuple(shlex.split(options["arguments"])),
            python=choice.python,
            environment={**dict(preset.environment), **choice.environment},
            start_timeout=options["start_timeout"],
            context=options["context"],
            image=options["image"],
            gpus=options["gpus"],
            access=Access(_key_env(options), headers=options["headers"] or {}),
        )
        begun: list[int] = []

        def started(pid: int) -> None:
            begun.append(pid)
            self._follow(pid)

        try:
            server = Server(spec, started)
        except BaseException:
            for pid in begun:
                self._unfollow(pid)
            raise
        extensions = options["extensions"] and described.extensions
        endpoint = _endpoint(read_url(server.base_url), server.model_name, options, extensions=extensions)
        return LLMServer(
            _endpoint=endpoint,
            _words=self._words_for(),
            label=label,
            spec=replace(choice.spec, name=server.model_name),
            model=model,
            engine={
                "server": engine,
                "command": server.command,
                # Whoever changes a preset does not compare with what was measured before.
                **({} if choice.start is None else {"arguments": _all_arguments(preset, options)}),
                "context_length": options["context"],
                CPU_TIME: told_of_server(_unreadable(server.pid)),
            },
            versions=server.versions,
            options=options,
            pid=server.pid,
            load_time=server.start_time,
            _known=described,
            _scraper=server.scraper,
            _server=server,
        )

    def _words_for(self) -> dict[str, str | None]:
        return {} if self._words is None else self._words

    def _end_started(self) -> None:
        for key, running in list(self._running.items()):
            if running.started:
                del self._running[key]
                try:
                    running.close()
                finally:
                    self._unfollow(running.pid)

    def _follow(self, pid: int | None) -> None:
        if self._monitor is not None and pid is not None:
            self._monitor.follow(pid)

    def _unfollow(self, pid: int | None) -> None:
        if self._monitor is not None and pid is not None:
            self._monitor.unfollow(pid)


def _all_arguments(preset: Start, options: Options) -> str:
    """What a start was given beside what every start of its engine has."""
    return " ".join(part for part in (preset.text, options["arguments"]) if part)


def _unreadable(pid: int | None) -> str | None:
    """Why the CPU time of a server's processes cannot be read; None if it can."""
    if pid is None:
        return "the container's processes are not on this machine"
    if TreeTime(pid).until_now() is None:
        return "the server's processes cannot be read, or this session runs in one of them"
    return None


def _access(endpoint: Endpoint) -> Access:
    return Access(endpoint.api_key_env, endpoint.verify, endpoint.ca_file, endpoint.proxy, endpoint.headers)


def _key_env(options: Options) -> str | None:
    """The variable that holds the key; None for none."""
    named: str | None = options["api_key_env"]
    return DEFAULT_KEY_ENV if named is None and os.environ.get(DEFAULT_KEY_ENV) else named


def _endpoint(url: URL, model: str, options: Options, *, extensions: bool) -> Endpoint:
    return Endpoint(
        base_url=url.text,
        model=model,
        api=options["endpoint"],
        api_key_env=_key_env(options) if url.user is None else None,
        verify=options["verify"],
        ca_file=options["ca_file"],
        proxy=options["proxy"],
        include_usage=options["usage"],
        extensions=extensions,
        tokenizer=options["tokenizer"],
        headers={**url.headers, **(options["headers"] or {})},
        body=options["body"] or {},
    )
