"""Does a warning point at the line of a test, however deep it was found out?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType

import pytest

from pytest_llmbench import errors
from pytest_llmbench.errors import LLMBenchWarning, warn
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.servers.endpoint import Endpoint, Words
from pytest_llmbench.servers.keep import LLMServer


def test_a_warning_points_at_whoever_called() -> None:
    running = LLMServer(Endpoint("http://x", "m"), "server m", ModelSpec("m"), None, {}, {}, {})
    words: Words = {"seed": None}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warn("here")
        running.learn(words)
        running.learn(words)
    assert [str(one.message) for one in seen] == [
        "here",
        "server m: the server refuses 'seed', so it is asked without",
    ]
    assert {one.filename for one in seen} == {__file__}


def test_a_warning_at_the_end_of_a_with_points_at_whoever_wrote_it() -> None:
    def watched() -> Iterator[None]:
        yield
        warn("at its end")

    # The same in a module of the package.
    ours = FunctionType(watched.__code__, vars(errors))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with contextmanager(ours)():
            pass
    assert [(one.filename, str(one.message)) for one in seen] == [(__file__, "at its end")]


def test_a_warning_is_shown_once_a_line_by_default() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(3):
            warn("again")
    assert len(seen) == 1


def test_a_warning_is_one_of_ours() -> None:
    with pytest.warns(LLMBenchWarning, match="careful"):
        warn("careful")
