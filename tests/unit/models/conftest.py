"""A cache folder of its own for each test, the model ``tiny``, built once, and a hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmbench.models.cache import ENVIRONMENT
from pytest_llmbench.models.resolve import resolve
from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel
from tests.fakes.hub import Hub


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, which the code under test uses."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(ENVIRONMENT, str(folder))
    return folder


class Built:
    """``tiny`` in the forms that tests need; do not change the files."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def __call__(self, form: Form, quantization: str | None = None) -> ResolvedModel:
        for package in ("tokenizers", "safetensors", "gguf"):
            pytest.importorskip(package)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ENVIRONMENT, str(self.cache))
            return resolve(ModelSpec("tiny", quantization), form, quiet=True)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """``tiny(form, quantization)``, built at the first call."""
    return Built(tmp_path_factory.mktemp("built"))


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub on loopback without repositories."""
    served = Hub()
    yield served
    served.close()
