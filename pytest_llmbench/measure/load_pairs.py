"""How are two servers measured against each other under load?

A pair is one load level of each side, one after the other: at once they would compete for the machine.
Who goes first is drawn for each pair by an independent seeded coin, so that under "no change" a
difference is as likely positive as negative whatever the machine did meanwhile. Both levels have the
same number of requests, lengths and times; the words of their prompts differ, and from those of any
other pair too, so that no level finds its prompts in a cache that another one filled.

A server that the session starts is started anew for each level and ended after it: a fresh process is
the statistical unit, and two at once rarely fit a GPU.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import fmean, median, stdev

from pytest_llmbench import errors
from pytest_llmbench.client.plan import LoadPlan
from pytest_llmbench.measure.load import LoadBench, RunningServer
from pytest_llmbench.measure.loop import Monitor, ProgressListener
from pytest_llmbench.measure.pairs import SIDES, SideName, disturbed_share, incomparable_of
from pytest_llmbench.measure.run import (
    MAX_DISTURBED,
    ProcessRun,
    Round,
    Run,
    too_many_failed,
    unknown_of,
)
from pytest_llmbench.metrics.row import Scope
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import Untimed
from pytest_llmbench.metrics.values import process_values
from pytest_llmbench.servers.endpoint import left_out

CLIENT = "client"
"""The reason code of a level whose own client spoiled it."""

_UNLIKE = 0.1
"""How much lengths may differ on average where they cannot be set to the token."""
_BEYOND_DOUBT = 4.0
"""Standard errors."""
_FEWEST = 8
"""Requests that show how much lengths vary."""


@dataclass(frozen=True, slots=True)
class LoadPair:
    """One load level of each side, and how each was planned."""

    base: ProcessRun
    now: ProcessRun
    base_plan: LoadPlan
    now_plan: LoadPlan

    @property
    def unlike(self) -> str | None:
        """Nothing is known of a server's threads beforehand."""
        return None

    @property
    def incomparable(self) -> str | None:
        """Why the CPU time of a side's server does not compare."""
        return incomparable_of((self.base, self.now))

    @property
    def burden(self) -> tuple[float, float]:
        """The share of each level's requests that were disturbed."""
        return disturbed_share(self.base), disturbed_share(self.now)

    def dropped(self, metric: str, *, disturbed: bool = False) -> str | None:
        """Why the pair is dropped whole, as reason codes; None if it counts.

        More than :data:`MAX_DISTURBED` of the requests of a level that count were disturbed, or its
        client was late or busy: its times are then not the server's, and it is dropped in any case.
        """
        codes: set[str] = set()
        for record in (self.base, self.now):
            if not disturbed and disturbed_share(record, metric) > MAX_DISTURBED:
                codes.update(code for r in record.rounds if r.counted for code in record.marks(r, metric))
            if record.load is not None and record.load.invalid is not None:
                codes.add(CLIENT)
        return "+".join(sorted(codes)) or None

    @property
    def invalid(self) -> str | None:
        """Why the sides cannot be compared: too many requests failed, or they did other work."""
        return self._failed() or self._other_work()

    def unknown(self, metric: str) -> Untimed | None:
        """Why a side has no value, where that is known."""
        return unknown_of((self.base, self.now), metric)

    def value(self, side: SideName, metric: str, *, disturbed: bool = False) -> float | None:
        """The level's value; of requests and gaps the median over those that count.

        A goodput of 0 is taken for that of half a request in the window: how much worse it is than
        any other has no logarithm, and that it is worse is beyond question.
        """
        record = self.base if side == "base" else self.now
        clean = [r for r in record.rounds if r.counted and (disturbed or not record.marks(r, metric))]
        known = process_values(metric, record, clean)
        if metric == "goodput" and known == [0] and record.load is not None:
            window = record.load.end - record.load.start
            return 0.5 / window if window > 0 else None
        return median(known) if known else None

    def difference(self, metric: str, *, disturbed: bool = False) -> float | None:
        """log(now / base), oriented so that positive is worse; None where a side has no value above 0."""
        base, now = (self.value(side, metric, disturbed=disturbed) for side in SIDES)
        if base is None or now is None or min(base, now) <= 0:
            return None
        return METRICS[metric].sign * math.log(now / base)

    def _failed(self) -> str | None:
        for side, record in (("base", self.base), ("new", self.now)):
            failed, sent = len(record.failures), len(record.failures) + len(record.rounds)
            if too_many_failed(failed, len(record.rounds)):
                first = record.failures[0]
                what = f"{first.kind}: {first.detail}" if first.detail else first.kind
                helps = f"; {record.load.advice}" if record.load is not None and record.load.advice else ""
                return (
                    f"on the {side} side {failed} of {sent} requests failed, the first by {what}; the "
                    f"others ran under less load{helps}"
                )
        return None

    def _other_work(self) -> str | None:
        said = self._other_words() or self._other_number() or self._other_outputs() or self._other_prompts()
        return None if said is None else f"the two sides did not do the same work: {said}"

    def _other_words(self) -> str | None:
        base, now = (set(left_out(plan.endpoint.words)) for plan in (self.base_plan, self.now_plan))
        if base == now:
            return None
        keys = json.dumps(dict.fromkeys(sorted(base | now)))
        return (
            f"one side refuses {', '.join(sorted(base ^ now))}, and the other was asked with it; leave it "
            f"out on both: --llm-option 'server.body={keys}'"
        )

    def _other_number(self) -> str | None:
        # A level that ends by the clock has as many requests as the server can answer.
        if self.base_plan.duration is not None:
            return None
        sent = [len(p.rounds) + len(p.failures) for p in (self.base, self.now)]
        return None if sent[0] == sent[1] else f"{sent[0]} requests on the base side and {sent[1]} now"

    def _other_outputs(self) -> str | None:
        """Forced lengths have to be equal; others follow from the texts, which are not the same."""
        pairs = [(b, n) for b, n in self._same_requests() if _counts_tokens(b) and _counts_tokens(n)]
        lengths = [(b.timeline.output_tokens, n.timeline.output_tokens) for b, n in pairs]
        forced = _as_asked(self.base_plan, (b for b, _ in pairs)) or _as_asked(
            self.now_plan, (n for _, n in pairs)
        )
        if forced:
            other = Counter((base, now) for base, now in lengths if base != now)
            if not other:
                return None
            (base, now), _ = other.most_common(1)[0]
            return (
                f"{other.total()} of {len(pairs)} requests generated other numbers of tokens, such as "
                f"{base} on the base side and {now} now"
            )
        return _unlike("generated", lengths)

    def _other_prompts(self) -> str | None:
        """Prompts have other words and so not the same tokens, but as many on average."""
        lengths = [(b.timeline.prompt_tokens, n.timeline.prompt_tokens) for b, n in self._same_requests()]
        return _unlike("prompt", [(base, now) for base, now in lengths if base and now])

    def _same_requests(self) -> list[tuple[Round, Round]]:
        """The requests of one number that both sides answered, (base, now)."""
        now = {_number(r): r for r in self.now.rounds}
        return [(r, now[_number(r)]) for r in self.base.rounds if _number(r) in now]


