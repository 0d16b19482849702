"""Does a session that was killed go on where it was?"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., pytest.RunResult]
FOUR = """
import os
import pytest

@pytest.mark.llm(rounds=2, max_new_tokens=4)
@pytest.mark.parametrize("n", range(4))
def test_x(llm_model, n):
    llm_model.measure("one", label="one")
    llm_model.measure("two", label="two")
    open("measured", "a").write(str(n))
    assert n != {fails}
    if n == 2 and not os.path.exists("again"):
        open("again", "w").close()
        os._exit(9)
"""
FAKE = ("--llm-backend=fake", "--llm-monitor-rate=0", "-p", "no:cacheprovider")


@pytest.fixture(autouse=True)
def _fakes_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the processes that are killed, too."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


def _killed(bench: pytest.Pytester, *, fails: int = -1) -> None:
    bench.makepyfile(FOUR.format(fails=fails))
    assert bench.runpytest_subprocess(*FAKE).ret == 9


def _journal() -> Path:
    (journal,) = Path(".llmbench/journal").glob("*.jsonl")
    return journal


def _documents() -> list[Any]:
    return [json.loads(path.read_text()) for path in Path(".llmbench/results").glob("*.json")]


def test_what_was_measured_is_not_measured_again_and_one_document_has_all(
    bench: pytest.Pytester, run: Run
) -> None:
    _killed(bench)
    before = _journal().stem
    result = run("--llm-resume=latest")
    result.assert_outcomes(passed=2, deselected=2)
    result.stdout.fnmatch_lines([f"llmbench: session {before} goes on: 2 benchmarks measured before"])
    assert Path("measured").read_text() == "012" + "23"
    (document,) = _documents()
    assert document["session"]["id"] == before
    assert document["session"]["state"] == "finished"
    assert len(document["cases"]) == 8
    assert not list(Path(".llmbench/journal").iterdir())


def test_one_that_has_measured_everything_has_nothing_to_do(bench: pytest.Pytester, run: Run) -> None:
    _killed(bench)
    run("--llm-resume=latest")
    result = run("--llm-resume=latest")
    assert result.ret == 0
    assert len(_documents()[0]["cases"]) == 8


def test_a_test_that_failed_before_fails_the_session(bench: pytest.Pytester, run: Run) -> None:
    _killed(bench, fails=0)
    result = run("--llm-resume=latest")
    result.assert_outcomes(passed=2, deselected=2)
    assert result.ret == 1
    assert _documents()[0]["session"]["exit_status"] == 1


def test_a_line_that_was_cut_off_is_of_a_test_that_is_measured_again(
    bench: pytest.Pytester, run: Run
) -> None:
    _killed(bench)
    journal = _journal()
    journal.write_bytes(journal.read_bytes()[:-20])
    run("--llm-resume=latest").assert_outcomes(passed=3, deselected=1)
    assert len(_documents()[0]["cases"]) == 8


def test_it_may_be_killed_again(bench: pytest.Pytester, run: Run) -> None:
    _killed(bench)
    Path("again").unlink()
    assert bench.runpytest_subprocess(*FAKE, "--llm-resume=latest").ret == 9
    assert len(list(Path(".llmbench/journal").iterdir())) == 2
    run("--llm-resume=latest").assert_outcomes(passed=2, deselected=2)
    assert len(_documents()[0]["cases"]) == 8


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("machine", {"id": "another"}, "it ran on machine another, and this is"),
        ("commit", {"id": "0" * 40}, "it ran at commit 000000000, not"),
        ("versions", {"python": "2.7"}, "python was 2.7 and is 3"),
    ],
)
def test_what_does_not_go_together_is_refused(
    bench: pytest.Pytester, run: Run, key: str, value: dict[str, str], says: str
) -> None:
    _killed(bench)
    journal = _journal()
    head, _, rest = journal.read_text().partition("\n")
    header = json.loads(head)
    header[key] = {**(header[key] or {}), **value}
    journal.write_text(f"{json.dumps(header)}\n{rest}")
    result = run("--llm-resume=latest")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: session * cannot go on here: *{says}*"])
    assert journal.exists()


def test_one_that_still_runs_is_left_alone(bench: pytest.Pytester, run: Run) -> None:
    import fcntl

    _killed(bench)
    with _journal().open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = run("--llm-resume=latest")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: session * is still running*"])


def test_one_that_is_not_there_is_one_line(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(FOUR.format(fails=-1))
    result = run("--llm-resume=nothing")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --llm-resume: there is no session 'nothing'*"])


def test_several_workers_cannot_go_on(bench: pytest.Pytester, run: Run) -> None:
    _killed(bench)
    result = run("-n2", "--llm-resume=latest")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --llm-resume goes on in one process: leave out -n"])
