from __future__ import annotations

import io
import json
import os
import queue
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_llmbench.hardware import sampler as module
from pytest_llmbench.hardware.processes import ProcessTrees, process_reader
from pytest_llmbench.hardware.sampler import Sampler, make_probes


class FakeProbe:
    def __init__(self, name: str, every: float = 0.0, at_edges: bool = True) -> None:
        self.name, self.every, self.at_edges = name, every, at_edges
        self.methods = {name: "fake"}
        self.fails_to_start = self.fails = False
        self.reads = 0

    def start(self) -> Mapping[str, str]:
        if self.fails_to_start:
            raise ValueError("broken")
        return {f"{self.name}_other": "not on this machine"}

    def sample(self) -> Mapping[str, float]:
        if self.fails:
            raise ValueError("broken later")
        self.reads += 1
        return {self.name: self.reads}


def ask(sampler: Sampler, *commands: dict[str, Any]) -> list[dict[str, Any]]:
    waiting: queue.Queue[bytes | None] = queue.Queue()
    for command in commands:
        waiting.put(json.dumps(command).encode())
    waiting.put(None)
    answers = io.BytesIO()
    sampler.run(waiting, answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def make(*probes: FakeProbe, rate: float = 1000.0) -> Sampler:
    return Sampler(ProcessTrees(process_reader()), probes, rate, {})


def test_an_edge_reads_counters_and_no_slow_gauge() -> None:
    (answer,) = ask(make(FakeProbe("a"), FakeProbe("b", at_edges=False)), {"do": "edge"})
    edge = answer["samples"][-1]
    assert edge["edge"] is True
    assert "a" in edge
    assert "b" not in edge


def test_reasons_and_methods_are_told_once() -> None:
    first, second = ask(make(FakeProbe("a")), {"do": "edge"}, {"do": "edge"})
    assert first["facts"]["unavailable"] == {"a_other": "not on this machine"}
    assert first["facts"]["methods"] == {"a": "fake"}
    assert first["facts"]["cores"]
    assert "unavailable" not in second["facts"]


def test_a_probe_that_fails_ends_alone_and_says_why() -> None:
    never, later, good = FakeProbe("never"), FakeProbe("later"), FakeProbe("good")
    never.fails_to_start = later.fails = True
    (answer,) = ask(make(never, later, good), {"do": "edge"})
    assert "broken" in answer["facts"]["unavailable"]["never"]
    assert "stopped: ValueError: broken later" in answer["facts"]["unavailable"]["later"]
    assert answer["samples"][-1]["good"] == 1


def test_stop_ends_it() -> None:
    assert ask(make(FakeProbe("a")), {"do": "stop"}, {"do": "edge"}) == []


def test_following_a_process_shows_its_memory() -> None:
    trees = ProcessTrees(process_reader())
    sampler = Sampler(trees, [trees], 10.0, {})
    follow, unfollow = ask(
        sampler, {"do": "follow", "pid": os.getppid()}, {"do": "unfollow", "pid": os.getppid()}
    )
    assert follow["samples"][-1]["rss"] > 0
    assert list(follow["facts"]["trees"]) == [str(os.getppid())]
    assert unfollow["facts"]["trees"] == {}


def test_third_parties_add_probes_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def __init__(self, name: str, made: Any) -> None:
            self.name, self._made = name, made

        def load(self) -> Any:
            return self._made

    def broken() -> FakeProbe:
        raise RuntimeError("no meter found")

    entries = [Entry("meter", lambda: FakeProbe("meter")), Entry("broken", broken)]
    monkeypatch.setattr(module.importlib.metadata, "entry_points", lambda group: entries)
    probes, reasons = make_probes(ProcessTrees(process_reader()))
    assert probes[-1].name == "meter"
    assert reasons == {"broken": "RuntimeError: no meter found"}
