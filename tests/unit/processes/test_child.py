"""What does a person read when a process of ours does not start, or does not answer?"""

from __future__ import annotations

import os
import signal
import socket
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_llmbench import errors
from pytest_llmbench.processes import child
from pytest_llmbench.processes.child import Child
from pytest_llmbench.processes.serve import ENGINE, LOAD_CLIENT, Kind

Start = Callable[..., Child]

GREETS = """
import socket, sys
from pytest_llmbench.processes import wire
from pytest_llmbench.processes.serve import PROTOCOL
sock = socket.socket(fileno=int(sys.argv[1]))
wire.send(sock, {"protocol": PROTOCOL, "version": "1", "pid": 1})
"""


@pytest.fixture
def begun() -> list[int]:
    """The processes that were started."""
    return []


@pytest.fixture
def start(tmp_path: Path, begun: list[int]) -> Iterator[Start]:
    """Start a worker whose module is the given code."""
    opened: list[Child] = []

    def start(code: str, *, kind: Kind = ENGINE, python: str = sys.executable, timeout: float = 60) -> Child:
        (tmp_path / "made_worker.py").write_text(textwrap.dedent(code))
        paths = os.pathsep.join([str(tmp_path), *sys.path])
        opened.append(
            Child(
                "made_worker",
                label="fake tiny",
                kind=kind,
                python=python,
                environment={"PYTHONPATH": paths},
                timeout=timeout,
                started=begun.append,
            )
        )
        return opened[-1]

    yield start
    for one in opened:
        one.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "START_WITHIN", (1.0, 1.0))


def refused(start: Start, code: str, **more: object) -> str:
    with pytest.raises(errors.BackendUnavailableError) as caught:
        start(code, **more)
    return str(caught.value)


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_is_stopped_before_its_greeting_is_ended_and_said_to_be_stopped(
    start: Start, begun: list[int]
) -> None:
    message = refused(start, "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    assert "was stopped by a signal before it had started" in message
    assert "timeout" not in message
    assert not psutil.pid_exists(begun[0])


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_hangs_in_an_import_is_ended_and_its_output_is_shown(
    start: Start, begun: list[int]
) -> None:
    message = refused(start, "import time; print('reading weights', flush=True); time.sleep(3600)")
    assert (
        "did not come up within 1 s and was ended: its interpreter hangs, or a module that it imports"
        in message
    )
    assert "reading weights" in message
    assert not psutil.pid_exists(begun[0])


@pytest.mark.parametrize(("timeout", "limit"), [(0.5, 20.0), (60, 60), (600, 120.0), (None, 120.0)])
def test_the_time_for_a_greeting_follows_from_the_timeout(
    start: Start, monkeypatch: pytest.MonkeyPatch, timeout: float | None, limit: float
) -> None:
    asked: list[float | None] = []

    def receive(_: socket.socket, timeout: float | None = None) -> dict[str, object]:
        asked.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(child.wire, "receive", receive)
    refused(start, "", timeout=timeout)
    assert asked == [limit]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit(3)", "exited with status 3 before it had started"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL before it had started; the system does"),
        ("import os; os.kill(os.getpid(), 11)", "was ended by SIGSEGV before it had started"),
        ("import pytest_llmbench_elsewhere", "exited with status 1 before it had started"),
        ("raise ImportError(\"No module named 'pytest_llmbench.measure'\")", "install the same"),
        ("print('Unknown option: -P'); raise SystemExit(2)", "it needs Python 3.11 or newer"),
        ("import os, sys; os.write(int(sys.argv[1]), b'Hello, who are you?')", "uses another protocol"),
        ("import os, sys; os.write(int(sys.argv[1]), bytes(7) + b'\\x02[]')", "uses another protocol"),
        ("import os, sys; os.write(int(sys.argv[1]), bytes(7) + b'\\x02{}')", "of an unknown version"),
    ],
)
def test_a_worker_that_does_not_start_is_told_by_what_happened(start: Start, code: str, message: str) -> None:
    found = refused(start, code)
    assert message in found
    assert ("install" in message or "protocol" in message or "version" in message) == ("install" in found)
    assert "quantization" not in found