@dataclass(frozen=True, slots=True)
class LoadSide:
    """What one side measures, and where it goes."""

    run: Run
    server: Callable[[], AbstractContextManager[RunningServer]]
    """The server of the next level; one that is started for it ends with the context."""
    plan: Callable[[LoadBench, int, int], LoadPlan]
    """The level of a pair, from its number and another number for the words of its prompts; what it has
    to know of the server, it may ask."""
    fresh: bool
    """Whether the server is started for each level."""


class LoadPairs:
    """Measures pair after pair of *base* and *now*.

    The levels are in the sides' runs as soon as they are known, so that a failure loses none.

    :param coin: decides who goes first, as in :class:`.pairs.PairedBench`.
    """

    scopes: tuple[Scope, ...] = ("round", "gap", "process", "level")

    def __init__(
        self,
        base: LoadSide,
        now: LoadSide,
        monitor: Monitor | None,
        progress: ProgressListener,
        *,
        slo: Mapping[str, float],
        coin: random.Random,
    ) -> None:
        self._sides: dict[SideName, LoadSide] = {"base": base, "now": now}
        self._monitor = monitor
        self._progress = progress
        self._slo = slo
        self._coin = coin
        self._number = 0

    @property
    def order(self) -> str:
        """How the levels of a pair came."""
        fresh = [name for name, side in self._sides.items() if side.fresh]
        if len(fresh) == len(self._sides):
            return "a fresh server for each level, one after the other in drawn order"
        which = {"base": "of the base side ", "now": "of the new side "}
        anew = f", the server {which[fresh[0]]}started anew each time" if fresh else ""
        return f"one level after the other in drawn order{anew}"

    def pair(self) -> LoadPair:
        """Measure the next pair.

        :raises errors.LLMBenchError: when a server does not start, or a level has no request that succeeded.
        """
        self._number += 1
        first: SideName = "base" if self._coin.random() < 0.5 else "now"
        second: SideName = "now" if first == "base" else "base"
        levels = {name: self._level(name, place) for place, name in enumerate((first, second))}
        (base, base_plan), (now, now_plan) = levels["base"], levels["now"]
        return LoadPair(base, now, base_plan, now_plan)

    def _level(self, name: SideName, place: int) -> tuple[ProcessRun, LoadPlan]:
        side = self._sides[name]
        whose = f"pair {self._number}, {name}, "
        self._progress.loading(whose.rstrip(", "))
        try:
            with side.server() as server:
                bench = LoadBench(server, self._monitor, self._progress, self._slo, whose)
                plan = side.plan(bench, self._number, 2 * self._number + place)
                bench.level(plan, side.run, fresh=side.fresh)
        except errors.LLMBenchError as error:
            kept = sum(len(side.run.rounds) for side in self._sides.values())
            told = f"{kept} measured requests of both sides are kept." if kept else "Nothing was measured."
            error.add_note(
                f"It was the {'base' if name == 'base' else 'new'} side of pair {self._number}. {told}"
            )
            raise
        return side.run.processes[-1], plan


def _number(measured: Round) -> int:
    assert measured.request is not None
    return measured.request.number


def _counts_tokens(measured: Round) -> bool:
    """Whether somebody counted its tokens: how many come in a chunk is the network's affair too."""
    return measured.request is not None and measured.request.token_source != "chunks"


def _as_asked(plan: LoadPlan, rounds: Iterable[Round]) -> bool:
    """Whether a side's server generates what it is asked for, no more and no less."""
    return plan.params.ignore_eos and all(
        r.timeline.output_tokens == plan.requests[_number(r)].max_new_tokens for r in rounds
    )


def _unlike(what: str, lengths: Sequence[tuple[int, int]]) -> str | None:
    """Whether one side's tokens are more on average, beyond doubt; shape (requests, 2)."""
    if len(lengths) < _FEWEST:
        return None
    off = [now - base for base, now in lengths]
    base = fmean(one for one, _ in lengths)
    least = max(_UNLIKE * base, _BEYOND_DOUBT * stdev(off) / math.sqrt(len(off)))
    if abs(fmean(off)) <= least:
        return None
    return f"{base:.4g} {what} tokens a request on the base side and {base + fmean(off):.4g} now"
