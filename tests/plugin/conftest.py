"""A folder with the fake engine in it, for tests that drive pytest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

# pytester forgets what was imported during a run, and neither numpy nor PyYAML can be imported twice.
import scipy.stats  # noqa: F401
import yaml  # noqa: F401

from pytest_llmbench.servers import table
from tests.fakes import openai_server

CONFTEST = """
from tests.fakes.llmbench_fake import backend

def pytest_llmbench_register_backends(registry):
    registry.register(backend)
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def bench(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose conftest registers the backend ``fake``."""
    pytester.makeconftest(CONFTEST)
    return pytester


@pytest.fixture
def run(bench: pytest.Pytester) -> Run:
    """Run pytest on the fake backend, without the hardware monitor, and keep ``out.json``."""

    def run(*args: str, backend: str | None = "fake", monitor: bool = False) -> pytest.RunResult:
        fixed = ["-p", "no:cacheprovider", "--llm-json=out.json"]
        # pytester forgets what was imported during a run: hypothesis would be imported anew by each.
        fixed += ["-p", "no:hypothesispytest"]
        # The package is imported already, by the pytest that runs this.
        fixed += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
        if backend is not None:
            fixed.append(f"--llm-backend={backend}")
        if not monitor:
            fixed.append("--llm-monitor-rate=0")
        return bench.runpytest_inprocess(*fixed, *args)

    return run


@pytest.fixture
def document(bench: pytest.Pytester) -> Callable[[], dict[str, Any]]:
    """What the last run wrote."""

    def read() -> dict[str, Any]:
        content: dict[str, Any] = json.loads((bench.path / "out.json").read_text())
        return content

    return read


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``--llm-serve`` calls the fake server."""
    row = table.ServerEngine(
        name="fake-server",
        form="hf",
        program=("{python}", openai_server.__file__),
        arguments=("--port", "{port}", "--model", "{name}"),
        install="pip install fake-server",
        docs="https://example.org/fake-server",
        health="/v1/models",
    )
    monkeypatch.setitem(table.ENGINES, "fake-server", row)
    return "fake-server"
