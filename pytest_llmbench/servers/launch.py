"""How is a server started for a test, how is it reached, and how does it end?"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from pytest_llmbench.errors import (
    BackendUnavailableError,
    EngineCrashedError,
    EngineError,
    EngineTimeoutError,
    LLMBenchError,
)
from pytest_llmbench.processes.endings import how_it_ended
from pytest_llmbench.secrets import learn_command, learn_environment, mask_command
from pytest_llmbench.servers import docker, explain
from pytest_llmbench.servers.ask import Answer, NoAnswerError, get
from pytest_llmbench.servers.plan import HOST, ServerSpec, make_plan, served_name
from pytest_llmbench.servers.probe import ServerInfo, model_entries, probe, refused_key, version_of
from pytest_llmbench.servers.process import Port, ServerProcess
from pytest_llmbench.servers.scrape import Scraper
from pytest_llmbench.servers.table import find_engine

__all__ = ["Server", "ServerInfo", "ServerSpec", "probe"]

PORT_TRIES = 3
_LOOK_EVERY = 0.1
"""Seconds between two looks at whether a server is ready: how exactly its start is timed."""


class Server:
    """A server that answers; it was started here and ends with :meth:`close`, or with this process.

    :param started: called with the id of the server's process before it does anything, so that a monitor
        sees all of it; of a container's first process when it answers, where it is on this machine.
    :raises BackendUnavailableError: if the engine, or Docker, is not installed.
    :raises EngineCrashedError: if its process ends before it is ready.
    :raises EngineTimeoutError: if it is not ready in time.
    :raises UsageError: for a spec that is not valid.
    """

    def __init__(self, spec: ServerSpec, started: Callable[[int], None] = lambda _: None) -> None:
        self.spec = spec
        self.engine = find_engine(spec.engine)
        self.pid: int | None = None
        """The root of its process tree; None for a container whose processes are not on this machine."""
        self.start_time = 0.0
        """Seconds from the start of its process until it was ready."""
        self._started = started
        self._process: ServerProcess | None = None
        self._end: str | None = None
        self._last_words = ""
        if spec.in_container:
            docker.check(self.engine)
        self._scratch = tempfile.TemporaryDirectory(prefix="llmbench-server-", ignore_cleanup_errors=True)
        self._log: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the server
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    # -- what is known of it -----------------------------------------------------------------

    @property
    def root_url(self) -> str:
        """``http://HOST:PORT``."""
        return f"http://{HOST}:{self._port}"

    @property
    def base_url(self) -> str:
        """``http://HOST:PORT/v1``, for an OpenAI client."""
        return self.root_url + self.engine.base_path

    @property
    def command(self) -> list[str]:
        """What was run, without the keys in it."""
        return mask_command(self._plan.command)

    @cached_property
    def model_name(self) -> str:
        """What requests have to call the model."""
        expected = served_name(self.spec)
        if not self.engine.lists_models:
            return expected
        try:
            entries = model_entries(self._ask(f"{self.engine.base_path}/models", timeout=30.0)) or []
        except NoAnswerError:
            entries = []
        names = [entry["id"] for entry in entries]
        return names[0] if names and expected not in names else expected

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """Names to versions: the engine's own, its distributions', and the container's image."""
        found = {}
        if self._plan.container is not None:
            image = docker.image_id(self._plan.container)
            found = {} if image is None else {"image": image}
        elif "{python}" in self.engine.program:
            found = _installed(self.spec.python, self.engine.distributions, self._plan.environment)
        told = None
        if self.engine.version is not None:
            told = version_of(self.root_url, self.engine.name, self.spec.access)
        return found if told is None else {self.engine.name: told, **found}

    @cached_property
    def scraper(self) -> Scraper:
        """Reads its counters; finds none where the engine has none."""
        path = self.engine.metrics
        url = None if path is None else self.root_url + path
        return Scraper(url, self.engine.name, self.spec.access)

    def metrics(self) -> dict[str, float | None]:
        """Its counters now, by our names; None for each that it does not tell (``scraper.reasons``)."""
        return self.scraper.read()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that it wrote, without keys."""
        if self._log.closed:
            return self._last_words
        return explain.tail(self._log, lines=lines)

    @property
    def ended(self) -> str | None:
        """How it ended, as a sentence; None while it runs."""
        if self._end is None and self._process is not None and not self._process.poll():
            how = _how(self._process.status)
            self._end = f"the server {self.spec.label} {how}{explain.advice(self._process.status, self._log)}"
        return self._end

    def check(self) -> None:
        """Make sure that it still runs.

        :raises EngineCrashedError: if it does not, with the last lines of its log.
        """
        if (how := self.ended) is not None:
            raise EngineCrashedError(how + self._words())

    # -- life --------------------------------------------------------------------------------

    def close(self) -> None:
        """End it and everything it started. Nothing happens if it has been closed."""
        if self._log.closed:
            return
        if self._process is not None:
            self._end = self.ended or f"the server {self.spec.label} was closed"
            self._process.close()
        self._last_words = self.log_tail()
        self._log.close()
        self._scratch.cleanup()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        deadline = time.monotonic() + self.spec.start_timeout
        for attempt in range(PORT_TRIES):
            # A server that does not share its port would be in its own way, so it is held only once.
            port = Port(hold=attempt == 0 and not self.spec.in_container)
            try:
                if self._ready(port, deadline):
                    break
            finally:
                port.release()
        else:
            msg = f"the server {self.spec.label} found its port taken, {PORT_TRIES} times, each time another"
            raise EngineError(msg + self._words())
        with contextlib.suppress(NoAnswerError):
            self._check_key(self._ask(f"{self.engine.base_path}/models"))
        self._set_up(deadline)
        if self._plan.container is not None:
            self.pid = docker.pid_of(self._plan.container)
            if self.pid is not None:
                self._started(self.pid)

    def _ready(self, port: Port, deadline: float) -> bool:
        """Start it on *port* and wait until it answers; False if another process has the port."""
        self._port = port.number
        self._plan = make_plan(self.spec, port.number, Path(self._scratch.name))
        learn_command(self._plan.command)
        learn_environment(self._plan.environment)
        os.ftruncate(self._log.fileno(), 0)
        os.lseek(self._log.fileno(), 0, os.SEEK_SET)
        started = time.perf_counter()
        in_container = self._plan.container is not None
        self._process = ServerProcess(
            self._plan.command,
            self._plan.environment,
            log=self._log,
            remove=Path(self._scratch.name),
            stop=self._plan.stop,
            started=None if in_container else self._note_pid,
        )
        while True:
            if not self._process.poll():
                if explain.port_was_taken(self._log):
                    self._process.close()
                    return False
                raise self._failed()
            with contextlib.suppress(NoAnswerError):
                answer = self._ask(self.engine.health)
                if answer.status == 200 and self._process.poll():
                    self.start_time = time.perf_counter() - started
                    return True
                self._check_key(answer)
            if time.monotonic() > deadline:
                raise self._too_slow()
            time.sleep(_LOOK_EVERY)

    def _ask(self, path: str, timeout: float = 5.0) -> Answer:
        return get(self.root_url + path, self.spec.access, timeout=timeout)

    def _check_key(self, answer: Answer) -> None:
        """A server that refuses the key is up, and waiting does not help.

        :raises BackendUnavailableError: saying how to give the key.
        """
        if (refused := refused_key(self.root_url, answer, self.spec.access)) is not None:
            msg = f"the server {self.spec.label} is up, but {refused}"
            raise BackendUnavailableError(msg + self._words())

    def _note_pid(self, pid: int) -> None:
        self.pid = pid
        self._started(pid)

    def _set_up(self, deadline: float) -> None:
        for command in self._plan.setup:
            try:
                done = subprocess.run(
                    command,
                    env=self._plan.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=subprocess.STDOUT,
                    timeout=max(1.0, deadline - time.monotonic()),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise self._too_slow() from None
            if done.returncode != 0:
                shown = " ".join(mask_command(command))
                msg = f"{self.spec.label}: {shown} failed with status {done.returncode}"
                raise EngineError(msg + self._words())

    # -- what went wrong ---------------------------------------------------------------------

    def _failed(self) -> LLMBenchError:
        """Why it ended before it was ready."""
        process = self._process
        assert process is not None
        program = self._plan.command[0]
        if process.missing:
            what = f"there is no {program!r} here" if "/" in program else f"{program!r} is not on the PATH"
            return BackendUnavailableError(
                f"{self.spec.label} cannot be started: {what}; {self.engine.install}"
            )
        if process.error is not None:
            return BackendUnavailableError(f"{self.spec.label} cannot be started: {program}: {process.error}")
        module = explain.missing_module(self._log)
        if module is not None and process.status not in (0, None) and not self.spec.in_container:
            return BackendUnavailableError(
                f"{self.spec.label} cannot be started: {self.spec.python} does not have {module}; install it "
                f"for that interpreter: {self.engine.install}"
            )
        msg = (
            f"the server {self.spec.label} {_how(process.status)} before it was ready"
            f"{explain.advice(process.status, self._log)}"
        )
        return EngineCrashedError(msg + self._words())

    def _too_slow(self) -> LLMBenchError:
        msg = (
            f"the server {self.spec.label} was not ready within {self.spec.start_timeout:g} s and was ended; "
            "set --llm-option server.start_timeout=SECONDS if it needs longer"
        )
        return EngineTimeoutError(msg + self._words())

    def _words(self) -> str:
        """What it was run as, and what it said."""
        said = self.log_tail()
        parts = [f"It was started with: {' '.join(self.command)}"]
        parts += [
            f"An error in its log: {error}" for error in explain.errors_named(self._log) if error not in said
        ]
        parts.append(f"The last lines of its log:\n{said}" if said else "Its log is empty.")
        return "".join(f"\n{part}" for part in parts)


def _how(status: int | None) -> str:
    return "is gone" if status is None else how_it_ended(status)


_ASK_VERSIONS = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def _installed(python: str, distributions: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, str]:
    """Which versions of *distributions* an interpreter has."""
    try:
        said = subprocess.run(
            [python, "-c", _ASK_VERSIONS, *distributions],
            env=environment,
            capture_output=True,
            timeout=60.0,
            check=True,
        ).stdout
        found: dict[str, str] = json.loads(said)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return found
