"""Is everything done in the order in which it has to be done?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.errors import EngineError
from pytest_llmbench.hardware.series import Energy
from pytest_llmbench.measure.engine import EngineSpec, Prompt
from pytest_llmbench.measure.loop import EnginePool, Plan, measure
from pytest_llmbench.measure.run import Run
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.report.progress import Progress

FAKES = Path(__file__).parents[2] / "fakes"


class Watcher:
    """A monitor that writes down what it is told, and whether the process lived then."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []
        self.energies = 0

    def follow(self, pid: int) -> None:
        self.told.append(("follow", psutil.pid_exists(pid)))

    def unfollow(self, pid: int) -> None:
        self.told.append(("unfollow", psutil.pid_exists(pid)))

    def edge(self) -> None:
        self.told.append(("edge", True))

    def energy(self, start: Any, end: Any) -> Any:
        # What is asked for in a round is known better when the process ends.
        self.energies += 1
        return Energy(float(self.energies), "power_integral", None, {})

    def disturbance(self, start_ns: int, end_ns: int) -> tuple[str, ...]:
        assert start_ns < end_ns
        return ("steal",)

    def summary(self, start_ns: int, end_ns: int) -> dict[str, Any]:
        return {"peak_vram": None, "methods": {}}

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
    assert (run.processes[0].hardware or {})["methods"] == {"energy": "power_integral"}


def test_a_process_that_does_not_load_is_watched_no_longer(plan: Plan) -> None:
    plan.engine.options["load"] = "raise"  # type: ignore[index]
    watcher, run = Watcher(), Run("default", plan.protocol())
    with pytest.raises(EngineError, match="another model"):
        measure(plan, run, EnginePool(), watcher, Progress())
    assert watcher.told == [("follow", True), ("unfollow", False)]
    assert run.processes == []
