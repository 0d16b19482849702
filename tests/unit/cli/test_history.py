"""Is it shown when a case changed?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pytest_llmbench.cli.app import app
from pytest_llmbench.results.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_session: Any) -> Store:
    monkeypatch.setenv("LLMBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "80")
    made = Store(tmp_path / "store")
    for day in range(1, 6):
        made.write(a_session(day))
    return made


def llmbench(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == status, result.output
    return result


def test_history_lists_the_sessions_of_a_case(store: Store) -> None:
    shown = llmbench("history", "test_x", "--metric", "ttft").stdout
    assert "benchmarks/test_a.py::test_x[llamacpp-tiny-q8_0]: ttft\n  machine machine-a, llama-cpp" in shown
    lines = [line.split() for line in shown.splitlines() if line.startswith("  2026-")]
    assert [line[0] for line in lines] == [f"2026-01-0{day}" for day in range(1, 6)]
    # The first has nothing to be compared with; of each other, what changed since the last and the first.
    assert [sum("%" in word for word in line) for line in lines] == [0, 2, 2, 2, 2]
    assert max(map(len, shown.splitlines())) <= 80
    assert "no session of" in llmbench("history", "test_nowhere", status=2).stderr
    assert "did you mean 'tpot'" in llmbench("history", "test_x", "--metric", "tpo", status=2).stderr


def test_history_marks_where_it_changed(store: Store, a_session: Any) -> None:
    pytest.importorskip("ruptures")
    for day in range(6, 11):
        store.write(a_session(day, slow=1.5))
    lines = llmbench("history", "test_x").stdout.splitlines()
    (marked,) = [line for line in lines if "<-" in line]
    assert "2026-01-06" in marked
    assert marked.endswith("worse")
