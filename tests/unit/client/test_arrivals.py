"""Is a stream that was buffered on its way told from every other, and TPOT what the engine did?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pytest_llmbench.client.arrivals import count_first, find_arrivals, why_untimed
from pytest_llmbench.metrics.timeline import Untimed

US, MS = 1_000, 1_000_000
SEGMENT = 5
"""Chunks of some 280 bytes in a segment of an Ethernet."""


def even(count: int, gap: float = 5 * MS, first: float = 20 * MS) -> list[float]:
    """When a server makes its chunks: ns since the request was sent."""
    return [first + gap * number for number in range(count)]


def in_lots(made: Sequence[float], size: int, apart: float = 0.0, segment: int = SEGMENT) -> list[float]:
    """When they arrive where *size* are passed on at once, in segments that are so far *apart*."""
    ends = [made[min(start + size, len(made)) - 1] for start in range(0, len(made), size)]
    return [ends[i // size] + apart * (i % size // segment) for i in range(len(made))]


def untimed(
    times: Sequence[float], *, tokens: int | None = None, lag: float | None = 30 * US
) -> Untimed | None:
    stamps = [round(time) for time in times]
    arrivals = find_arrivals(stamps, 0)
    counted = len(times) if tokens is None else tokens
    return why_untimed(stamps, 0, arrivals, counted, None if lag is None else round(lag))


def tpot(times: Sequence[float]) -> float:
    """Of a token a chunk."""
    stamps = [round(time) for time in times]
    return (stamps[-1] - stamps[0]) / (len(stamps) - find_arrivals(stamps, 0).first)


# --- What was buffered ------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.6 * MS, 5 * MS, 40 * MS])
@pytest.mark.parametrize("size", [16, 65, 128, 1000])
@pytest.mark.parametrize("apart", [0.0, 1.2 * US, 12 * US], ids=["one-segment", "10-gbit", "1-gbit"])
def test_a_proxy_that_passes_on_lots_is_found(gap: float, size: int, apart: float) -> None:
    assert untimed(in_lots(even(200, gap), size, apart)) == "buffered"


@pytest.mark.parametrize("apart", [0.0, 12 * US, 100 * US])
def test_all_chunks_at_the_end_are_found_on_slower_lines_too(apart: float) -> None:
    assert untimed(in_lots(even(128), 128, apart)) == "buffered"


def test_a_proxy_that_writes_what_it_kept_chunk_by_chunk_is_found() -> None:
    assert untimed(in_lots(even(128), 128, 11 * US, segment=1)) == "buffered"
    assert untimed(in_lots(even(128), 65, 11 * US, segment=1)) == "buffered"


def test_a_first_chunk_that_gets_through_hides_nothing() -> None:
    made = even(128)
    assert untimed([made[0], *in_lots(made[1:], 127)]) == "buffered"


# --- What was not -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_a_few_tokens_at_once_accuse_nobody_and_have_no_time_between_them(count: int) -> None:
    assert untimed(in_lots(even(count), count)) == (None if count == 1 else "one_arrival")


def test_one_chunk_of_many_tokens_is_one_arrival() -> None:
    assert untimed([640 * MS], tokens=128) == "one_arrival"
    assert untimed([640 * MS], tokens=1) is None


@pytest.mark.parametrize("gap", [50 * US, 200 * US, 600 * US, 5 * MS])
@pytest.mark.parametrize("first", [0.1 * MS, 600 * MS, 20_000 * MS])
@pytest.mark.parametrize("count", [4, 16, 128])
def test_a_fast_engine_after_a_long_prompt_is_no_proxy(gap: float, first: float, count: int) -> None:
    rng = np.random.default_rng(0)
    jitter = gap * rng.uniform(-0.3, 0.3, count)
    times = sorted(time + off for time, off in zip(even(count, gap, first), jitter, strict=True))
    assert untimed(times) is None
    assert tpot(times) == pytest.approx(gap, rel=0.6 / (count - 1) + 1e-3)


@pytest.mark.parametrize("stall", [5 * MS, 500 * MS])
@pytest.mark.parametrize("at", [3, 64])
def test_a_stall_of_a_fast_engine_is_no_proxy(stall: float, at: int) -> None:
    times = [time + (stall if i >= at else 0) for i, time in enumerate(even(128, 50 * US))]
    assert untimed(times) is None
    assert tpot(times) == pytest.approx((127 * 50 * US + stall) / 127, rel=0.03)


def test_one_stall_of_the_network_leaves_the_rest_their_times() -> None:
    made = even(128)
    times = [made[59] if 20 <= i < 60 else time for i, time in enumerate(made)]
    assert untimed(times) is None
    assert tpot(times) == pytest.approx(5 * MS)


@pytest.mark.parametrize("gap", [0.15 * MS, 0.35 * MS, 0.6 * MS])
def test_a_fast_engine_on_a_machine_that_others_use_takes_no_steps(gap: float) -> None:
    """It stands still again and again, and goes on as fast as before."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        stalls = 40 * MS * (rng.random(64) < 0.25)
        times = [round(time) for time in 20 * MS + np.cumsum(gap * rng.uniform(0.95, 1.3, 64) + stalls)]
        assert find_arrivals(times, 0) == (64, 1)


