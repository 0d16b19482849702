from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import (
    BackendUnavailableError,
    EngineCrashedError,
    EngineError,
    EngineTimeoutError,
    UsageError,
)
from pytest_llmbench.servers import table
from pytest_llmbench.servers.ask import Access, get
from pytest_llmbench.servers.launch import Server, ServerSpec
from pytest_llmbench.servers.process import Port
from pytest_llmbench.servers.table import ServerEngine
from tests.fakes import fake_engine
from tests.waiting import until

Start = Callable[..., Server]
Gone = Callable[..., bool]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def keeper_of(server: Server) -> int:
    assert server.pid is not None
    return parent_of(server.pid)


def family(file: Path) -> list[int]:
    return [int(pid) for pid in file.read_text().split()]


def test_a_server_answers_when_it_has_been_made(start: Start) -> None:
    with start() as server:
        assert get(f"{server.base_url}/models").status == 200
        assert server.model_name == "model"
        assert server.versions["fake"] == "1.2.3"
        assert server.versions["pytest"] == pytest.__version__
        assert "no-such-distribution" not in server.versions
        assert server.start_time > 0
        assert server.ended is None
        server.check()


def test_a_monitor_hears_of_the_process_before_it_has_become_the_server(start: Start) -> None:
    seen: list[tuple[int, bytes]] = []

    def note(pid: int) -> None:
        seen.append((pid, Path(f"/proc/{pid}/cmdline").read_bytes()))

    server = start(note=note)
    assert [pid for pid, _ in seen] == [server.pid]
    assert b"keeper.py" in seen[0][1]
    assert b"fake_engine.py" in Path(f"/proc/{server.pid}/cmdline").read_bytes()


def test_the_counters_are_read_by_our_names(start: Start) -> None:
    server = start()
    counted = server.metrics()
    assert counted["running"] == 2
    assert counted["generation_tokens"] == 40
    assert counted["waiting"] is None
    assert "fake does not report it" in server.scraper.reasons["waiting"]


def test_options_come_before_arguments_and_after_the_context(start: Start) -> None:
    server = start("--context", "7", options={"say": "hello", "never-mind": ""}, context=64)
    words = server.command[server.command.index("--context") :]
    assert words == ["--context", "64", "--say", "hello", "--never-mind", "--context", "7"]


def test_closing_ends_the_whole_tree_and_may_be_done_twice(start: Start, gone: Gone, tmp_path: Path) -> None:
    server = start("--family", str(tmp_path / "family"))
    assert server.pid is not None
    pids = [server.pid, keeper_of(server), *family(tmp_path / "family")]
    server.close()
    assert gone(*pids)
    server.close()
    assert server.ended is not None
    assert "was closed" in server.ended


