"""pytest-llmbench: LLM inference benchmarks as test cases.

What is named here is public; everything else may change. Names are imported when they are first
used, because pytest imports this package at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llmbench._version import __version__ as __version__

if TYPE_CHECKING:
    from pytest_llmbench.backends.base import (
        Availability,
        Backend,
        CachingEngine,
        Engine,
        GenerationParams,
        OptionSpec,
        Reuse,
        SavedState,
        Sink,
    )
    from pytest_llmbench.bench.chat import LLMChat
    from pytest_llmbench.bench.load import LLMLoad
    from pytest_llmbench.bench.measurement import recorded
    from pytest_llmbench.bench.model import Generated, LLMModel, TwoPass
    from pytest_llmbench.bench.runtime import Runtime
    from pytest_llmbench.errors import LLMBenchError, LLMBenchWarning
    from pytest_llmbench.gate.compare import Policy
    from pytest_llmbench.gate.judge import StoredJudge
    from pytest_llmbench.hardware.monitor import HardwareMonitor
    from pytest_llmbench.measure.run import ProcessRun, Round, Run
    from pytest_llmbench.measure.turns import ChatRun
    from pytest_llmbench.metrics.row import Metric, Shown
    from pytest_llmbench.metrics.summary import Summary
    from pytest_llmbench.metrics.table import METRICS
    from pytest_llmbench.metrics.timeline import Timeline
    from pytest_llmbench.report.comparison import explain_case
    from pytest_llmbench.results.document import read_document
    from pytest_llmbench.results.frames import Results, load, read_results
    from pytest_llmbench.results.session import ResultsSession
    from pytest_llmbench.results.store import Store
    from pytest_llmbench.servers.keep import LLMServer
    from pytest_llmbench.workloads.messages import Message
    from pytest_llmbench.workloads.scenarios.conversation import Conversation, Made, Turn

_HOMES = {
    "pytest_llmbench.backends.base": (
        "Availability",
        "Backend",
        "CachingEngine",
        "Engine",
        "GenerationParams",
        "OptionSpec",
        "Reuse",
        "SavedState",
        "Sink",
    ),
    "pytest_llmbench.errors": ("LLMBenchError", "LLMBenchWarning"),
    "pytest_llmbench.bench.model": ("Generated", "LLMModel", "TwoPass"),
    "pytest_llmbench.hardware.monitor": ("HardwareMonitor",),
    "pytest_llmbench.metrics.summary": ("Summary",),
    "pytest_llmbench.metrics.row": ("Metric", "Shown"),
    "pytest_llmbench.metrics.table": ("METRICS",),
    "pytest_llmbench.measure.run": ("ProcessRun", "Round", "Run"),
    "pytest_llmbench.metrics.timeline": ("Timeline",),
    "pytest_llmbench.workloads.messages": ("Message",),
    "pytest_llmbench.results.frames": ("Results", "load", "read_results"),
    "pytest_llmbench.servers.keep": ("LLMServer",),
    "pytest_llmbench.bench.load": ("LLMLoad",),
    "pytest_llmbench.bench.chat": ("LLMChat",),
    "pytest_llmbench.measure.turns": ("ChatRun",),
    "pytest_llmbench.workloads.scenarios.conversation": ("Conversation", "Made", "Turn"),
    "pytest_llmbench.bench.measurement": ("recorded",),
    "pytest_llmbench.bench.runtime": ("Runtime",),
    "pytest_llmbench.gate.compare": ("Policy",),
    "pytest_llmbench.gate.judge": ("StoredJudge",),
    "pytest_llmbench.report.comparison": ("explain_case",),
    "pytest_llmbench.results.document": ("read_document",),
    "pytest_llmbench.results.session": ("ResultsSession",),
    "pytest_llmbench.results.store": ("Store",),
}

__all__ = [
    "METRICS",
    "Availability",
    "Backend",
    "CachingEngine",
    "ChatRun",
    "Conversation",
    "Engine",
    "Generated",
    "GenerationParams",
    "HardwareMonitor",
    "LLMBenchError",
    "LLMBenchWarning",
    "LLMChat",
    "LLMLoad",
    "LLMModel",
    "LLMServer",
    "Made",
    "Message",
    "Metric",
    "OptionSpec",
    "Policy",
    "ProcessRun",
    "Results",
    "ResultsSession",
    "Reuse",
    "Round",
    "Run",
    "Runtime",
    "SavedState",
    "Shown",
    "Sink",
    "Store",
    "StoredJudge",
    "Summary",
    "Timeline",
    "Turn",
    "TwoPass",
    "explain_case",
    "load",
    "read_document",
    "read_results",
    "recorded",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(home), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
