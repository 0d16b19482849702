"""Does a calibration say of sessions what they showed, and only of cases like them?"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.gate.calibration import (
    Calibration,
    ShortSession,
    add_sessions,
    calibrated_metrics,
    calibrated_noise,
    read_calibration,
    session_noise,
)
from pytest_llmbench.gate.compare import compare
from pytest_llmbench.results.measured import Measured
from pytest_llmbench.results.store import Store
from pytest_llmbench.results.verdict import Judgment, Verdict
from tests.unit.conftest import CpuSession


def short(*values: float, day: int = 24, **what: Any) -> ShortSession:
    """A session like those of the fixture ``a_session``, with these medians of its processes."""
    known: dict[str, Any] = {
        "date": f"2026-11-{day:02}T12:00:00Z",
        "backend": "llamacpp",
        "engine": "llama-cpp-python 0.3.36",
        "model": "tiny",
        "quantization": "q8_0",
        "rounds": 10,
        "max_new_tokens": 32,
        "values": {"tpot": list(values)},
    }
    return ShortSession(**{**known, **what})


SESSIONS = [short(*(math.exp(s + p) for p in (-0.01, 0.0, 0.01))) for s in (-0.02, 0.0, 0.02)]


@pytest.fixture
def now(a_session: Any) -> Measured:
    session = a_session(9)
    return Measured(session.cases[0], session)


def tpot(comparison: Any) -> Judgment:
    (found,) = (one for one in comparison.cases[0].judgments if one.metric == "tpot")
    assert isinstance(found, Judgment)
    return found


def test_the_spread_of_sessions_and_that_of_processes_are_told_apart() -> None:
    noise = session_noise("tpot", SESSIONS)
    assert noise is not None
    assert math.sqrt(noise.variance) == pytest.approx(0.02)
    assert math.sqrt(noise.process) == pytest.approx(0.01)
    assert (noise.df, noise.processes) == (2, 3)


def test_fewer_than_three_sessions_or_another_metric_say_nothing() -> None:
    assert session_noise("tpot", SESSIONS[:2]) is None
    assert session_noise("ttft", SESSIONS) is None


def test_sessions_of_single_processes_show_how_far_they_lie_apart_all_the_same() -> None:
    noise = session_noise("tpot", [short(value) for value in (1.0, 1.1, 0.9)])
    assert noise is not None
    assert noise.variance > 0
    assert noise.process == 0


def test_a_case_of_the_model_that_was_calibrated_is_alike(now: Measured) -> None:
    noise = Calibration("machine-a", SESSIONS).noise_of("tpot", now)
    assert noise is not None
    assert noise.alike


@pytest.mark.parametrize(
    "other", [{"backend": "transformers"}, {"engine": "llama-cpp-python 0.3.35"}, {"engine": None}]
)
def test_another_backend_or_engine_version_says_nothing(now: Measured, other: dict[str, Any]) -> None:
    sessions = [replace(one, **other) for one in SESSIONS]
    assert Calibration("machine-a", sessions).noise_of("tpot", now) is None


def test_another_machine_says_nothing(now: Measured) -> None:
    assert Calibration("machine-b", SESSIONS).noise_of("tpot", now) is None


def test_of_other_models_the_one_that_varies_most_counts_and_has_to_be_borne_out(now: Measured) -> None:
    quiet = [replace(one, model="quiet", values={"tpot": [1.0, 1.0, 1.01]}) for one in SESSIONS]
    loud = [replace(one, model="loud") for one in SESSIONS]
    noise = Calibration("machine-a", [*quiet, *loud]).noise_of("tpot", now)
    assert noise is not None
    assert not noise.alike
    assert math.sqrt(noise.variance) == pytest.approx(0.02)
    own = [replace(one, model="tiny") for one in quiet]
    noise = Calibration("machine-a", [*own, *loud]).noise_of("tpot", now)
    assert noise is not None
    assert noise.alike


def test_sessions_that_were_measured_otherwise_are_no_repetitions(now: Measured) -> None:
    sessions = [*SESSIONS[:2], replace(SESSIONS[2], max_new_tokens=512)]
    assert Calibration("machine-a", sessions).noise_of("tpot", now) is None


def test_sessions_add_up_and_the_newest_gives_the_date(tmp_path: Path, now: Measured) -> None:
    store = Store(tmp_path / "store")
    assert read_calibration(store, "machine-a").sessions == ()
    add_sessions(store, "machine-a", SESSIONS[:2])
    path = add_sessions(store, "machine-a", [replace(SESSIONS[2], date="2026-11-26T00:00:00Z")])
    assert path.parent == store.path / "calibration"
    kept = read_calibration(store, "machine-a")
    assert len(kept.sessions) == 3
    noise = calibrated_noise(store, [])("tpot", now)
    assert noise is not None
    assert noise.source == "the calibration of 2026-11-26"
    assert noise == kept.noise_of("tpot", now)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"sessions": [{}]}',
        '{"sessions": [1]}',
        '{"machine": "machine-a"}',
        json.dumps({"sessions": [{**asdict(SESSIONS[0]), "values": [1.0]}]}),
    ],
)
def test_a_damaged_calibration_is_told_and_not_used(tmp_path: Path, now: Measured, content: str) -> None:
    store = Store(tmp_path / "store")
    path = add_sessions(store, "machine-a", SESSIONS)
    path.write_text(content)
    problems: list[str] = []
    assert calibrated_noise(store, problems)("tpot", now) is None
    assert len(problems) == 1
    assert str(path) in problems[0]
    with pytest.raises(ResultsError, match="damaged"):
        add_sessions(store, "machine-a", SESSIONS)
    assert path.read_text() == content


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, "fast"])
def test_values_that_no_session_has_are_damage(tmp_path: Path, value: Any) -> None:
    store = Store(tmp_path / "store")
    path = add_sessions(store, "machine-a", SESSIONS)
    path.write_text(path.read_text().replace("1.0,", f"{value!r},".replace("inf", "Infinity"), 1))
    with pytest.raises(ResultsError, match="damaged"):
        read_calibration(store, "machine-a")


# --- In the gate --------------------------------------------------------------------------------


def test_a_single_session_is_judged_by_it_and_the_judgment_says_so(a_session: Any, now: Measured) -> None:
    noise = Calibration("machine-a", [*SESSIONS, *SESSIONS]).noise_of
    slow = a_session(9, slow=1.6)
    alone, calibrated = (tpot(compare([a_session(1)], slow, noise=one)) for one in (None, noise))
    assert calibrated.method == "single-session"
    assert calibrated.verdict is Verdict.FAIL
    assert calibrated.reason == (
        "single-session baseline: between-session noise 1.8% from the calibration of 2026-11-24"
    )
    assert calibrated.details["calibration"] == "the calibration of 2026-11-24"
    assert "calibration" not in alone.details
    unsure = tpot(compare([a_session(1)], a_session(9, slow=1.08), noise=noise))
    assert unsure.verdict is Verdict.INCONCLUSIVE
    assert "single-session baseline: between-session noise 1.8%" in (unsure.reason or "")
    two = tpot(compare([a_session(1), a_session(2)], slow, noise=noise))
    assert (two.reason or "").startswith("two-session baseline: ")


def test_three_sessions_need_no_calibration(a_session: Any) -> None:
    noise = Calibration("machine-a", SESSIONS).noise_of
    bases = [a_session(day) for day in (1, 2, 3)]
    judged = tpot(compare(bases, a_session(9), noise=noise))
    assert judged.method == "prediction"
    assert "calibration" not in judged.details


def test_single_processes_are_judged_by_the_calibration_of_their_own_model_alone(a_session: Any) -> None:
    def judged(sessions: list[ShortSession]) -> Judgment:
        noise = Calibration("machine-a", sessions).noise_of
        return tpot(compare([a_session(1, processes=1)], a_session(9, processes=1, slow=9.0), noise=noise))

    assert judged(SESSIONS).verdict is Verdict.FAIL
    other = judged([replace(one, model="other") for one in SESSIONS])
    assert other.verdict is Verdict.INCONCLUSIVE
    assert "calibration" not in other.details


# --- CPU times ----------------------------------------------------------------------------------


def test_what_gates_is_calibrated_by_both_clocks() -> None:
    assert calibrated_metrics(["tpot", "ttft"]) == ("ttft", "tpot", "cpu_time_per_token", "prefill_cpu_time")
    assert calibrated_metrics(["tpot", "load_time"], "wall") == ("tpot", "load_time")
    assert calibrated_metrics(["tpot", "load_time"], "cpu") == ("cpu_time_per_token",)


def test_a_single_session_is_judged_by_the_calibration_of_its_cpu_times(a_cpu_session: CpuSession) -> None:
    values = [{"cpu_time_per_token": one.values["tpot"]} for one in SESSIONS]
    sessions = [replace(one, values=found) for one, found in zip(SESSIONS * 2, values * 2, strict=True)]
    assert all(one.only_cpu_time for one in sessions)
    assert not SESSIONS[0].only_cpu_time
    noise = Calibration("machine-a", sessions).noise_of
    case = compare(
        [a_cpu_session(1, crowded=1.0)], a_cpu_session(9, work=1.3, crowded=1.0), noise=noise
    ).cases[0]
    (cpu,) = (one for one in case.judgments if one.metric == "cpu_time_per_token")
    assert (case.verdict, cpu.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert "between-session noise 1.8% from the calibration of 2026-11-24" in (cpu.reason or "")