def test_a_server_that_does_not_listen_to_sigterm_is_killed(
    start: Start, gone: Gone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmbench.servers.process.GRACE", 0.2)
    server = start("--stubborn")
    server.close()
    assert gone(server.pid)


def test_what_it_said_is_known_after_it_was_closed(start: Start) -> None:
    server = start("--say", "hello from the engine")
    server.close()
    assert server.log_tail() == "hello from the engine"


def test_a_server_that_ends_before_it_is_ready_says_how_and_why(
    start: Start, gone: Gone, tmp_path: Path
) -> None:
    pids: list[int] = []
    said = "ValueError: the real reason\n" + "\n".join(f"line {n}" for n in range(30))
    with pytest.raises(EngineCrashedError) as caught:
        start("--say", said, "--die", "3", note=pids.append)
    message = str(caught.value)
    assert "the server fake (model) exited with status 3 before it was ready" in message
    assert "fake_engine.py --model" in message
    assert "An error in its log: ValueError: the real reason" in message
    tail = message.partition("The last lines of its log:\n")[2].splitlines()
    assert tail == [f"line {n}" for n in range(10, 30)]
    assert gone(*pids)


def test_memory_that_ran_out_is_said(start: Start) -> None:
    with pytest.raises(EngineCrashedError, match="memory ran out: try a shorter context"):
        start("--say", "torch.OutOfMemoryError: CUDA out of memory", "--die", "1")


def test_a_module_that_is_missing_is_named_with_what_to_install(
    fake_row: ServerEngine, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(fake_row, program=("{python}", "-m", "no_such_engine"))
    monkeypatch.setitem(table.ENGINES, "fake", row)
    with pytest.raises(BackendUnavailableError) as caught:
        start()
    assert "does not have no_such_engine" in str(caught.value)
    assert "pip install fake-engine" in str(caught.value)


def test_a_program_that_is_missing_is_named_with_what_to_install(
    fake_row: ServerEngine, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(table.ENGINES, "fake", replace(fake_row, program=("no-such-server",)))
    with pytest.raises(BackendUnavailableError, match="'no-such-server' is not on the PATH; pip install"):
        start()


def test_an_interpreter_that_is_not_there_is_named(start: Start, tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailableError, match=r"there is no '.*/nowhere/python' here"):
        start(python=str(tmp_path / "nowhere" / "python"))


def test_a_program_that_may_not_be_run_is_said(start: Start, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("")
    with pytest.raises(BackendUnavailableError, match="Permission denied"):
        start(python=str(tmp_path / "python"))


def test_a_server_that_is_not_ready_in_time_is_ended(start: Start, gone: Gone) -> None:
    pids: list[int] = []
    with pytest.raises(EngineTimeoutError, match=r"was not ready within 0.5 s[\s\S]*still thinking"):
        start("--never-ready", "--say", "still thinking", start_timeout=0.5, note=pids.append)
    assert gone(*pids)


def test_a_port_that_was_taken_meanwhile_is_exchanged_for_another(start: Start, tmp_path: Path) -> None:
    server = start("--port-taken", str(tmp_path / "ports"))
    first, second = (tmp_path / "ports").read_text().split()
    assert first != second
    assert server.base_url.endswith(f":{second}/v1")


def test_ports_that_are_always_taken_are_an_error(start: Start, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="found its port taken, 3 times"):
        start("--port-taken", str(tmp_path / "ports"), "--port-taken-times", "9")


def test_a_port_that_is_held_is_left_to_the_server_alone() -> None:
    port = Port(hold=True)
    with socket.socket() as foreign, pytest.raises(OSError, match="in use"):
        foreign.bind(("127.0.0.1", port.number))
    with socket.socket() as server, socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port.number)) == errno.ECONNREFUSED
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port.number))
        server.listen()
        port.release()
        socket.create_connection(("127.0.0.1", port.number)).close()


