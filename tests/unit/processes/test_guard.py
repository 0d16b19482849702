"""Does no process of ours outlive the one that started it, whatever it does meanwhile?"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_llmbench.processes.guard import Guard
from tests.waiting import until

PARENT = """
import os, sys, time
from pytest_llmbench.processes.guard import GUARD
{body}
print("ready", flush=True)
{after}
"""

CHILD = """
from pytest_llmbench.processes.child import Child
from pytest_llmbench.processes.serve import ENGINE
def begun(pid):
    print(pid, flush=True)
kept = Child({module!r}, label="x", kind=ENGINE, python={python!r}, environment={{}}, started=begun)
"""

STOPPED = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
HANGING = "import time; time.sleep(3600)"
WITH_A_CHILD = "import os, time; os.fork(); time.sleep(3600)"
# What a worker runs: it greets, and then it waits to be told something.
GREETING = "from pytest_llmbench.measure.worker import main; main()"

Parent = Callable[..., tuple["subprocess.Popen[str]", psutil.Process]]


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    """A process that starts a worker with the given code; and the worker."""
    started: list[subprocess.Popen[str]] = []
    seen: list[psutil.Process] = []

    def run(
        code: str, *, python: str = sys.executable, after: str = ""
    ) -> tuple[subprocess.Popen[str], psutil.Process]:
        (tmp_path / "made_worker.py").write_text(code)
        body = CHILD.format(module="made_worker", python=python)
        paths = os.pathsep.join([str(tmp_path), *sys.path])
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PARENT.format(body=after + body, after="time.sleep(3600)")],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": paths},
            )
        )
        assert started[-1].stdout is not None
        seen.append(psutil.Process(int(started[-1].stdout.readline())))
        return started[-1], seen[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()
    for one in seen:
        if one.is_running():
            os.killpg(one.pid, 9)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("code", [STOPPED, HANGING], ids=["stopped", "hanging"])
def test_a_worker_does_not_outlive_a_killed_parent(parent: Parent, code: str) -> None:
    process, worker = parent(code)
    if code is STOPPED:
        until(lambda: worker.status() == psutil.STATUS_STOPPED)
    process.kill()
    until(lambda: gone(worker))


def test_a_worker_that_was_stopped_once_it_had_greeted_does_not_outlive_it_either(parent: Parent) -> None:
    process, worker = parent(GREETING)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    worker.suspend()
    until(lambda: worker.status() == psutil.STATUS_STOPPED)
    process.kill()
    until(lambda: gone(worker))


def test_what_a_worker_has_started_does_not_outlive_it_either(parent: Parent) -> None:
    process, worker = parent(WITH_A_CHILD)
    until(lambda: len(worker.children()) == 1)
    (below,) = worker.children()
    process.kill()
    until(lambda: gone(worker) and gone(below))


def test_the_interpreter_below_a_script_does_not_outlive_it_either(parent: Parent, tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\n{sys.executable} "$@"\nexit $?\n')
    script.chmod(0o755)
    process, worker = parent(STOPPED, python=str(script))
    until(lambda: len(worker.children()) == 1)
    (below,) = worker.children()
    until(lambda: below.status() == psutil.STATUS_STOPPED)
    process.kill()
    until(lambda: gone(below))


def test_a_forked_process_that_holds_the_pipe_does_not_keep_the_worker_alive(parent: Parent) -> None:
    # The fork comes when the guard is there already, from a group of another child.
    fork = textwrap.dedent("""
        import subprocess
        other = subprocess.Popen(["sleep", "3600"], start_new_session=True)
        GUARD.watch(other.pid)
        if os.fork() == 0:
            os.close(1)
            time.sleep(20)
            os._exit(0)
    """)
    process, worker = parent(STOPPED, after=fork)
    process.kill()
    until(lambda: gone(worker))


def test_a_stopped_sampler_does_not_outlive_a_killed_parent() -> None:
    code = (
        "from pytest_llmbench.hardware.monitor import HardwareMonitor; import os, signal, time\n"
        "m = HardwareMonitor(); m.start(); os.kill(m._process.pid, signal.SIGSTOP)\n"
        "print(m._process.pid, flush=True); time.sleep(3600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        sampler = psutil.Process(int(process.stdout.readline()))
        process.kill()
    until(lambda: gone(sampler))


def test_the_guard_lives_as_long_as_there_is_somebody_to_watch() -> None:
    guard = Guard()
    children = [subprocess.Popen(["sleep", "3600"], start_new_session=True) for _ in range(2)]
    try:
        for child in children:
            guard.watch(child.pid)
        process = guard._process
        assert process is not None
        for child in children:
            assert process.poll() is None
            child.kill()
            child.wait()
            guard.release(child.pid)
            guard.release(child.pid)
        assert process.poll() == 0
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_a_guard_that_was_killed_is_replaced() -> None:
    guard = Guard()
    children = [subprocess.Popen(["sleep", "3600"], start_new_session=True) for _ in range(2)]
    try:
        guard.watch(children[0].pid)
        assert guard._process is not None
        guard._process.kill()
        guard._process.wait()
        guard.watch(children[1].pid)
        second = guard._process
        assert second is not None
        assert second.stdin is not None
        second.stdin.close()  # as the end of this process would
        until(lambda: all(child.poll() is not None for child in children))
        second.wait()
    finally:
        for child in children:
            child.kill()
            child.wait()
