"""Is an attempt made in a process of its own, watched, ended, and is nothing left of it?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
import yaml

from pytest_llmbench.matrix import attempt as module
from pytest_llmbench.matrix.attempt import Attempt, run_task
from pytest_llmbench.matrix.cells import key_of
from pytest_llmbench.matrix.devices import DEVICES_VARIABLE, Devices
from pytest_llmbench.matrix.executor import Outcome, Task
from pytest_llmbench.results.cell import CELL_VARIABLE
from pytest_llmbench.results.store import Store
from tests.unit.matrix.plans import a_cell, a_document, a_node
from tests.waiting import until

SESSION = "20260102T030405Z-00000000"
CELL = a_cell()
NODE = a_node()
MINE = Devices(scope="test-attempt")
HANGS = "import time; print('begun', flush=True); time.sleep(3600)"
KEEPS = """
import time
try:
    print("begun", flush=True)
    time.sleep(3600)
except KeyboardInterrupt:
    print("kept")
"""
LEAVES_ONE = (
    "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])"
)


class Scripted(Attempt):
    """Runs a script in place of pytest."""

    script = ""

    def _command(self, suite: Path) -> Sequence[str]:
        return [sys.executable, "-c", self.script]


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """An attempt that runs what ``script`` says."""
    monkeypatch.setattr(module, "_GONE_WITHIN", 0.2)
    return Scripted(Task(CELL, "m", SESSION), NODE, MINE, tmp_path / SESSION)


def end_of(attempt: Scripted, script: str) -> Outcome:
    """What becomes of an attempt with a script."""
    attempt.script = script
    attempt.start()
    until(lambda: attempt.wait(0.05))
    return attempt.outcome()


def log_has(attempt: Scripted, text: str) -> bool:
    """Whether it has printed *text* by now."""
    return text in attempt._log()


def test_what_was_measured_comes_back_under_its_key(attempt: Scripted, tmp_path: Path) -> None:
    Store(tmp_path / SESSION / "store").write(a_document(CELL, session=SESSION))
    outcome = end_of(attempt, "")
    assert (outcome.end, outcome.reason, outcome.node) == ("measured", None, NODE.id)
    assert outcome.key == key_of(CELL.id, NODE.digest)
    assert json.loads(outcome.document or b"")["session"]["id"] == SESSION


def test_it_has_its_cell_its_session_and_its_devices_and_no_options_of_others(
    attempt: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--exitfirst")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    outcome = end_of(attempt, "import json, os; print(json.dumps(dict(os.environ)))")
    told = json.loads(outcome.log or "")
    assert json.loads(told[CELL_VARIABLE])["id"] == CELL.id
    assert told["LLMBENCH_SESSION"] == SESSION
    assert (told[DEVICES_VARIABLE], told["CUDA_VISIBLE_DEVICES"]) == ("cpu:all@test-attempt", "")
    assert "PYTEST_ADDOPTS" not in told


def test_the_suite_is_written_as_yaml_that_says_the_same(attempt: Scripted, tmp_path: Path) -> None:
    suite = {
        "version": 1,
        "cases": [{"name": "a", "prompt": "na\u00efve \U0001f600 yes: no #", "temperature": 1e-05}],
    }
    attempt.task = Task(type(CELL)(**{**_fields(), "suite": suite}), "m", SESSION)
    end_of(attempt, "")
    assert yaml.safe_load((tmp_path / SESSION / "m.llm.yaml").read_text("utf-8")) == suite


def _fields() -> dict[str, object]:
    return {name: getattr(CELL, name) for name in CELL.__slots__}


def test_what_runs_too_long_is_ended_as_the_engines_fault(attempt: Scripted) -> None:
    attempt.task = Task(CELL, "m", SESSION, timeout=0.2)
    outcome = end_of(attempt, HANGS)
    assert (outcome.end, outcome.reason) == ("engine", "it took longer than 0.2 s")


def test_what_prints_without_an_end_is_ended(attempt: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_LOG", 1000)
    outcome = end_of(attempt, "print('x' * 10000, flush=True); import time; time.sleep(3600)")
    assert outcome.end == "engine"
    assert "it printed more" in (outcome.reason or "")


def test_what_is_asked_to_end_may_end_with_what_it_has(attempt: Scripted) -> None:
    attempt.script = KEEPS
    attempt.start()
    until(lambda: log_has(attempt, "begun"))
    attempt.interrupt()
    until(lambda: attempt.wait(0.05))
    outcome = attempt.outcome()
    assert (outcome.end, outcome.reason) == ("lost", "it was stopped")
    assert "kept" in (outcome.log or "")


def test_a_process_that_is_left_behind_is_ended_and_said(attempt: Scripted) -> None:
    outcome = end_of(attempt, LEAVES_ONE)
    assert outcome.end == "transient"
    assert "was left behind and was ended" in (outcome.reason or "")
    assert _of_session() == []


def test_a_result_stands_whatever_was_left_behind(attempt: Scripted, tmp_path: Path) -> None:
    Store(tmp_path / SESSION / "store").write(a_document(CELL, session=SESSION))
    outcome = end_of(attempt, LEAVES_ONE)
    assert outcome.end == "measured"
    assert "was left behind and was ended" in (outcome.reason or "")


def test_devices_that_are_used_by_another_attempt_are_not_measured_on(
    attempt: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE_WITHIN", 0.0)
    other = {**os.environ, **MINE.environment, "LLMBENCH_SESSION": "20260102T030405Z-11111111"}
    with subprocess.Popen([sys.executable, "-c", HANGS], env=other, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        attempt.start()
        outcome = attempt.outcome()
        process.kill()
    assert outcome.end == "transient"
    assert f"process {process.pid} of session 20260102T030405Z-11111111" in (outcome.reason or "")


def test_a_folder_that_cannot_be_written_is_tried_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    attempt = Attempt(Task(CELL, "m", SESSION), NODE, MINE, tmp_path / "file" / "folder")
    attempt.start()
    assert attempt.wait(0)
    assert attempt.outcome().end == "transient"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel ends it on Linux alone")
def test_pytest_dies_with_its_driver_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.unit.matrix import test_attempt as t\n"
        "one = t.Scripted(t.Task(t.CELL, 'm', t.SESSION), t.NODE, t.MINE, Path(sys.argv[1]))\n"
        "one.script = t.HANGS\none.start()\nprint(one._process.pid, flush=True)\none.wait(3600)"
    )
    root = str(Path(__file__).parents[3])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "folder")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    with driver:
        assert driver.stdout is not None
        child = psutil.Process(int(driver.stdout.readline()))
        driver.kill()
    until(lambda: not child.is_running())


def test_a_task_is_run_to_its_end_unless_it_is_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Attempt", Scripted)
    monkeypatch.setattr(Scripted, "script", HANGS)
    asked = iter([False, True])
    began = time.monotonic()
    outcome = run_task(
        Task(CELL, "m", SESSION), NODE, MINE, tmp_path / "f", stopping=lambda: next(asked, True), grace=60
    )
    assert outcome.end == "lost"
    assert time.monotonic() - began < 60


def test_what_does_not_end_when_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Attempt", Scripted)
    monkeypatch.setattr(
        Scripted, "script", f"import signal; signal.signal({int(signal.SIGINT)}, signal.SIG_IGN); {HANGS}"
    )
    outcome = run_task(Task(CELL, "m", SESSION), NODE, MINE, tmp_path / "f", stopping=lambda: True, grace=0.2)
    assert outcome.end == "lost"
    assert _of_session() == []


def _of_session() -> list[int]:
    """Processes that have the session in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.environ().get("LLMBENCH_SESSION") == SESSION
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
