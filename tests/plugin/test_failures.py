"""When something breaks: does only its own case fail, in words, with all that was measured kept?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.plugin.conftest import Run
from tests.waiting import until

Document = Callable[[], dict[str, Any]]

BENCH = """
import pytest

@pytest.mark.llm(rounds=4, warmup_rounds=1, max_new_tokens=4)
def test_bad(llm_model):
    llm_model.measure({prompt!r})

def test_good(llm_model):
    llm_model.measure("fine", rounds=1)
"""


def workers_of_ours() -> list[psutil.Process]:
    """Engine and sampler processes below this one."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE
        and any("pytest_llmbench" in part for part in process.cmdline())
    ]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("!segfault", "*process of fake tiny was ended by SIGSEGV while generating*"),
        ("!killed", "*was ended by SIGKILL while generating; the system does that when memory runs out*"),
        ("!exit", "*process of fake tiny exited with status 3 while generating*"),
        ("!raise", "*fake tiny: the engine raised RuntimeError: tensor of the wrong shape*"),
        ("!oom", "*the engine ran out of memory: try a smaller quantization*"),
        ("!hang", "*did not finish generating within 1 s and was ended; raise timeout=*--llm-timeout*"),
    ],
)
def test_an_engine_that_fails_fails_its_own_case(
    bench: pytest.Pytester, run: Run, document: Document, prompt: str, message: str
) -> None:
    bench.makepyfile(BENCH.format(prompt=f"{prompt} !after=3"))
    result = run("--llm-timeout=1" if "hang" in prompt else "--llm-timeout=60")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines([f"E{message}"])
    result.stdout.fnmatch_lines(["E*2 measured rounds of this case are kept*"])
    bad, good = document()["cases"]
    assert (bad["outcome"], good["outcome"]) == ("failed", "passed")
    assert len(bad["processes"][0]["rounds"]) == 2
    assert bad["error"]
    assert workers_of_ours() == []
    assert "measure/engine.py" not in result.stdout.str()


def test_the_last_words_of_a_crashed_engine_are_shown(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH.format(prompt="!segfault"))
    run().stdout.fnmatch_lines(["E*The last lines of its output:*", "E*about to touch page zero*"])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "*fake tiny: these weights are of another model*"),
        ("segfault", "*was ended by SIGSEGV while loading the model*"),
        ("hang", "*did not finish loading the model within 1 s*"),
    ],
)
def test_a_model_that_does_not_load_fails_its_case(
    bench: pytest.Pytester, run: Run, document: Document, how: str, message: str
) -> None:
    bench.makepyfile("def test_bad(llm_model): llm_model.measure('a')")
    result = run(f"--llm-option=fake.load={how}", "--llm-timeout=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E{message}"])
    (case,) = document()["cases"]
    assert case["processes"] == []
    assert workers_of_ours() == []


def test_a_prompt_longer_than_the_context_is_told_in_words(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH.format(prompt="x" * 5000))
    result = run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["E*prompt has 5001 tokens and 4 are to be generated, * holds 4096; *fake.context=5005*"]
    )


def test_an_engine_that_failed_is_not_shared_with_the_next_test(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH.format(prompt="!raise"))
    run("--llm-isolation=model").assert_outcomes(failed=1, passed=1)


def test_a_store_that_cannot_be_written_is_refused_before_anything_is_measured(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(BENCH.format(prompt="a"))
    (bench.path / "file").write_text("not a folder")
    result = run("--llm-store=file/store")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*file*", "*Choose a folder that can be written with --llm-store.*"])


def test_a_json_path_without_its_folder_is_refused_before_anything_is_measured(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(BENCH.format(prompt="a"))
    result = run("--llm-json=missing/out.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --llm-json: */missing/out.json*there is no folder*"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_fails_the_session_and_what_was_measured_is_in_the_store(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile("def test_good(llm_model): llm_model.measure('a', rounds=1)")
    result = run("--llm-json=/dev/full")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["Results: .llmbench*", "Results: *No space left on device*"])
    (kept,) = (bench.path / ".llmbench" / "results").glob("*.json")
    assert "test_good" in kept.read_text()


def start(bench: pytest.Pytester, *args: str) -> subprocess.Popen[bytes]:
    noted = str(bench.path / "hangs")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LLMBENCH_FAKE_HANGS": noted}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--llm-backend=fake",
            "--llm-json=out.json",
            *args,
        ],
        cwd=bench.path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell has what it runs in the background ignore Ctrl-C, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


SLOW = """
def test_first(llm_model):
    llm_model.measure("a", rounds=1)

def test_second(llm_model):
    llm_model.measure("b", rounds=1, label="before")
    llm_model.measure("!hang", rounds=1)
"""


def test_ctrl_c_in_a_round_keeps_what_was_measured_and_leaves_no_process(
    bench: pytest.Pytester, document: Document
) -> None:
    bench.makepyfile(SLOW)
    process = start(bench)
    until((bench.path / "hangs").exists)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output.decode()
    assert workers_of_ours() == []
    content = document()
    assert content["session"]["state"] == "interrupted"
    outcomes = {(c["nodeid"].partition("::")[2], c["measurement"]): c["outcome"] for c in content["cases"]}
    assert outcomes["test_first[fake-tiny]", "default"] == "passed"
    assert outcomes["test_second[fake-tiny]", "before"] == "interrupted"


TALK = """
from pytest_llmbench import Conversation, Turn

def test_talk(llm_chat):
    turns = Turn(user="one"), Turn(user="two"), Turn(user="!hang")
    llm_chat.run(Conversation(name="talk", turns=turns), rounds=1, warmup_rounds=0)
"""


def test_ctrl_c_in_a_conversation_keeps_the_turns_that_were_answered(
    bench: pytest.Pytester, document: Document
) -> None:
    bench.makepyfile(TALK)
    process = start(bench)
    until((bench.path / "hangs").exists)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output.decode()
    assert workers_of_ours() == []
    cases = {case["measurement"]: case for case in document()["cases"]}
    rounds = {name: [len(p["rounds"]) for p in case["processes"]] for name, case in cases.items()}
    assert rounds == {"talk turn 1": [1], "talk turn 2": [1], "talk turn 3": []}
    assert {case["outcome"] for case in cases.values()} == {"interrupted"}
    assert cases["talk turn 2"]["processes"][0]["hardware"] is not None


def test_a_killed_session_leaves_every_finished_case_and_no_process(bench: pytest.Pytester) -> None:
    bench.makepyfile(SLOW)
    process = start(bench)
    until((bench.path / "hangs").exists)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.communicate(timeout=60)
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in children))
    recovered = subprocess.run(
        [sys.executable, "-m", "pytest_llmbench", "recover"],
        cwd=bench.path,
        capture_output=True,
        text=True,
    )
    assert recovered.returncode == 0, recovered.stderr
    assert "recovered" in recovered.stdout, recovered.stdout
    (written,) = (bench.path / ".llmbench" / "results").glob("*.json")
    assert "test_first" in written.read_text()
