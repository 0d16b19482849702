"""Do the times of single tokens agree with what whole generations took?"""

from __future__ import annotations

import dataclasses

from engines import LARGE, bench
from pairs import Bound, Measured, NotMeasuredError, Row, alternate

from pytest_llmbench.measure.loop import Bench, Plan

_TOKENS = 48


def _agreement(pairs: int) -> Measured:
    """TPOT without looking at single tokens / TPOT of the timeline, pair by pair.

    The first is (time of N tokens - time of one) / (N - 1), both from the call to its last token.
    """
    with bench("llamacpp", LARGE, "f16", _TOKENS) as ours:
        only_one = dataclasses.replace(
            ours.plan, params=dataclasses.replace(ours.plan.params, max_new_tokens=1)
        )
        tpots: list[float] = []

        def whole() -> float:
            tpots.append(_metric(ours, ours.plan, "tpot"))
            return ours.record.rounds[-1].value("e2e_latency") or 0.0

        taken = list(alternate(pairs, whole, lambda: _metric(ours, only_one, "e2e_latency")))
    # The first was the warm-up's.
    values = [
        (latency - first) / (_TOKENS - 1) / tpot
        for (latency, first), tpot in zip(taken, tpots[1:], strict=True)
    ]
    return Measured(values)


def _metric(ours: Bench, plan: Plan, name: str) -> float:
    value = ours.round(plan)[0].value(name)
    if value is None:
        msg = f"a round has no {name}"
        raise NotMeasuredError(msg)
    return value


ROWS = (
    Row(
        "two-pass",
        "TPOT from whole generations of N tokens and of one / from the timeline, llama-82m",
        Bound(at_least=0.9, at_most=1.1),
        9,
        _agreement,
    ),
)
