"""Do the metrics say what their formulas say?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.summary import Summary, summarize
from pytest_llmbench.metrics.table import METRICS, timeline_rows
from pytest_llmbench.metrics.timeline import Timeline, gaps, hash_tokens

MS = 1_000_000


def timeline(*tokens_ms: float, sent: int = 1_000 * MS, prompt_tokens: int = 8) -> Timeline:
    times = tuple(sent + int(ms * MS) for ms in tokens_ms)
    return Timeline(
        sent=sent,
        tokenized=sent + 2 * MS,
        prefilled=sent + 42 * MS,
        token_times=times,
        done=(times or (sent,))[-1] + MS,
        prompt_tokens=prompt_tokens,
        output_tokens=len(times),
        output_hash=hash_tokens(list(range(len(times)))),
        prompt_hash=hash_tokens([1, 2, 3]),
        finish_reason="length",
    )


def timeline_metrics(line: Timeline) -> dict[str, float | None]:
    return {row.name: row.of(line) for row in timeline_rows()}


def run_of(*timelines: Timeline) -> Run:
    process = ProcessRun(1, {}, {}, [Round(t) for t in timelines], {"load_time": 0.5, "peak_rss": 100})
    return Run("default", {}, [process])


def test_latencies_follow_from_the_timeline() -> None:
    values = timeline_metrics(timeline(50, 60, 80, 90))
    assert values["ttft"] == pytest.approx(0.050)
    assert values["tpot"] == pytest.approx(0.040 / 3)
    assert values["e2e_latency"] == pytest.approx(0.090)
    assert values["decode_throughput"] == pytest.approx(75)
    assert values["output_throughput"] == pytest.approx(4 / 0.090)
    assert Round(timeline(50, 60)).prefill_throughput == pytest.approx(8 / 0.040)


def test_a_prompt_of_which_the_cache_had_a_part_has_the_speed_of_the_rest_alone() -> None:
    measured = Round(timeline(50, 60), measured={"cached_tokens": 6.0})
    assert measured.prefill_throughput is None
    assert measured.uncached_prefill_throughput == pytest.approx(2 / 0.040)
    assert Round(timeline(50, 60)).uncached_prefill_throughput is None


def test_a_hit_rate_needs_what_was_reused_of_every_round() -> None:
    run = run_of(timeline(50, 60), timeline(50, 60))
    run.rounds[0].measured["cached_tokens"] = 6.0
    assert run.cache_hit_rate.n == 0
    run.rounds[1].measured["cached_tokens"] = 0.0
    assert run.cache_hit_rate.values == (6 / 16,)


def test_tokens_of_the_first_time_and_tokens_that_never_came_are_not_shared_out_among_the_gaps() -> None:
    line = replace(timeline(50, 60, 80, 90), output_tokens=113, first_tokens=3, hidden_tokens=100)
    values = timeline_metrics(line)
    assert (line.shown_tokens, line.timed_tokens) == (13, 10)
    assert values["tpot"] == pytest.approx(0.040 / 10)
    assert values["decode_throughput"] == pytest.approx(250)
    assert values["tpot_all_tokens"] == pytest.approx(0.040 / 112)
    assert values["output_throughput"] == pytest.approx(113 / 0.090)
    nothing_after = replace(timeline(50, 60), output_tokens=102, first_tokens=2, hidden_tokens=100)
    assert timeline_metrics(nothing_after)["tpot"] is None


def test_a_buffered_timeline_has_no_time_between_tokens_and_keeps_what_it_was() -> None:
    line = replace(timeline(50, 60, 80, 90), untimed="buffered")
    values = timeline_metrics(line)
    for name in ("tpot", "tpot_all_tokens", "decode_throughput"):
        assert values[name] is None
    assert gaps(line) == []
    assert (values["ttft"], values["e2e_latency"]) == (pytest.approx(0.050), pytest.approx(0.090))
    assert line.token_times == timeline(50, 60, 80, 90).token_times


def settled(*reasons: str | None, tokens: int = 20) -> Run:
    lines = [
        replace(timeline(50, 60, 80, 90), output_tokens=tokens, untimed=reason)  # type: ignore[arg-type]
        for reason in reasons
    ]
    run = run_of(*lines)
    run.processes[0].settle()
    return run


def test_one_buffered_round_of_many_alone_has_no_tpot() -> None:
    run = settled("buffered", *[None] * 9)
    assert (run.tpot.n, run.itl.n, run.unknown) == (9, 27, {})


def test_where_too_many_rounds_are_buffered_none_has_a_tpot() -> None:
    run = settled(*["buffered"] * 3, *[None] * 7)
    assert (run.tpot.n, run.itl.n, run.decode_throughput.n, run.ttft.n) == (0, 0, 0, 10)
    assert run.unknown == dict.fromkeys(("tpot", "tpot_all_tokens", "itl", "decode_throughput"), "buffered")
    with pytest.raises(ValueError, match="tpot has no value: buffered: chunks arrived many at a time"):
        _ = run.tpot.median
    assert "proxy_buffering off" in str(run)
    assert [doubt.partition(":")[0] for doubt in run.doubts] == [
        "no decode_throughput, itl, tpot, tpot_all_tokens"
    ]


def test_short_answers_that_came_at_once_say_nothing_of_the_others() -> None:
    short = [replace(timeline(50, 50), untimed="one_arrival") for _ in range(9)]
    run = run_of(*short, timeline(50, 60, 80, 90))
    run.processes[0].settle()
    assert (run.tpot.n, run.unknown) == (1, {})
    alone = run_of(*short)
    alone.processes[0].settle()
    assert (alone.tpot.n, alone.unknown["tpot"], alone.doubts) == (0, "one_arrival", [])


def test_a_process_that_was_not_buffered_has_its_figures_beside_one_that_was() -> None:
    run = settled("buffered")
    run.processes += settled(None).processes
    assert (run.tpot.n, run.unknown) == (1, {})


def test_one_token_has_no_time_per_output_token() -> None:
    values = timeline_metrics(timeline(50))
    assert values["tpot"] is None
    assert values["decode_throughput"] is None
    assert values["ttft"] == pytest.approx(0.050)


def test_chunks_of_several_tokens_count_by_their_tokens() -> None:
    chunked = replace(timeline(50, 60, 80), output_tokens=13)
    values = timeline_metrics(chunked)
    assert values["tpot"] == pytest.approx(0.030 / 12)
    assert values["decode_throughput"] == pytest.approx(400)
    assert values["output_throughput"] == pytest.approx(13 / 0.080)
    assert gaps(chunked) == pytest.approx([0.010, 0.020])
    assert timeline_metrics(replace(timeline(50), output_tokens=13))["tpot"] is None


def test_no_token_has_no_latency_at_all() -> None:
    values = timeline_metrics(timeline())
    assert set(values.values()) == {None}


def test_gaps_are_pooled_over_all_rounds() -> None:
    run = run_of(timeline(50, 60, 80), timeline(50, 55))
    assert gaps(timeline(50, 60, 80)) == pytest.approx([0.010, 0.020])
    assert run.itl.values == pytest.approx((0.010, 0.020, 0.005))


def test_a_run_offers_each_metric_as_an_attribute() -> None:
    run = run_of(timeline(50, 60), timeline(70, 90))
    assert run.ttft.median == pytest.approx(0.060)
    assert run.load_time.values == (0.5,)
    assert run.peak_rss.values == (100.0,)
    assert "peak_vram" not in run.metrics
    with pytest.raises(AttributeError, match="no metric 'tfft'"):
        _ = run.tfft


def test_energy_is_unknown_rather_than_zero() -> None:
    run = run_of(timeline(50, 60))
    assert run.rounds[0].energy_per_token is None
    assert run.energy.n == 0
    run.rounds[0].measured["energy"] = 3.0
    assert run.energy_per_token.values == (1.5,)


def test_a_summary_without_values_says_so() -> None:
    with pytest.raises(ValueError, match="energy has no value"):
        _ = Summary("energy", ()).median


def test_a_percentile_needs_a_value_beyond_it() -> None:
    assert summarize("ttft", range(1, 6)).unsupported == ("p90", "p95", "p99")
    assert summarize("ttft", range(1, 11)).unsupported == ("p95", "p99")
    assert summarize("ttft", range(1, 21)).unsupported == ("p99",)
    assert summarize("ttft", range(1, 101)).unsupported == ()


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50), st.floats(0, 100))
def test_percentiles_agree_with_numpy(values: list[float], q: float) -> None:
    summary = summarize("ttft", values)
    assert summary.percentile(q) == pytest.approx(float(np.percentile(values, q)), rel=1e-9)
    assert summary.mean == pytest.approx(float(np.mean(values)))
    assert summary.min <= summary.percentile(q) <= summary.max or summary.n == 1


def test_every_metric_has_its_unit_direction_formula_and_source() -> None:
    for metric in METRICS.values():
        assert metric.better in ("lower", "higher")
        assert metric.unit
        assert metric.formula
        assert metric.source


def test_a_timeline_survives_its_json() -> None:
    before = timeline(50, 60)
    assert Timeline.from_json(before.to_json()) == before


def test_equal_tokens_have_equal_hashes_and_others_do_not() -> None:
    assert hash_tokens([1, 2]) == hash_tokens([1, 2])
    assert hash_tokens([1, 2]) != hash_tokens([2, 1])
    assert hash_tokens([]).startswith("sha256:")


def test_what_tells_the_same_of_the_cpus_clock_is_of_that_clock_and_of_the_same_parts() -> None:
    named = {row.name: row.on_cpu for row in METRICS.values() if row.on_cpu is not None}
    assert named["ttft"] == "prefill_cpu_time"
    assert named["tpot"] == named["decode_throughput"] == "cpu_time_per_token"
    for name in named.values():
        assert METRICS[name].clock == "cpu"
        assert METRICS[name].limits


def test_every_time_and_rate_of_a_round_that_gates_has_a_cpu_time() -> None:
    gating = [row for row in METRICS.values() if row.gates and row.judged == "noisy"]
    assert all(row.on_cpu is not None for row in gating)
