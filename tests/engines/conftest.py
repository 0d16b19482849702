"""What every test of a real engine stands on: the embedded ``tiny`` model, built once."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache

import pytest

from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel


@pytest.fixture(scope="session")
def tiny() -> Callable[[str | None, Form], ResolvedModel]:
    """``tiny(quantization, form)``: the model's files in the cache folder, built if they are not there."""
    for package in ("numpy", "torch", "transformers", "llama_cpp", "gguf"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the embedded models are built with {package}, which is not installed")
    from pytest_llmbench.models.resolve import resolve

    @cache
    def files(quantization: str | None, form: Form) -> ResolvedModel:
        return resolve(ModelSpec("tiny", quantization), form)

    return files
