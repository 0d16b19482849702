"""Does the progress line find the terminal under pytest's capture, and leave pytest's own line alone?"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmbench.plugin.terminal import terminal_progress
from tests.fakes.screen import shown


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
from pytest_llmbench.plugin.terminal import terminal_progress

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
    screen = shown(output)
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
    screen = shown(output)
    assert any(re.search(r"^test_it\.py \.\.\. +\[100%\]$", line) for line in screen), repr(output)
    assert not [line for line in screen if "building" in line]
    assert "[1/3] fake tiny" in output
    assert re.search(r"\[3/3, \d+ s left\] fake tiny: round 1/1", output)
