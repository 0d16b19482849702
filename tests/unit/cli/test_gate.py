"""Does the command line judge, keep and look back as the gate does, with the right exit status?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.cli.app import app
from pytest_llmbench.measure.engine import EngineSpec, Prompt
from pytest_llmbench.measure.loop import Plan
from pytest_llmbench.measure.pairs import Pair
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.results.document import write_document
from pytest_llmbench.results.records import Machine
from pytest_llmbench.results.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_session: Any) -> Store:
    monkeypatch.setenv("LLMBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.chdir(tmp_path)
    made = Store(tmp_path / "store")
    for day in range(1, 6):
        made.write(a_session(day))
    return made


def llmbench(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
def fast(store: Store, tmp_path: Path, a_session: Any) -> Path:
    return write_document(tmp_path / "fast.json", a_session(8))


@pytest.fixture
def slow(store: Store, tmp_path: Path, a_session: Any) -> Path:
    return write_document(tmp_path / "slow.json", a_session(9, slow=2.0))


def test_unchanged_code_passes(store: Store, fast: Path) -> None:
    assert "1 case: 1 pass" in llmbench("compare", store.path, fast, "--fail").stdout


def test_a_regression_is_shown_and_fails_only_when_asked(store: Store, slow: Path) -> None:
    assert "1 case: 1 fail" in llmbench("compare", "commit:aaaa", slow).stdout
    llmbench("compare", "commit:aaaa", slow, "--fail", status=1)


def test_several_baselines_count_together(store: Store, fast: Path) -> None:
    shown = llmbench("compare", "20260101", "20260102", "20260103", fast).stdout
    assert "compared with 3 sessions" in shown


def test_thresholds_can_be_given(store: Store, slow: Path) -> None:
    off = ["--threshold=ttft:off", "--threshold=tpot:off", "--threshold=decode_throughput:off"]
    llmbench("compare", store.path, slow, "--fail", *off)
    llmbench("compare", store.path, slow, "--fail", *off, "--threshold=ttft:<1ms", status=1)


def test_the_clock_can_be_given_and_is_else_what_the_document_kept(
    store: Store, tmp_path: Path, a_session: Any
) -> None:
    def judged(*options: str) -> set[str]:
        shown = llmbench("compare", store.path, now, "--format=json", *options).stdout
        return {one["metric"] for one in json.loads(shown)["cases"][0]["judgments"]}

    document = a_session(9)
    document.cases[0].clock = "cpu"
    now = write_document(tmp_path / "now.json", document)
    assert judged() == {"peak_rss", "cpu_time_per_token"}
    assert (
        judged("--clock=wall") == judged("--clock=auto") == {"ttft", "tpot", "decode_throughput", "peak_rss"}
    )
    assert judged("--clock", "cpu") == judged()


def test_markdown_and_json_have_the_same_verdict(store: Store, slow: Path) -> None:
    assert "1 fail" in llmbench("compare", store.path, slow, "--format", "markdown").stdout
    data = json.loads(llmbench("compare", store.path, slow, "--format", "json").stdout)
    assert data["verdict"] == "fail"


def test_what_has_no_baseline_fails_when_asked_or_gating_under_ci(
    store: Store, tmp_path: Path, a_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_document(tmp_path / "other.json", a_session(9, machine="machine-b"))
    assert "other hardware" in llmbench("compare", store.path, other, "--fail").stdout
    llmbench("compare", store.path, other, "--missing", "fail", status=1)
    monkeypatch.setenv("CI", "true")
    llmbench("compare", store.path, other)
    llmbench("compare", store.path, other, "--fail", status=1)
    llmbench("compare", store.path, other, "--fail", "--missing", "warn")


def test_what_cannot_be_judged_follows_its_option(store: Store, tmp_path: Path, a_session: Any) -> None:
    base = write_document(tmp_path / "base.json", a_session(8, processes=1))
    now = write_document(tmp_path / "now.json", a_session(9, processes=1))
    llmbench("compare", base, now, "--fail")
    llmbench("compare", base, now, "--inconclusive", "fail", status=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["slow.json"], "needs a baseline and what is to be judged"),
        (["latest", "nowhere.json"], "nowhere.json"),
        (["latest", "commit:aaaa"], "one is judged at a time"),
        (["slow.json", "slow.json"], "compared with itself"),
        (["latest", "slow.json", "--threshold", "tpo:5%"], "did you mean 'tpot'"),
        (["latest", "slow.json", "--clock", "gpu"], "--clock: 'gpu' is not a clock; use auto, wall or cpu"),
    ],
)
def test_bad_input_is_one_line_with_status_2(
    store: Store, slow: Path, arguments: list[str], said: str
) -> None:
    result = llmbench("compare", *arguments, status=2)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_baseline_is_saved_listed_and_compared_with(store: Store, slow: Path) -> None:
    assert "There is no named baseline" in llmbench("baseline", "list").stderr
    llmbench("baseline", "save", "nightly", "20260101")
    llmbench("baseline", "save", "nightly")
    shown = llmbench("baseline", "list").stdout
    assert "nightly: 2 sessions" in shown
    assert "20260105T000000Z" in shown
    llmbench("compare", "nightly", slow, "--fail", status=1)


def test_an_update_shows_the_differences_and_replaces(store: Store, slow: Path) -> None:
    llmbench("baseline", "save", "nightly", "commit:aaaa")
    shown = llmbench("baseline", "update", "nightly", slow, "--yes").stdout
    assert "1 case: 1 fail" in shown
    assert "nightly: 1 session\n" in llmbench("baseline", "list").stdout
    assert "is that already" in llmbench("baseline", "update", "nightly", slow).stdout


def test_an_update_that_nobody_can_confirm_changes_nothing(store: Store, slow: Path) -> None:
    llmbench("baseline", "save", "nightly")
    assert "use --yes" in llmbench("baseline", "update", "nightly", slow, status=2).stderr
    assert "20260105T000000Z" in llmbench("baseline", "list").stdout


def test_a_session_in_which_a_case_failed_is_no_baseline_unless_forced(
    store: Store, tmp_path: Path, a_session: Any
) -> None:
    failed = write_document(tmp_path / "failed.json", a_session(9, outcome="failed"))
    llmbench("baseline", "save", "nightly")
    for command in ("save", "update"):
        result = llmbench("baseline", command, "nightly", failed, status=2)
        assert "cannot be a baseline" in result.stderr
    llmbench("baseline", "update", "nightly", failed, "--force", "--yes")


def test_an_update_that_would_lose_cases_is_refused(
    store: Store, tmp_path: Path, a_session: Any, a_case: Any
) -> None:
    both = write_document(tmp_path / "both.json", a_session(8, [a_case(), a_case("test_y")]))
    llmbench("baseline", "save", "nightly", both)
    result = llmbench("baseline", "update", "nightly", "latest", "--yes", status=2)
    assert "1 of its cases would be lost" in result.stderr


@pytest.fixture
def calibrating(monkeypatch: pytest.MonkeyPatch, a_session: Any) -> list[float]:
    """Has sessions of these speeds "measured", and this machine be that of the stored sessions."""
    from pytest_llmbench.cli import calibrate as cli_calibrate
    from pytest_llmbench.results import environment

    speeds: list[float] = []

    def measure_sessions(plan: Plan, count: int, interval: float) -> Iterator[Run]:
        for speed in speeds:
            rounds = [
                Round(timeline(speed * level), disturbance=marks, measured=cpu_times(speed * level))
                for level, marks in LEVELS
            ]
            yield Run("calibration", plan.protocol(), [ProcessRun(1, ENGINE, VERSIONS, rounds)] * 3)

    monkeypatch.setattr(cli_calibrate, "_plan", lambda *_: calibration_plan())
    monkeypatch.setattr(cli_calibrate, "_measure_sessions", measure_sessions)
    monkeypatch.setattr(environment, "machine", lambda: Machine(id="machine-a"))
    return speeds


ENGINE: dict[str, object] = {}
VERSIONS = {"llama-cpp-python": "0.3.36"}
LEVELS: list[tuple[float, tuple[str, ...]]] = [(1.0, ()), (1.01, ()), (0.99, ()), (1.0, ()), (1.0, ())]


def timeline(speed: float) -> Timeline:
    times = tuple(round((50 + 10 * token) * 1e6 * speed) for token in range(8))
    return Timeline(0, 1000, times[0] - 1000, times, times[-1] + 5, 16, 8, "o", "p", "length")


def cpu_times(speed: float) -> dict[str, float | None]:
    return {"cpu_time_per_token": 0.01 * speed, "prefill_cpu_time": 0.05 * speed}


def calibration_plan() -> Plan:
    spec = ModelSpec("tiny", "q8_0")
    model = ResolvedModel(spec, "gguf", Path("x"), "sha256:0", 5, "q8_0", 6)
    return Plan(
        EngineSpec("llamacpp", "x:y", model, {}), GenerationParams(max_new_tokens=8), prompt=Prompt("p")
    )


def test_calibrated_sessions_add_up_and_judge_a_baseline_of_one(
    store: Store, slow: Path, tmp_path: Path, calibrating: list[float]
) -> None:
    calibrating[:] = [1.0, 1.01]
    shown = llmbench("calibrate", "--sessions", "2").stdout
    assert "2 sessions of 3 processes" in shown
    assert "3 sessions are needed" in shown
    before = llmbench("compare", "20260101", slow, "--all").stdout
    assert "calibration" not in before
    calibrating[:] = [0.99, 1.02]
    shown = llmbench("calibrate", "--sessions", "2").stdout
    assert "with 2 of earlier calibrations" in shown
    assert "tpot" in shown
    assert "machine-a-sessions.json" in shown
    after = " ".join(llmbench("compare", "20260101", slow, "--all").stdout.split())
    assert "single-session baseline: between-session noise 1.3% from the calibration of 20" in after


def test_a_calibrated_session_that_was_disturbed_is_left_out(
    store: Store, calibrating: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrating[:] = [1.0]
    monkeypatch.setattr(f"{__name__}.LEVELS", [(1.0, ("foreign_cpu",)), (1.0, ())])
    result = llmbench("calibrate", "--sessions", "1", status=2)
    assert "1 more were disturbed by other load and left out" in result.stdout
    assert "no session was left undisturbed by other load" in result.stderr
    assert "--clock cpu" in result.stderr
    assert not (store.path / "calibration").exists()


def test_a_calibrated_session_that_was_disturbed_is_kept_for_its_cpu_times(
    store: Store, calibrating: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrating[:] = [1.0, 1.01, 0.99]
    monkeypatch.setattr(f"{__name__}.LEVELS", [(1.0, ("foreign_cpu",)), (1.0, ())])
    monkeypatch.setattr(f"{__name__}.ENGINE", {"cpu_time": "comparable"})
    shown = llmbench("calibrate", "--sessions", "3").stdout
    assert "disturbed by other load, and kept for CPU times alone: 3 of them" in shown
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert rows["cpu_time_per_token"][:2] == ["3", "1.0%"]
    assert "tpot" not in rows
    monkeypatch.setattr(f"{__name__}.LEVELS", [(1.0, ()), (1.0, ())])
    shown = llmbench("calibrate", "--sessions", "3").stdout
    assert "disturbed" not in shown
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert (rows["cpu_time_per_token"][0], rows["tpot"][0]) == ("6", "3")
    shown = llmbench("calibrate", "--sessions", "3", "--clock", "wall").stdout
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert rows["tpot"][0] == "6"
    assert "cpu_time_per_token" not in rows


def test_cpu_times_that_do_not_compare_are_not_calibrated(
    store: Store, calibrating: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrating[:] = [1.0]
    told = "not comparable: a GPU does the work"
    monkeypatch.setattr(f"{__name__}.ENGINE", {"cpu_time": told})
    result = llmbench("calibrate", "--sessions", "1", "--clock", "cpu", status=2)
    assert f"the CPU time of this engine is {told}; use --clock wall" in result.stderr
    assert "'gpu' is not a clock" in llmbench("calibrate", "--clock", "gpu", status=2).stderr


@pytest.mark.parametrize(("load", "pairs"), [((), "4"), (("foreign_cpu",), "0")])
def test_calibrated_pairs_show_floors_of_times_and_of_cpu_times(
    store: Store, monkeypatch: pytest.MonkeyPatch, load: tuple[str, ...], pairs: str
) -> None:
    from pytest_llmbench.cli import calibrate as cli_calibrate
    from pytest_llmbench.results import environment

    def side(speed: float) -> ProcessRun:
        rounds = [Round(timeline(speed), disturbance=load, measured=cpu_times(speed)) for _ in range(3)]
        return ProcessRun(1, {"cpu_time": "comparable"}, VERSIONS, rounds)

    found = [Pair(side(1.0), side(speed), alternating=True) for speed in (1.0, 1.01, 0.99, 1.0)]
    monkeypatch.setattr(cli_calibrate, "_plan", lambda *_: calibration_plan())
    monkeypatch.setattr(cli_calibrate, "_measure", lambda *_: found)
    monkeypatch.setattr(environment, "machine", lambda: Machine(id="machine-a"))
    shown = llmbench("calibrate", "--pairs", "4").stdout
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert rows["cpu_time_per_token"][0] == rows["prefill_cpu_time"][0] == "4"
    assert rows.get("tpot", ["0"])[0] == rows.get("ttft", ["0"])[0] == pairs
    assert ("4 were disturbed by other load and left out of all but CPU times" in shown) is bool(load)
    kept = json.loads((store.path / "calibration" / "machine-a.json").read_text())
    assert kept["disturbed"] == (4 if load else 0)
    if load:
        result = llmbench("calibrate", "--pairs", "4", "--clock", "wall", status=2)
        assert "4 of 4 pairs were disturbed by other load" in result.stderr


def test_a_damaged_calibration_is_a_warning(store: Store, fast: Path) -> None:
    folder = store.path / "calibration"
    folder.mkdir()
    (folder / "machine-a-sessions.json").write_text("{")
    result = llmbench("compare", "20260101", fast)
    assert "machine-a-sessions.json is damaged" in result.stderr
