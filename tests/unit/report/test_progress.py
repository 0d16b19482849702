"""Is the progress line there on a terminal, gone afterwards, and nowhere else?"""

from __future__ import annotations

import io
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmbench.report.progress import Progress, terminal_progress


def _screen(text: str) -> list[str]:
    """The lines that a terminal shows after *text*; knows the codes that progress and rich's bars use."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[\??[\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]", text):
        if part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part == "\x1b[K":
            lines[row] = lines[row][:column]
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part in ("\x1b[A", "\x1b[1A"):
            row -= 1
        elif part.startswith("\x1b[") and part[-1] in "mlh":
            pass  # color, and the cursor's own look
        elif part.startswith("\x1b[") and part.endswith("C"):
            column += int(part[2:-1])
        else:
            lines[row] = lines[row].ljust(column)[:column] + part + lines[row][column + 1 :]
            column += 1
    return lines


class _Terminal(io.StringIO):
    """Two writers on one screen: pytest and progress."""

    def pytest_writes(self, text: str) -> None:
        self.write(text)

    @property
    def screen(self) -> list[str]:
        return _screen(self.getvalue())

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


def test_under_capture_into_a_file_there_is_no_progress(
    pytestconfig: pytest.Config, capfd: pytest.CaptureFixture[str]
) -> None:
    progress = terminal_progress(pytestconfig)
    if not pytestconfig.get_terminal_writer()._file.isatty():
        progress.loading("tiny")
        assert capfd.readouterr() == ("", "")
    progress.close()


CONFTEST = """
import pytest
from pytest_llmbench.report.progress import terminal_progress

def pytest_sessionstart(session):
    session.config.llm_progress = terminal_progress(session.config)

@pytest.fixture
def progress(pytestconfig):
    return pytestconfig.llm_progress
"""

TEST = """
def test_first(progress, capfd):
    print("captured")
    progress.loading("some-model")
    progress.round("some-model", 1, 1, 1, 1)
    progress.done()
    assert capfd.readouterr().out == "captured\\n"

def test_second(progress):
    progress.loading("some-model")
    progress.done()
"""


def _project(folder: Path) -> list[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(TEST)
    return [sys.executable, "-m", "pytest", "-p", "no:llmbench", "-p", "no:cacheprovider", "--color=no"]


def _on_a_terminal(command: list[str], folder: Path, **variables: str) -> str:
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", **variables}
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=folder
    ) as process:
        os.close(slave)
        output = b""
        while select.select([master], [], [], 60)[0]:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # Linux says so when the last writer is gone
                break
            if not chunk:
                break
            output += chunk
    os.close(master)
    assert process.returncode == 0, output.decode()
    return output.decode()


def test_on_a_terminal_the_line_shows_in_spite_of_capture_and_leaves_no_trace(tmp_path: Path) -> None:
    output = _on_a_terminal(_project(tmp_path), tmp_path)
    assert "some-model: loading" in output
    assert "some-model: round 1/1" in output
    screen = _screen(output)
    assert not [line for line in screen if "some-model" in line]
    assert any(re.search(r"test_it\.py \.\. +\[100%\]$", line) for line in screen), repr(output)


def test_in_a_pipe_nothing_is_shown(tmp_path: Path) -> None:
    out = subprocess.run(_project(tmp_path), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert out.returncode == 0, out.stdout
    assert "some-model" not in out.stdout + out.stderr


BUILDS = """
from tests.fakes.llmbench_fake import backend

def pytest_llmbench_register_backends(registry):
    registry.register(backend)
"""

MEASURES = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_speed(llm_model, number):
    llm_model.measure("hello", max_new_tokens=2, rounds=1, warmup_rounds=0)
"""


def test_the_bar_of_a_model_that_is_built_leaves_pytests_own_line_alone(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    (tmp_path / "conftest.py").write_text(BUILDS)
    (tmp_path / "test_it.py").write_text(MEASURES)
    command = [sys.executable, "-m", "pytest", "--llm-backend=fake", "--llm-monitor-rate=0"]
    command += ["-p", "no:cacheprovider", "--color=no"]
    output = _on_a_terminal(
        command, tmp_path, LLMBENCH_CACHE=str(tmp_path / "cache"), PYTHONPATH=str(pytestconfig.rootpath)
    )
    assert "building tiny" in output
    screen = _screen(output)
    assert any(re.search(r"^test_it\.py \.\.\. +\[100%\]$", line) for line in screen), repr(output)
    assert not [line for line in screen if "building" in line]
    assert "[1/3] fake tiny" in output
    assert re.search(r"\[3/3, \d+ s left\] fake tiny: round 1/1", output)
