from __future__ import annotations

import os
import socket

import psutil
import pytest

from pytest_llmbench.hardware.listeners import listener


def test_the_process_that_listens_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = listener("127.0.0.1", server.getsockname()[1])
    assert found == (os.getpid(), None)


def test_nobody_listening_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    pid, reason = listener("127.0.0.1", port)
    assert pid is None
    assert reason == "no process of this user listens there"


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_another_machine_is_said(host: str) -> None:
    assert listener(host, 8000) == (None, "the server runs on another machine")


def test_a_system_that_does_not_tell_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    pid, reason = listener("127.0.0.1", 1)
    assert pid is None
    assert reason is not None