def test_what_a_worker_prints_is_no_greeting(start: Start, begun: list[int]) -> None:
    one = start("print('{}' * 100, flush=True)\n" + GREETS + "sock.recv(1)")
    assert begun == [one.pid]


def test_an_interpreter_that_is_none_is_told(start: Start) -> None:
    assert "/bin/true, exited with status 0 before it had started" in refused(start, "", python="/bin/true")
    assert "No such file" in refused(start, "", python="/no/python")


def test_the_status_of_a_script_that_runs_an_interpreter_is_read_as_a_signal(
    start: Start, tmp_path: Path
) -> None:
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\n{sys.executable} "$@"\nexit $?\n')
    script.chmod(0o755)
    message = refused(start, "import os; os.kill(os.getpid(), 9)", python=str(script))
    assert "exited with status 137, as a shell does when its command was ended by SIGKILL" in message


@pytest.mark.parametrize(("kind", "advice"), [(ENGINE, "quantization"), (LOAD_CLIENT, "fewer requests")])
def test_the_advice_for_a_killed_process_is_for_its_kind(start: Start, kind: Kind, advice: str) -> None:
    one = start(GREETS + "sock.recv(1); import os; os.kill(os.getpid(), 9)", kind=kind)
    with pytest.raises(
        errors.EngineCrashedError, match="SIGKILL while working; the system does that"
    ) as caught:
        one.ask({"op": "x"}, "working", 60)
    assert advice in str(caught.value)
    assert ("quantization" in str(caught.value)) == (kind is ENGINE)


def test_a_raised_timeout_is_advised_only_where_it_has_effect(start: Start) -> None:
    for kind, advised in ((ENGINE, True), (LOAD_CLIENT, False)):
        one = start(GREETS + "sock.recv(1); import time; time.sleep(3600)", kind=kind)
        with pytest.raises(errors.EngineTimeoutError) as caught:
            one.ask({"op": "x"}, "working", 0.5)
        assert ("--llm-timeout" in str(caught.value)) == advised


def test_a_worker_that_is_stopped_in_its_work_is_not_said_to_be_slow(start: Start) -> None:
    one = start(GREETS + "sock.recv(1); import os; os.kill(os.getpid(), 19)")
    with pytest.raises(errors.EngineTimeoutError, match="was stopped by a signal while working") as caught:
        one.ask({"op": "x"}, "working", 1)
    assert "--llm-timeout" not in str(caught.value)


def test_a_request_that_nobody_reads_is_given_up(start: Start) -> None:
    one = start(GREETS + "import time; time.sleep(3600)")
    with pytest.raises(errors.EngineTimeoutError, match=r"did not finish working within 0\.5 s"):
        one.tell({"op": "x" * 10_000_000}, "working", 0.5)


def test_an_answer_that_is_none_ends_the_worker(start: Start, begun: list[int]) -> None:
    one = start(GREETS + "sock.recv(1); sock.send(bytes(7) + b'\\x03nul'); sock.recv(1)")
    with pytest.raises(errors.EngineError, match="sent an answer that cannot be read"):
        one.ask({"op": "x"}, "working", 60)
    assert not psutil.pid_exists(begun[0])


def test_an_error_of_an_unknown_kind_is_an_engine_error(start: Start) -> None:
    answer = '{"error": {"type": "suggest", "message": "newer than this"}}'
    one = start(GREETS + f"sock.recv(1); wire.send(sock, {answer}); sock.recv(1)")
    with pytest.raises(errors.EngineError, match="fake tiny: newer than this"):
        one.ask({"op": "x"}, "working", 60)


def test_a_stopped_worker_is_closed_all_the_same(
    start: Start, begun: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "CLOSE_TIMEOUT", 0.2)
    one = start(GREETS + "sock.recv(1)")
    os.kill(begun[0], signal.SIGSTOP)
    one.close()
    assert not psutil.pid_exists(begun[0])