def test_a_server_that_is_killed_is_noticed(start: Start, gone: Gone, tmp_path: Path) -> None:
    server = start("--family", str(tmp_path / "family"), "--say", "my last words")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert gone(server.pid, *family(tmp_path / "family"))
    until(lambda: server.ended is not None)
    assert server.ended is not None
    assert "was ended by SIGKILL; the system does that when memory runs out" in server.ended
    with pytest.raises(EngineCrashedError, match=r"SIGKILL[\s\S]*my last words"):
        server.check()
    server.close()
    assert "SIGKILL" in server.ended


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory is no folder on this system")
def test_memory_that_killed_processes_shared_is_freed(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmbench.servers.process.GRACE", 2.0)
    server = start("--share", str(tmp_path / "share"))
    memory = Path("/dev/shm") / (tmp_path / "share").read_text().lstrip("/")
    assert memory.exists()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.close()
    assert not memory.exists()


SESSION = """
import os, tempfile, time
from pytest_llmbench.servers import process, table
from pytest_llmbench.servers.launch import Server, ServerSpec
process.GRACE = 0.2
tempfile.tempdir = {folder!r}
table.ENGINES["fake"] = table.ServerEngine(
    name="fake", form="hf", program=("{{python}}", {fake!r}), install="", docs="",
    arguments=("--name", "{{name}}", "--host", "{{host}}", "--port", "{{port}}"))
server = Server(ServerSpec("fake", "m", arguments=("--stubborn", "--family", {family!r})))
if {fork!r} and os.fork() == 0:
    time.sleep(600)
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("fork", [False, True], ids=["alone", "with a fork that holds its sockets"])
def test_a_session_that_is_killed_takes_the_servers_tree_along(
    fork: bool, gone: Gone, tmp_path: Path
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    script = SESSION.format(
        fake=fake_engine.__file__, family=str(tmp_path / "family"), fork=fork, folder=str(folder)
    )
    session = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True, text=True
    )
    assert session.stdout is not None
    pid = int(session.stdout.readline())
    pids = [pid, parent_of(pid), *family(tmp_path / "family")]
    assert list(folder.iterdir())
    os.kill(session.pid, signal.SIGKILL)
    session.wait()
    try:
        assert gone(*pids)
        assert not list(folder.iterdir())
    finally:
        session.stdout.close()
        if fork:
            os.killpg(session.pid, signal.SIGKILL)


def test_a_keeper_that_is_killed_takes_the_server_along(start: Start, gone: Gone) -> None:
    server = start()
    os.kill(keeper_of(server), signal.SIGKILL)
    assert gone(server.pid)
    assert server.ended is not None
    assert "is gone" in server.ended
    server.close()


def test_keys_are_in_no_message_and_no_log(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-from-the-environment")
    said = "args: {'api_key': ['sk-on-the-line']} sk-from-the-environment sk-of-the-spec"
    given: dict[str, Any] = {
        "options": {"api-key": "sk-on-the-line", "say": said},
        "environment": {"HF_TOKEN": "sk-of-the-spec"},
    }
    server = start(**given)
    assert "--api-key *** " in " ".join(server.command)
    assert server.log_tail() == "args: {'api_key': ['***']} *** ***"
    with pytest.raises(EngineCrashedError) as caught:
        start("--die", "1", **given)
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize("locked", ["/v1/models", "/"])
def test_a_server_that_wants_a_key_is_asked_with_it(
    start: Start, gone: Gone, monkeypatch: pytest.MonkeyPatch, locked: str
) -> None:
    monkeypatch.setenv("THE_KEY", "sk-of-the-server")
    arguments = ["--api-key", "sk-of-the-server", "--lock", locked]
    server = start(*arguments, access=Access("THE_KEY"))
    assert server.model_name == "model"
    assert server.versions["fake"] == "1.2.3"
    assert server.metrics()["running"] == 2
    server.close()
    pids: list[int] = []
    # An hour would not help.
    with pytest.raises(BackendUnavailableError, match=r"is up, but .* wants an API key .status 401") as none:
        start(*arguments, start_timeout=3600.0, note=pids.append)
    assert "--llm-option server.api_key_env=NAME" in str(none.value)
    monkeypatch.setenv("THE_KEY", "sk-of-another")
    with pytest.raises(BackendUnavailableError, match="does not accept the API key in THE_KEY") as wrong:
        start(*arguments, start_timeout=3600.0, access=Access("THE_KEY"), note=pids.append)
    assert "sk-of" not in f"{none.value}{wrong.value}"
    assert gone(*pids)


def test_a_key_whose_variable_is_not_set_is_told_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THE_KEY", raising=False)
    with pytest.raises(UsageError, match="THE_KEY is not set; set it"):
        start("--never-ready", start_timeout=3600.0, access=Access("THE_KEY"))


def test_variables_of_the_engine_are_defaults_and_fixed_ones_are_not(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PORT", "1")
    monkeypatch.setenv("FAKE_GONE", "x")
    shown = tmp_path / "environment"
    server = start("--show-environment", str(shown))
    found = json.loads(shown.read_text())
    assert found["FAKE_DEFAULT"] == "ours"
    assert server.base_url.endswith(f":{found['FAKE_PORT']}/v1")
    assert "FAKE_GONE" not in found
    assert "FAKE_CONTEXT" not in found
    assert found["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("FAKE_DEFAULT", "theirs")
    start("--show-environment", str(shown), environment={"HF_HUB_OFFLINE": "0"}, context=9)
    found = json.loads(shown.read_text())
    assert (found["FAKE_DEFAULT"], found["HF_HUB_OFFLINE"], found["FAKE_CONTEXT"]) == ("theirs", "0", "9")


def test_a_hub_id_is_looked_up_by_the_engine(start: Start, tmp_path: Path) -> None:
    shown = tmp_path / "environment"
    server = start("--show-environment", str(shown), model="org/name")
    assert "HF_HUB_OFFLINE" not in json.loads(shown.read_text())
    assert server.model_name == "org/name"


def test_an_engine_for_files_is_not_given_a_hub_id() -> None:
    with pytest.raises(UsageError, match="llama-server takes a GGUF file, and there is none at org/name"):
        Server(ServerSpec("llama-server", "org/name"))


def test_commands_that_set_a_server_up_run_once_it_answers(
    fake_row: ServerEngine, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
    setup = ("{python}", "-c", copy, "{scratch}/Modelfile", str(tmp_path / "copied"))
    row = replace(fake_row, files={"Modelfile": "FROM {model}\n"}, setup=(setup,))
    monkeypatch.setitem(table.ENGINES, "fake", row)
    start()
    assert (tmp_path / "copied").read_text() == f"FROM {tmp_path / 'model'}\n"
    broken = replace(row, setup=(("{python}", "-c", "raise SystemExit('no such model')"),))
    monkeypatch.setitem(table.ENGINES, "fake", broken)
    with pytest.raises(EngineError, match=r"failed with status 1[\s\S]*no such model"):
        start()
