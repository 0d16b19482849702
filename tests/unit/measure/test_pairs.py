"""Are two engines held at once only where memory holds both, and what differs between them?"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.backends.cpu_time import COMPARABLE, CPU_TIME
from pytest_llmbench.measure import pairs
from pytest_llmbench.measure.engine import EngineSpec, Prompt
from pytest_llmbench.measure.loop import EnginePool, Plan
from pytest_llmbench.measure.pairs import Pair, PairedBench, Side, gpus_hold_another
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.report.progress import Progress

GIB = 2**30


def test_sides_do_the_same_work_if_each_round_does() -> None:
    def side(*prompts: int, own_words: bool = False) -> ProcessRun:
        line = Timeline(0, 1, 2, (3, 4), 5, 0, 2, "", "", "length")
        rounds = [Round(replace(line, prompt_tokens=n), own_words=own_words) for n in prompts]
        return ProcessRun(1, {}, {}, rounds)

    # Each round may ask something else, as where it hides a fact of its own in a text.
    assert Pair(side(10, 12), side(10, 12), True).invalid is None
    assert "other prompt or output lengths" in (Pair(side(10, 12), side(10, 13), True).invalid or "")
    assert Pair(side(10, own_words=True), side(13, own_words=True), True).invalid is None


@pytest.mark.parametrize(
    ("before", "after", "peak", "holds"),
    [
        ([], [], None, True),
        ([], [], 50 * GIB, True),
        ([None], [None], 50 * GIB, True),
        ([80 * GIB], [70 * GIB], None, True),
        ([80 * GIB], [30 * GIB], None, False),
        # The first one just fits twice, and leaves nothing to spare.
        ([80 * GIB], [40 * GIB], None, False),
        ([80 * GIB], [70 * GIB], 75 * GIB, False),
        ([80 * GIB], [70 * GIB], 50 * GIB, True),
        # The engine is on one GPU of two: the other's room is none of it.
        ([80 * GIB, 80 * GIB], [80 * GIB, 20 * GIB], None, False),
        ([80 * GIB, 80 * GIB], [60 * GIB, 60 * GIB], 90 * GIB, True),
        ([80 * GIB, None], [60 * GIB, None], 30 * GIB, True),
        # On the CPU: nothing was taken, and others may give some back meanwhile.
        ([10 * GIB], [12 * GIB], None, True),
    ],
)
def test_gpus_hold_another_process_where_as_much_and_some_more_is_free(
    before: list[int | None], after: list[int | None], peak: int | None, *, holds: bool
) -> None:
    assert gpus_hold_another(before, after, peak) is holds


def sides(take: int, free: list[int]) -> tuple[PairedBench, list[str]]:
    """A bench whose processes take so much GPU memory, and what happens to them."""
    spec = ModelSpec("tiny", "f16")
    engine = EngineSpec("fake", "x:y", ResolvedModel(spec, "hf", Path("x"), "sha256:0", 5, "f16", 6), {})
    plan = Plan(engine, GenerationParams(max_new_tokens=2), rounds=1, warmup_rounds=0, prompt=Prompt("p"))
    happened: list[str] = []

    class FakeBench:
        def __init__(self, plan: Plan, *_: object) -> None:
            self.record = ProcessRun(pid=1, engine={}, versions={})
            happened.append("open")
            free[0] -= take

        def close(self) -> None:
            self.record.measured["peak_vram"] = take
            if happened.count("open") > happened.count("close"):
                happened.append("close")
                free[0] += take

    class Bench(PairedBench):
        def _open(self, name: str) -> FakeBench:  # type: ignore[override]
            bench = FakeBench(plan)
            self._sides[name].run.processes.append(bench.record)
            return bench

        def _round(self, name: str, bench: object, number: int) -> None:
            happened.append("round")

    both = [Side(plan, Run(name, {})) for name in ("base", "now")]
    return Bench(both[0], both[1], EnginePool(), None, Progress(), coin=random.Random(0)), happened


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    def have(total: int) -> list[int]:
        free = [total]
        monkeypatch.setattr(pairs, "free_memory", lambda: list(free))
        monkeypatch.setattr(pairs, "room_for_another", lambda record: True)
        return free

    return have


def test_a_gpu_that_holds_both_has_them_alternate(gpu: Callable[[int], list[int]]) -> None:
    bench, happened = sides(20 * GIB, gpu(80 * GIB))
    assert bench.pair().alternating
    assert happened[:2] == ["open", "open"]


def test_a_gpu_that_does_not_hold_both_has_them_come_one_after_the_other(
    gpu: Callable[[int], list[int]],
) -> None:
    free = gpu(80 * GIB)
    bench, happened = sides(50 * GIB, free)
    assert not bench.pair().alternating
    assert happened[:4] == ["open", "round", "close", "open"]
    assert not bench.alternating
    assert free == [80 * GIB]


def test_a_pair_has_the_difference_of_what_a_process_has_and_of_its_gaps() -> None:
    def process(load_time: float | None, gap: int) -> ProcessRun:
        times = tuple(50_000_000 + gap * index for index in range(4))
        line = Timeline(0, 1, None, times, times[-1], 16, 4, "o", "p", "length")
        return ProcessRun(1, {}, {}, [Round(line, disturbance=())], {"load_time": load_time})

    pair = Pair(process(1.0, 10_000_000), process(2.0, 20_000_000), alternating=True)
    assert {"gap", "process"} < set(PairedBench.scopes)
    assert pair.difference("load_time") == pytest.approx(math.log(2))
    assert pair.difference("itl") == pytest.approx(math.log(2))
    assert pair.difference("tpot") == pytest.approx(math.log(2))
    assert Pair(process(0.0, 1), process(2.0, 1), alternating=True).difference("load_time") is None
    assert Pair(process(None, 1), process(2.0, 1), alternating=True).difference("load_time") is None


# --- What others' load does to a pair ---------------------------------------------------------------


def lived(
    *disturbance: tuple[str, ...],
    engine: dict[str, object] | None = None,
    tpot: int = 10_000_000,
    wait: float | None = 0.0,
    cpu: float | None = 0.01,
) -> ProcessRun:
    """A process with a round for each of *disturbance*, of 4 tokens."""
    times = tuple(50_000_000 + tpot * index for index in range(4))
    line = Timeline(0, 1, None, times, times[-1], 16, 4, "o", "p", "length")
    measured = {} if cpu is None else {"cpu_time_per_token": cpu}
    rounds = [Round(line, cpu_wait=wait, disturbance=codes, measured=dict(measured)) for codes in disturbance]
    return ProcessRun(1, engine or {"n_threads": 1, CPU_TIME: COMPARABLE}, {}, rounds)


QUIET: tuple[str, ...] = ()
BUSY = ("foreign_cpu",)
HOT = ("foreign_cpu", "throttled")


def test_a_pair_is_dropped_for_its_times_where_less_than_half_of_its_rounds_are_left() -> None:
    half = Pair(lived(BUSY, QUIET), lived(QUIET, QUIET), alternating=True)
    assert half.dropped("tpot") is None
    assert len(half.kept("tpot")) == 1
    most = Pair(lived(BUSY, QUIET), lived(QUIET, BUSY), alternating=True)
    assert most.dropped("tpot") == "foreign_cpu"
    assert most.dropped("tpot", disturbed=True) is None
    assert most.difference("tpot") is None
    assert most.difference("tpot", disturbed=True) == 0.0
    assert most.value("now", "tpot") is None
    assert most.value("now", "tpot", disturbed=True) == pytest.approx(0.01)


def test_that_others_had_the_cpus_does_not_reach_the_cpu_time_of_one_thread() -> None:
    pair = Pair(lived(BUSY, BUSY), lived(BUSY, BUSY, cpu=0.02), alternating=True)
    assert pair.dropped("tpot") == "foreign_cpu"
    assert pair.dropped("cpu_time_per_token") is None
    assert pair.difference("cpu_time_per_token") == pytest.approx(math.log(2))


def test_what_makes_a_core_slower_reaches_its_cpu_time_too() -> None:
    pair = Pair(lived(HOT, HOT), lived(QUIET, QUIET), alternating=True)
    assert pair.dropped("tpot") == "foreign_cpu+throttled"
    assert pair.dropped("cpu_time_per_token") == "throttled"


def test_cpu_time_of_several_threads_is_dropped_like_any_time() -> None:
    two = {"n_threads": 2, CPU_TIME: "not comparable beside other load: 2 threads"}
    pair = Pair(lived(BUSY, BUSY, engine=two), lived(BUSY, BUSY), alternating=True)
    assert pair.dropped("cpu_time_per_token") == "foreign_cpu"
    assert pair.incomparable == "not comparable beside other load: 2 threads"
    assert Pair(lived(BUSY), lived(BUSY), alternating=True).incomparable is None
    older = Pair(lived(BUSY, engine={"n_threads": 1}), lived(BUSY), alternating=True)
    assert older.incomparable == "not comparable: not measured"


def test_the_burden_of_a_side_is_how_long_it_waited_for_a_cpu() -> None:
    # 4 tokens of 0.01 s, and 0.01 s of waiting: a fifth of the time in which it wanted a CPU.
    pair = Pair(lived(BUSY, wait=0.01), lived(QUIET), alternating=True)
    assert pair.burden == (pytest.approx(0.2), 0.0)


@pytest.mark.parametrize("unknown", [{"wait": None}, {"cpu": None}])
def test_the_burden_is_the_share_of_disturbed_rounds_where_waiting_is_not_known(
    unknown: dict[str, None],
) -> None:
    pair = Pair(lived(BUSY, QUIET, QUIET, BUSY, **unknown), lived(QUIET, QUIET), alternating=True)
    assert pair.burden == (0.5, 0.0)


def test_sides_with_other_numbers_of_threads_are_unlike() -> None:
    two: dict[str, object] = {"n_threads": 2}
    assert Pair(lived(BUSY), lived(BUSY), alternating=True).unlike is None
    told = Pair(lived(BUSY), lived(BUSY, engine=two), alternating=True).unlike
    assert told == "the base side has 1 and the new side 2 threads, which other load does not hit alike"


def test_sides_whose_threads_for_the_prompt_differ_are_unlike_too() -> None:
    same: dict[str, object] = {"n_threads": 2, "n_threads_batch": 2}
    base = lived(BUSY, engine={**same, "n_threads_batch": 1})
    assert Pair(base, lived(BUSY, engine=same), alternating=True).unlike is not None
    assert Pair(lived(BUSY, engine=same), lived(BUSY, engine=same), alternating=True).unlike is None
