"""Is everything done in the order in which it has to be done?"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.errors import EngineError
from pytest_llmbench.hardware.facts import Energy, HardwareSummary
from pytest_llmbench.hardware.monitor import Edge
from pytest_llmbench.measure.engine import EngineSpec, Prompt
from pytest_llmbench.measure.loop import EnginePool, Plan, judge, measure
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.report.progress import Progress
from tests.fakes.llmbench_levels import a_hardware_summary

FAKES = Path(__file__).parents[2] / "fakes"


class Watcher:
    """A monitor that writes down what it is told, and whether the process lived then."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []
        self.energies = 0
        self.asked: list[tuple[int, int]] = []
        self.answers: list[tuple[str, ...] | None] = [("steal",)]

    def follow(self, pid: int) -> None:
        self.told.append(("follow", psutil.pid_exists(pid)))

    def unfollow(self, pid: int) -> None:
        self.told.append(("unfollow", psutil.pid_exists(pid)))

    def edge(self) -> Edge:
        self.told.append(("edge", True))
        return Edge(0, {})

    def energy(self, start: Any, end: Any) -> Any:
        # What is asked for in a round is known better when the process ends.
        self.energies += 1
        return Energy(float(self.energies), "power_integral", None, {})

    def disturbance(self, start_ns: int, end_ns: int) -> tuple[str, ...] | None:
        assert start_ns < end_ns
        self.asked.append((start_ns, end_ns))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]

    def unwatched(self, start_ns: int, end_ns: int) -> str | None:
        return f"the sampler died {len(self.asked)}"

    def summary(self, start_ns: int, end_ns: int) -> HardwareSummary:
        return a_hardware_summary()

    def peak_rss_of(self, pid: int) -> int | None:
        return 1 << 40


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.syspath_prepend(FAKES)
    model = ResolvedModel(ModelSpec("tiny"), "hf", Path("nowhere"), "sha256:0", 1, "f16", 1)
    options = {"context": 100, "seconds_per_token": 0.0, "load": ""}
    spec = EngineSpec("fake", "llmbench_fake:backend", model, options, python=sys.executable)
    return Plan(spec, GenerationParams(max_new_tokens=2), rounds=2, prompt=Prompt.of("hi"), timeout=60)


def test_a_process_is_watched_from_its_start_to_its_end(plan: Plan) -> None:
    watcher, run = Watcher(), Run("default", plan.protocol())
    measure(plan, run, EnginePool(), watcher, Progress())
    edges = [("edge", True)] * 4
    assert watcher.told == [("follow", True), *edges, ("unfollow", False)]
    assert run.disturbance == ("steal",)
    assert run.processes[0].peak_rss == 1 << 40


def test_the_energy_of_a_round_is_what_is_known_of_it_at_the_end(plan: Plan) -> None:
    watcher, run = Watcher(), Run("default", plan.protocol())
    measure(plan, run, EnginePool(), watcher, Progress())
    assert [r.energy for r in run.rounds] == [3.0, 4.0]
    assert run.processes[0].hardware is not None
    assert run.processes[0].hardware.methods == {"energy": "power_integral"}


def test_a_process_that_does_not_load_is_watched_no_longer(plan: Plan) -> None:
    plan.engine.options["load"] = "raise"  # type: ignore[index]
    watcher, run = Watcher(), Run("default", plan.protocol())
    with pytest.raises(EngineError, match="another model"):
        measure(plan, run, EnginePool(), watcher, Progress())
    assert watcher.told == [("follow", True), ("unfollow", False)]
    assert run.processes == []


def test_a_round_that_was_not_watched_has_no_disturbance_and_its_process_says_why(plan: Plan) -> None:
    watcher, run = Watcher(), Run("default", plan.protocol())
    watcher.answers = [(), None]
    measure(plan, run, EnginePool(), watcher, Progress())
    (process,) = run.processes
    assert [r.disturbance for r in run.rounds] == [(), None]
    assert [list(process.marks(r)) for r in run.rounds] == [[], ["unwatched"]]
    assert (process.unwatched, process.watch_lost) == ("the sampler died 2", True)
    assert run.disturbance == ()


def test_without_a_monitor_no_round_is_said_to_be_undisturbed_and_none_is_left_out(plan: Plan) -> None:
    run = Run("default", plan.protocol())
    measure(plan, run, EnginePool(), None, Progress())
    (process,) = run.processes
    assert [r.disturbance for r in run.rounds] == [None, None]
    assert [list(process.marks(r)) for r in run.rounds] == [[], []]
    assert (process.unwatched, process.watch_lost) == ("the hardware monitor is off", False)
    assert run.disturbance is None


def request(sent: float, done: float) -> Round:
    second = 1_000_000_000
    return Round(
        Timeline(int(sent * second), 0, None, (), int(done * second), 1, 1, "", "", "length"),
    )


def test_requests_of_a_level_are_judged_by_the_seconds_that_they_touch_and_not_beyond_the_level() -> None:
    watcher = Watcher()
    watcher.answers = [(), None, ("swap",), ()]
    record = ProcessRun(1, {}, {})
    record.rounds = [request(10.4, 10.9), request(10.8, 11.2), request(11.5, 12.5), request(13.1, 13.2)]
    judge(record, watcher, 1_000_000_000)
    assert [tuple(round(t / 1e9, 3) for t in one) for one in watcher.asked] == [
        (10.4, 11.0),
        (11.0, 12.0),
        (12.0, 13.0),
        (13.0, 13.2),
    ]
    # What was seen in a part of a request's time holds, whatever the rest was.
    assert [r.disturbance for r in record.rounds] == [(), None, ("swap",), ()]
    assert record.watch_lost


def test_a_round_whose_reuse_the_engines_own_count_contradicts_is_invalid_though_it_was_cold(
    plan: Plan,
) -> None:
    run = Run("default", plan.protocol())
    measure(replace(plan, prompt=Prompt.of("!doubts")), run, EnginePool(), None, Progress())
    assert [one.invalid for one in run.rounds] == ["its count differs"] * 2
    assert not any(one.counted for one in run.rounds)


def test_a_depth_is_made_anew_where_it_changes_and_is_gone_for_who_shares_the_engine(plan: Plan) -> None:
    pool, shared = EnginePool(), replace(plan, isolation="model")
    found = []
    for depth in (20, 30, 0):
        run = Run("default", plan.protocol())
        measure(replace(shared, depth=depth), run, pool, None, Progress())
        found.append([(one.timeline.prompt_tokens, one.value("cached_tokens")) for one in run.rounds])
    pool.close()
    # The begin token is the depth's; where nothing is to be reused and nothing was, nothing is said.
    assert found == [[(22, 20)] * 2, [(32, 30)] * 2, [(3, None)] * 2]
