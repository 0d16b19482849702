"""Is it said as it was how a process ended?"""

from __future__ import annotations

import io
import tempfile

import pytest

from pytest_llmbench.processes.endings import how_it_ended, was_killed
from pytest_llmbench.servers import explain


@pytest.mark.parametrize(
    ("status", "words", "killed"),
    [
        (0, "exited with status 0", False),
        (1, "exited with status 1", False),
        (128, "exited with status 128", False),
        (255, "exited with status 255", False),
        (-11, "was ended by SIGSEGV", False),
        (-9, "was ended by SIGKILL", True),
        (-100, "was ended by signal 100", False),
        (137, "exited with status 137, as a shell does when its command was ended by SIGKILL,", True),
        (139, "exited with status 139, as a shell does when its command was ended by SIGSEGV,", False),
    ],
)
def test_a_status_is_told_in_words(status: int, words: str, killed: bool) -> None:
    assert how_it_ended(status) == words
    assert was_killed(status) is killed


@pytest.mark.parametrize(
    ("status", "log", "advice"),
    [
        (-9, b"", "; the system does that when memory runs out, and its log then says so: try a shorter"),
        (137, b"", "; the system does that when memory runs out, and its log then says so: try a shorter"),
        (1, b"RuntimeError: CUDA out of memory", "; memory ran out: try a shorter"),
        (1, b"ValueError: no such model", ""),
        (-11, b"", ""),
    ],
)
def test_less_memory_is_advised_for_a_server_that_wanted_more(status: int, log: bytes, advice: str) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(log)
        file.seek(0, io.SEEK_SET)
        found = explain.advice(status, file)
    assert found.startswith(advice)
    assert bool(found) is bool(advice)
