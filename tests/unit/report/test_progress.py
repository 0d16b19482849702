"""Is the progress line there on a terminal, gone afterwards, and nowhere else?"""

from __future__ import annotations

import io
import os

import pytest

from pytest_llmbench.report.pace import Planned
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
    progress.plan([Planned(str(n), f"test_{n}", ("all",)) for n in range(1, 5)])
    progress.case("1")
    progress.loading("tiny")
    assert terminal.screen[-1] == "[1/4] tiny: loading; next test_2"
    now += 60
    progress.case("2")
    progress.loading("tiny")
    assert terminal.screen[-1] == "[2/4, 3 min left] tiny: loading; next test_3"
    now += 20
    progress.round("tiny", 1, 1, 1, 2)
    assert terminal.screen[-1] == "[2/4, 3 min left] tiny: round 1/2; next test_3"
    now += 400
    progress.loading("tiny")
    assert terminal.screen[-1] == "[2/4, 2 min left] tiny: loading; next test_3"


def test_what_is_next_gives_way_to_what_is_measured(terminal: _Terminal) -> None:
    progress = Progress(terminal, clock=lambda: 0.0)
    progress.plan([Planned("a", "test_a"), Planned("b", "test_b[" + "x" * 80 + "]")])
    progress.case("a")
    progress.loading("y" * 40)
    assert terminal.screen[-1] == ("[1/2] " + "y" * 40 + ": loading; next test_b[" + "x" * 80)[:79]
    progress.loading("y" * 60)
    assert terminal.screen[-1] == "[1/2] " + "y" * 60 + ": loading"


def test_a_case_alone_is_not_counted(terminal: _Terminal) -> None:
    progress = Progress(terminal, clock=lambda: 0.0)
    progress.plan([Planned("a", "test_a")])
    progress.case("a")
    progress.loading("tiny")
    assert terminal.screen[-1] == "tiny: loading"


def test_a_log_has_a_line_from_time_to_time() -> None:
    now, lines = 0.0, list[str]()
    progress = Progress(clock=lambda: now, log=lines.append, every=300.0)
    progress.plan([Planned(name, f"test_{name}[" + "x" * 99 + "]") for name in "ab"])
    for seconds in (0, 299, 1, 299, 1):
        now += seconds
        progress.case("a")
        progress.loading("tiny\nmodel")
        progress.done()
    assert lines == ["[1/2] tiny model: loading; next test_b[" + "x" * 99 + "]"] * 2


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
