"""Is the progress line there on a terminal, gone afterwards, and nowhere else?"""

from __future__ import annotations

import io
import os

import pytest

from pytest_llmbench.report.progress import Progress
from tests.fakes.screen import shown


class _Terminal(io.StringIO):
    """Two writers on one screen: pytest and progress."""

    def pytest_writes(self, text: str) -> None:
        self.write(text)

    @property
    def screen(self) -> list[str]:
        return shown(self.getvalue())

    @property
    def column(self) -> int:
        return len(self.getvalue().rpartition("\n")[2])


@pytest.fixture
def terminal() -> _Terminal:
    return _Terminal()


def test_loading_names_the_model_below_pytests_line(terminal: _Terminal) -> None:
    terminal.pytest_writes("test_x.py ..")
    Progress(terminal, lambda: 12).loading("llamacpp-tiny")
    assert terminal.screen == ["test_x.py ..", "llamacpp-tiny: loading"]


def test_a_level_says_how_much_is_asked(terminal: _Terminal) -> None:
    Progress(terminal).asking("vllm tiny", "8 at once, for 60 s")
    assert terminal.screen[-1] == "vllm tiny: 8 at once, for 60 s"


def test_a_round_replaces_what_was_shown(terminal: _Terminal) -> None:
    progress = Progress(terminal)
    progress.loading("a model with a very long name")
    progress.round("tiny", 2, 3, 4, 5, tokens_per_second=1376.2)
    assert terminal.screen == ["", "tiny: process 2/3, round 4/5, 1380 tokens/s"]


def test_a_single_process_is_not_counted_and_a_warm_up_is_named(terminal: _Terminal) -> None:
    Progress(terminal).round("tiny", 1, 1, 1, 2, warmup=True)
    assert terminal.screen[-1] == "tiny: warm-up round 1/2"


def test_pytest_writes_on_where_it_was(terminal: _Terminal) -> None:
    terminal.pytest_writes("test_x.py ..")
    progress = Progress(terminal, lambda: 12)
    progress.loading("tiny")
    progress.done()
    terminal.pytest_writes(". [100%]")
    assert terminal.screen == ["test_x.py ... [100%]", ""]


def test_done_twice_removes_one_line_only(terminal: _Terminal) -> None:
    terminal.pytest_writes("one\ntwo")
    progress = Progress(terminal, lambda: 3)
    progress.loading("tiny")
    progress.done()
    progress.done()
    assert terminal.screen == ["one", "two", ""]


def test_a_long_label_stays_on_one_line(terminal: _Terminal) -> None:
    Progress(terminal).loading("x" * 500)
    assert len(terminal.screen[-1]) == 79


def test_of_several_cases_it_says_which_and_how_long_the_others_will_take(terminal: _Terminal) -> None:
    now = 100.0
    progress = Progress(terminal, clock=lambda: now)
    progress.case(4)
    progress.loading("tiny")
    assert terminal.screen[-1] == "[1/4] tiny: loading"
    now += 60
    progress.case(4)
    progress.loading("tiny")
    assert terminal.screen[-1] == "[2/4, 3 min left] tiny: loading"
    now += 20
    progress.round("tiny", 1, 1, 1, 2)
    assert terminal.screen[-1] == "[2/4, 3 min left] tiny: round 1/2"
    now += 400
    progress.loading("tiny")
    assert terminal.screen[-1] == "[2/4, 2 min left] tiny: loading"


def test_a_case_alone_is_not_counted_and_one_that_is_run_again_is_one_more(terminal: _Terminal) -> None:
    progress = Progress(terminal, clock=lambda: 0.0)
    progress.case(1)
    progress.loading("tiny")
    assert terminal.screen[-1] == "tiny: loading"
    progress.case(1)
    progress.loading("tiny")
    assert terminal.screen[-1] == "[2/2, 0 s left] tiny: loading"


def test_without_a_stream_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.loading("tiny")
    progress.round("tiny", 1, 1, 1, 1)
    progress.done()
    progress.close()
    assert capfd.readouterr() == ("", "")


def test_a_terminal_that_went_away_does_not_fail_the_measurement_and_is_left_alone() -> None:
    written: list[str] = []

    class Noting(io.TextIOWrapper):
        def write(self, text: str) -> int:
            written.append(text)
            return super().write(text)

    read, write = os.pipe()
    os.close(read)
    with Noting(os.fdopen(write, "wb")) as stream:
        progress = Progress(stream)
        progress.loading("tiny")
        progress.loading("tiny")
        progress.close()
        # What could not be written must not be written again on close.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    assert len(written) == 1
