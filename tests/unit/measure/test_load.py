"""Is the CPU time of a server that of its processes while it was asked, shared among all that it made?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.plan import LoadPlan, Request
from pytest_llmbench.measure import load, served
from pytest_llmbench.measure.engine import Prompt
from pytest_llmbench.measure.load import Counters, LoadBench
from pytest_llmbench.measure.run import Run
from pytest_llmbench.measure.served import ServedEngine
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.servers.endpoint import Endpoint, Words
from pytest_llmbench.servers.prefix_cache import PrefixCache
from pytest_llmbench.servers.prompt_ids import Blocks, NoIdsError
from pytest_llmbench.workloads.messages import Message
from tests.fakes.llmbench_servers import CHUNKED, EVENTS, STREAM, Asked, Talk, always, chunk, in_turn, serve

PARAMS = GenerationParams(max_new_tokens=3)


@dataclass
class Running:
    """A server that was not started here."""

    endpoint: Endpoint
    pid: int | None = 4321
    label: str = "server m"
    load_time: float | None = None
    engine: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    lacks: str | None = None
    agreed: bool = True

    def metrics(self) -> Counters:
        return {}

    def metrics_between(self, readings: Sequence[Counters]) -> Counters:
        return {}

    def explain(self) -> str:
        return ""

    @property
    def prefix_cache(self) -> PrefixCache:
        return PrefixCache()

    def blocks(self) -> Blocks:
        return Blocks()

    def prompt_ids(self, text: str | None = None, messages: Sequence[Message] | None = None) -> list[int]:
        raise NoIdsError("it does not tell")

    def advice(self, failures: Mapping[str, str]) -> str:
        return ""

    def learn(self, words: Words) -> None: ...


class Had:
    """The CPU time of a tree, as a test sets it."""

    seconds: float | None = 0.26

    def __init__(self, pid: int | None) -> None:
        self.pid = pid

    def until_now(self) -> float | None:
        return self.seconds if self.pid == 4321 else None


@pytest.fixture
def had(monkeypatch: pytest.MonkeyPatch) -> type[Had]:
    monkeypatch.setattr(load, "TreeTime", Had)
    monkeypatch.setattr(served, "TreeTime", Had)
    return Had


def cut(talk: Talk, _: Asked) -> None:
    """One token, and no end."""
    talk.send(CHUNKED, chunk(EVENTS[0]))
    talk.close()


def level(server: Running) -> Run:
    requests = tuple(Request(3, prompt=f"p{number}") for number in range(5))
    plan = LoadPlan(server.endpoint, requests, PARAMS, concurrency=1, warmup=2, timeout=60)
    run = Run("default", {})
    LoadBench(server, None, Progress(), {}).level(plan, run, fresh=False)
    return run


def test_a_levels_cpu_time_is_shared_among_the_tokens_of_all_its_requests(had: type[Had]) -> None:
    with serve(in_turn(always(STREAM), always(STREAM), cut, always(STREAM), always(STREAM))) as server:
        run = level(Running(Endpoint(server.base_url, "m")))
    (process,) = run.processes
    assert (len(process.rounds), len(process.failures)) == (2, 1)
    # Two requests of the warm-up, two that succeeded, and the one token of the request that failed.
    assert process.value("cpu_time_per_token") == pytest.approx(0.26 / 13)
    assert run.cpu_time_per_token.n == 1
    assert process.rounds[0].value("cpu_time_per_token") is None


def test_a_server_whose_process_is_not_known_has_no_cpu_time(had: type[Had]) -> None:
    with serve(always(STREAM)) as server:
        run = level(Running(Endpoint(server.base_url, "m"), pid=None))
    assert run.processes[0].measured["cpu_time_per_token"] is None
    assert run.cpu_time_per_token.n == 0


def test_a_single_request_has_the_cpu_time_of_the_server_and_none_of_a_prefill(had: type[Had]) -> None:
    with serve(always(STREAM)) as server:
        engine = ServedEngine(Running(Endpoint(server.base_url, "m")), 60)
        generation = engine.generate(Prompt(text="a"), PARAMS)
        engine.close()
    assert generation.timeline.output_tokens == 3
    assert (generation.cpu_time, generation.prefill_cpu_time, generation.cpu_wait) == (0.26, None, None)