def test_gaps_that_are_drawn_at_random_are_no_steps() -> None:
    rng = np.random.default_rng(1)
    found = [
        find_arrivals([round(t) for t in 20 * MS + np.cumsum(rng.exponential(10 * MS, 64))], 0)
        for _ in range(300)
    ]
    assert sum(one.first > 1 for one in found) <= 5


@pytest.mark.parametrize("a_step", range(2, 9))
@pytest.mark.parametrize("write", [0.0, 8 * US, 40 * US, 90 * US], ids=["at-once", "c", "python", "slow"])
@pytest.mark.parametrize("steps", [5, 16])
def test_tokens_of_one_step_in_chunks_of_their_own_keep_a_true_tpot(
    a_step: int, write: float, steps: int
) -> None:
    period = 20 * MS
    times = [20 * MS + step * period + write * token for step in range(steps) for token in range(a_step)]
    assert untimed(times) is None
    truth = period / a_step
    # The last token of a step comes so much later than its first.
    assert tpot(times) == pytest.approx(truth, rel=write * a_step / period / (steps - 1) + 1e-6)


# --- Whose fault it is ----------------------------------------------------------------------------------


def read_late(made: Sequence[float], every: float) -> tuple[list[float], float]:
    """What a client sees that looks once in a while, the last one's stamp for all it finds; and its lag."""
    looks = [every * (1 + int(time // every)) for time in made]
    last = dict(zip(looks, made, strict=True))
    return [last[look] for look in looks], float(
        np.median([look - last[look] for look in sorted(set(looks))])
    )


@pytest.mark.parametrize("every", [53 * MS, 101 * MS, 207 * MS])
def test_lots_that_a_late_client_made_are_not_held_against_the_server(every: float) -> None:
    times, lag = read_late(even(128, 5 * MS, 21.3 * MS), every)
    assert len(set(times)) < 16
    assert untimed(times, lag=30 * US) == "buffered"
    assert untimed(times, lag=lag) is None


def test_a_late_client_behind_a_proxy_accuses_nobody() -> None:
    times, lag = read_late(in_lots(even(128, 5 * MS, 21.3 * MS), 32), 207 * MS)
    assert lag > 0.5 * MS
    assert untimed(times, lag=lag) is None


def test_where_nobody_knows_how_late_the_client_was_the_times_are_not_believed() -> None:
    assert untimed(in_lots(even(128), 65), lag=None) == "buffered"


# --- Tokens of the first chunk ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "tokens", "first", "told", "share", "wanted"),
    [
        (128, 128, 1, None, 0.5, 1),
        (128, 128, 1, 90, 0.5, 1),
        (32, 128, 1, 3, 0.5, 3),
        (32, 128, 1, None, 1 / 32, 4),
        # The first came alone, as the prompt's last token.
        (33, 129, 1, None, 1 / 129, 1),
        # What cannot be: each of the other 31 has a token too.
        (32, 128, 1, 120, 1 / 32, 4),
        (32, 40, 1, None, 0.9, 9),
        # More chunks than tokens: parts of words.
        (100, 50, 1, None, 0.01, 1),
        (100, 50, 1, None, 0.1, 5),
        (1, 50, 1, None, 1.0, 50),
        (1, 1, 1, None, None, 1),
    ],
)
def test_the_tokens_of_the_first_chunk_are_those_that_were_counted_or_that_its_text_is_long_enough_for(
    chunks: int, tokens: int, first: int, told: int | None, share: float | None, wanted: int
) -> None:
    assert count_first(chunks, tokens, first, told=told, share=share) == wanted
