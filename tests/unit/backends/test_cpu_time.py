"""When does an engine's CPU time compare, and what is said where it does not?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.backends.cpu_time import (
    COMPARABLE,
    CPU_TIME,
    OF_PYTEST,
    comparable,
    told_of_cpu_time,
    told_of_server,
)


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({"n_threads": 1, "on_gpu": False}, COMPARABLE),
        ({"n_threads": 1, "n_threads_batch": 1, "on_gpu": False, "n_batch": 512}, COMPARABLE),
        (
            {"n_threads": 1, "n_threads_batch": 4, "on_gpu": False},
            "not comparable beside other load: 4 threads that may wait in a loop",
        ),
        ({"n_threads": 1, "on_gpu": True}, "not comparable: a GPU does the work"),
        ({"on_gpu": True}, "not comparable: a GPU does the work"),
        (
            {"n_threads": 1},
            "not comparable: the engine does not say how many threads it has, or whether it has a GPU",
        ),
        (
            {"n_threads": None, "on_gpu": False},
            "not comparable: the engine does not say how many threads it has, or whether it has a GPU",
        ),
    ],
)
def test_one_thread_without_a_gpu_compares_and_all_else_says_why_not(info: dict[str, Any], told: str) -> None:
    assert told_of_cpu_time(info) == told
    assert comparable({**info, CPU_TIME: told}) is (told == COMPARABLE)


def test_a_server_never_compares() -> None:
    told = (told_of_server(None), told_of_server("the server runs on another machine"), OF_PYTEST)
    assert told[0] == "not comparable beside other load: a server has several threads"
    assert told[1] == "not measured: the server runs on another machine"
    assert not any(comparable({CPU_TIME: one}) for one in told)


def test_what_is_not_told_does_not_compare() -> None:
    assert not comparable({"n_threads": 1, "on_gpu": False})
