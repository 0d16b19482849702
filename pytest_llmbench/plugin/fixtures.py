"""What does a user's test hold in its hands?

Imported at every start of pytest: what is slow to import is imported in the fixtures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pytest_llmbench.plugin.session import MEASURED, SESSION

if TYPE_CHECKING:
    from pytest_llmbench.bench.chat import LLMChat
    from pytest_llmbench.bench.load import LLMLoad
    from pytest_llmbench.bench.measurement import CaseFixture
    from pytest_llmbench.bench.model import LLMModel
    from pytest_llmbench.cases.case import Case
    from pytest_llmbench.cases.target import Target
    from pytest_llmbench.hardware.monitor import HardwareMonitor
    from pytest_llmbench.servers.keep import LLMServer

FixtureT = TypeVar("FixtureT", bound="CaseFixture[Any]")


@pytest.fixture
def hw_monitor(request: pytest.FixtureRequest) -> HardwareMonitor:
    """What the machine did during this test: samples, windows, peaks, disturbances."""
    session = request.config.stash[SESSION]
    if not session.settings.monitor_rate:
        pytest.skip("this test needs the hardware monitor, which is off (--llm-monitor-rate=0)")
    monitor = session.runtime.start_monitor()
    monitor.begin()
    return monitor


def _measuring(
    request: pytest.FixtureRequest, kind: type[FixtureT], *more: Callable[[], object]
) -> Iterator[FixtureT]:
    """What a test of one case measures with, until it is over."""
    session = request.config.stash[SESSION]
    if session.settings.monitor_rate:
        request.getfixturevalue("hw_monitor")
    session.runtime.progress.case(request.node.nodeid)
    item = request.node
    measures = kind(session.runtime, request.param, session.item_settings(item), item.path.parent, *more)
    item.stash[MEASURED] = measures
    yield measures
    measures.finish()


@pytest.fixture
def llm_model(request: pytest.FixtureRequest) -> Iterator[LLMModel]:
    """The model of this case; see :class:`pytest_llmbench.LLMModel`."""
    from pytest_llmbench.bench.model import LLMModel

    # Gone when the session was interrupted in this test.
    yield from _measuring(request, LLMModel, lambda: (request.node.funcargs or {}).get("benchmark"))


@pytest.fixture
def llm_chat(request: pytest.FixtureRequest) -> Iterator[LLMChat]:
    """The model of this case, for conversations; see :class:`pytest_llmbench.LLMChat`."""
    from pytest_llmbench.bench.chat import LLMChat

    yield from _measuring(request, LLMChat)


@pytest.fixture
def llm_load(request: pytest.FixtureRequest) -> Iterator[LLMLoad]:
    """The server of this case under its load level; see :class:`pytest_llmbench.LLMLoad`."""
    from pytest_llmbench.bench.load import LLMLoad

    yield from _measuring(request, LLMLoad)


@pytest.fixture
def llm_server(request: pytest.FixtureRequest) -> LLMServer:
    """The server of this case, ready to answer; see :class:`pytest_llmbench.LLMServer`."""
    if "llm_load" in request.fixturenames:
        load: LLMLoad = request.getfixturevalue("llm_load")
        return load.server
    from pytest_llmbench.cases.target import ServerTarget

    session = request.config.stash[SESSION]
    # Beside llm_model or llm_chat, the case is that one's.
    beside = next((name for name in ("llm_model", "llm_chat") if name in request.fixturenames), None)
    case: Case[Target] = request.param if beside is None else request.node.callspec.params[beside]
    target = case.target
    if not isinstance(target, ServerTarget):
        pytest.skip(f"this test needs a server, and {case.id} runs in a process of its own (--llm-serve)")
    session.runtime.progress.case(request.node.nodeid)
    settings = session.item_settings(request.node)
    return session.runtime.servers.of(target.choice(case.spec, settings.backend_options, session.runtime))
