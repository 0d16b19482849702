"""Does the fake engine, on which the plugin is tested, keep the contract that every engine keeps?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from tests.engines.caching import CachingContract
from tests.engines.contract import Models
from tests.fakes import llmbench_fake


class TestFake(CachingContract):
    backend = llmbench_fake.backend
    context = "context"

    @pytest.fixture(scope="class")
    @classmethod
    def models(cls) -> Models:
        def of(quantization: str | None) -> ResolvedModel:
            return ResolvedModel(
                ModelSpec("tiny", quantization), "hf", Path(), "sha256:0", 5, quantization, 6
            )

        return of

    def count_evaluated(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        monkeypatch.setattr(engine, "evaluated", [])
        found: list[int] = engine.evaluated
        return found

    def end_with(self, engine: Any, token: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine, "end", token)

    def forget_template(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine, "template", None)

    def special_text(self, engine: Any) -> str:
        return llmbench_fake.BEGIN
