"""Does each round hide a fact of its own, and is it known whether the model found it?"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.errors import UsageError
from pytest_llmbench.measure.engine import EngineSpec, Generation, Loaded, Prompt
from pytest_llmbench.measure.loop import Bench, Plan
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.report.progress import Progress

LINE = Timeline(0, 1, 2, (3, 4), 5, 300, 2, "", "", "length")


class Finder:
    """An engine that reads the first number of seven digits, if it reads at all."""

    loaded = Loaded(1, 0.1, {}, {})

    def __init__(self, reads: bool) -> None:
        self.reads = reads
        self.asked: list[str] = []

    def prompt_of_tokens(self, tokens: int, seed: int) -> Prompt:
        return Prompt(text=" ".join(f"Sentence {seed % 97} stands here." for _ in range(tokens // 5)))

    def prepare(self, *, cold: bool, begins: bool = False, timed: bool = True) -> None: ...

    def generate(self, prompt: Prompt, params: GenerationParams, *, keep_ids: bool = False) -> Generation:
        self.asked.append(prompt.text or "")
        found = re.findall(r"\b\d{7}\b", prompt.text or "")
        return Generation(LINE, f"It is {found[0]}." if self.reads else "I do not know.", None)

    def reuse(self, generation: Generation) -> None: ...

    def close(self) -> None: ...


class Pool:
    """Gives that engine."""

    def __init__(self, engine: Finder) -> None:
        self.engine = engine

    def acquire(self, *_: object) -> tuple[Finder, bool]:
        return self.engine, True

    def release(self, *_: object, **__: object) -> None: ...


def bench(reads: bool = True, model: str = "org/name", **settings: Any) -> tuple[Bench, Finder]:
    resolved = ResolvedModel(ModelSpec(model), "hf", Path("nowhere"), "sha256:0", 1, "f16", 1)
    spec = EngineSpec("fake", "fake:backend", resolved, {})
    told = {"prompt_tokens": 300, "needle": 0.5, **settings}
    engine = Finder(reads)
    pool: Any = Pool(engine)
    return Bench(Plan(spec, GenerationParams(), **told), pool, None, Progress()), engine


def test_each_round_has_a_needle_and_a_haystack_of_its_own() -> None:
    one, engine = bench()
    one.warm_up()
    rounds = [one.round()[0] for _ in range(3)]
    assert len(set(engine.asked[1:])) == 3
    assert [r.needle_recall for r in rounds] == [1.0, 1.0, 1.0]
    other, again = bench()
    other.warm_up()
    for _ in range(3):
        other.round()
    assert again.asked == engine.asked, "another process or session has other work"


def test_what_is_not_found_is_a_miss_and_random_weights_have_no_score() -> None:
    assert bench(reads=False)[0].round()[0].needle_recall == 0.0
    for model in ("tiny", "synthetic/long-128k"):
        assert bench(model=model)[0].round()[0].needle_recall is None


def test_places_are_other_work_for_the_document() -> None:
    one, _ = bench()
    assert one.plan.protocol()["needle"] == 0.5
    assert "needle" not in replace(one.plan, needle=None).protocol()


def test_a_haystack_has_room_for_a_needle() -> None:
    with pytest.raises(UsageError, match="192 tokens or more"):
        bench(prompt_tokens=100)[0].round()
