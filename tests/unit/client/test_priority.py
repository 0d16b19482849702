"""Does the client run before others where it may, and only while it sends a load?"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pytest_llmbench.client.priority import real_time

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setscheduler"), reason="this system has no such priorities"
)


def may() -> bool:
    with real_time() as first:
        return first


def test_it_is_in_real_time_inside_and_as_before_afterwards() -> None:
    if not may():
        pytest.skip("this user may not have real-time priority")
    with real_time() as first:
        assert first
        assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
        # What is started meanwhile is not.
        child = [sys.executable, "-c", "import os; print(os.sched_getscheduler(0) == os.SCHED_OTHER)"]
        assert subprocess.run(child, capture_output=True, text=True, check=True).stdout == "True\n"
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_an_error_inside_ends_it_too() -> None:
    with pytest.raises(ZeroDivisionError), real_time():
        _ = 1 / 0
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_where_it_may_not_it_goes_on_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert not may()
    monkeypatch.delattr(os, "sched_getscheduler")
    assert not may()
