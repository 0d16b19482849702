"""How do the workers of a service come and go with it?"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from pytest_llmbench.service.configuration import Configuration, rows

log = logging.getLogger("pytest_llmbench.service")

PARENT = "LLMBENCH_PARENT"
"""The variable with the process with which the workers end."""
_PATIENCE = 15.0
"""Seconds that they have to give back what they measure."""
_PAUSE = 1.0
"""Seconds until they are started again, so that a fault does not take the whole CPU."""


def environment(configuration: Configuration, given: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a process of ours reads *configuration*, without the token."""
    made = dict(given)
    for row in rows():
        for variable in row.variables:
            made.pop(variable, None)
        value = getattr(configuration, row.name)
        if value is None or row.name in ("token", "token_file"):
            continue
        if isinstance(value, tuple):
            between = os.pathsep if value and isinstance(value[0], Path) else " "
            value = between.join(str(_absolute(one)) for one in value)
        if value != "":
            made[row.variables[0]] = str(_absolute(value))
    return made


def _absolute(value: object) -> object:
    return value.absolute() if isinstance(value, Path) else value


class Workers:
    """The process of the workers, started again when it ends by itself."""

    def __init__(self, configuration: Configuration) -> None:
        self._environment = environment(configuration, os.environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="workers", daemon=True)

    def start(self) -> None:
        """Start them."""
        self._spawn()
        self._watcher.start()

    def stop(self) -> None:
        """End them: what they measure waits again."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _spawn(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest_llmbench.service.worker"],
            env={**self._environment, PARENT: str(os.getpid())},
            stdin=subprocess.DEVNULL,
        )

    def _watch(self) -> None:
        while not self._stopping.is_set():
            assert self._process is not None
            status = self._process.wait()
            if self._stopping.wait(_PAUSE):
                return
            log.error("the workers ended (%s); starting them again", status)
            self._spawn()
