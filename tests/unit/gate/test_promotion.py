"""Does a session become a baseline for what it can be one for, and is the rest told?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.gate.compare import compare
from pytest_llmbench.gate.promotion import fitness, promote, save, why_not_promoted, why_not_saved
from pytest_llmbench.results.baselines import find_place, named_baselines
from pytest_llmbench.results.document import write_document
from pytest_llmbench.results.store import Store
from tests.unit.conftest import CpuSession

NAME = "benchmarks/test_a.py::test_x[llamacpp-tiny-q8_0]"


def test_a_quiet_session_is_a_baseline_without_a_word(a_session: Any) -> None:
    assert fitness(a_session(1)) == (True, [])


def test_a_session_of_disturbed_times_is_not_one(a_session: Any) -> None:
    fit, lines = fitness(a_session(1, disturbed=15))
    assert not fit
    assert lines == [
        f"{NAME}: its times are of no use as a baseline: 15 of 15 rounds were disturbed (foreign_cpu)"
    ]
    assert "its times are of no use" in (why_not_saved("main", a_session(1, disturbed=15)) or "")


def test_cpu_times_of_disturbed_rounds_are_a_baseline_for_themselves_alone(
    a_cpu_session: CpuSession, tmp_path: Path
) -> None:
    document = a_cpu_session(1, crowded=1.0)
    fit, lines = fitness(document)
    assert fit
    assert lines == [
        f"{NAME}: a baseline for CPU times alone: 15 of 15 rounds were disturbed (cpu_pressure, foreign_cpu)"
    ]
    assert why_not_saved("main", document) is None
    store = Store(tmp_path / "store")
    assert lines[0] in save("main", store, document)
    assert len(named_baselines(store)) == 1


@pytest.mark.parametrize("why", ["several threads", "slowed", "wall", "failed"])
def test_what_cpu_times_cannot_say_either_is_no_baseline(a_cpu_session: CpuSession, why: str) -> None:
    told = "not comparable beside other load: 4 threads" if why == "several threads" else "comparable"
    document = a_cpu_session(1, crowded=1.0, told=told, outcome="failed" if why == "failed" else "passed")
    if why == "slowed":
        for r in document.cases[0].rounds:
            r.disturbance.append("swap")
    if why == "wall":
        document.cases[0].clock = "wall"
    fit, lines = fitness(document)
    assert not fit
    assert "its times are of no use as a baseline" in lines[0]


def test_a_session_beside_load_replaces_a_baseline_by_its_cpu_times(
    a_cpu_session: CpuSession, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    path = write_document(tmp_path / "base.json", a_cpu_session(1, crowded=1.0))
    now = a_cpu_session(2, crowded=1.0)
    place = find_place(str(path), store, here=tmp_path)
    assert why_not_promoted(place, now, compare([a_cpu_session(1, crowded=1.0)], now)) is None
    told = promote(place, store, now)
    assert told.splitlines()[1].startswith(
        f"Results: {NAME}: a baseline for CPU times alone: 15 of 15 rounds"
    )


def test_a_session_of_disturbed_times_does_not_replace_a_baseline(a_session: Any, tmp_path: Path) -> None:
    path = write_document(tmp_path / "base.json", a_session(1))
    now = a_session(2, disturbed=15)
    place = find_place(str(path), Store(tmp_path / "store"), here=tmp_path)
    why = why_not_promoted(place, now, compare([a_session(1)], now))
    assert "too disturbed to compare with" in (why or "")
