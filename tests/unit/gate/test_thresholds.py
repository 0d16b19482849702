"""Is a threshold what a person meant, and is what nobody can mean refused?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.thresholds import (
    Threshold,
    as_text,
    by_clock,
    default_thresholds,
    merge_thresholds,
    on_cpu,
    parse_thresholds,
    read_thresholds,
    thresholds_of,
)
from pytest_llmbench.metrics.table import gated_metrics


@pytest.mark.parametrize(
    ("text", "metric", "relative"),
    [("tpot:5%", "tpot", 0.05), ("ttft: 0.5%", "ttft", 0.005), ("tpot:0.05", "tpot", 0.05)],
)
def test_a_relative_threshold_is_per_cent_or_a_ratio(text: str, metric: str, relative: float) -> None:
    assert parse_thresholds(text) == (Threshold(metric, relative=relative),)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("ttft:<300ms", 0.3),
        ("ttft:< 0.3 s", 0.3),
        ("ttft:<=300000us", 0.3),
        ("peak_rss:<2GiB", 2 * 2**30),
        ("peak_rss:<2GB", 2e9),
        ("decode_throughput:>50", 50.0),
        ("decode_throughput:>50 tok/s", 50.0),
        ("energy:<5kJ", 5000.0),
        ("energy_per_token:<50mJ/token", 0.05),
        ("goodput:>1.5req/s", 1.5),
    ],
)
def test_a_limit_is_in_units_of_the_metric(text: str, limit: float) -> None:
    (threshold,) = parse_thresholds(text)
    assert threshold.limit == pytest.approx(limit)
    assert threshold.relative is None


@pytest.mark.parametrize(
    "text", ["tpot:5%", "ttft:<300ms", "decode_throughput:>50tok/s", "ttft.p99:<1s", "tpot:off"]
)
def test_what_is_shown_can_be_read_again(text: str) -> None:
    (threshold,) = parse_thresholds(text)
    assert f"{threshold.name}:{threshold.value}" == text


def test_a_metric_may_have_a_relative_threshold_and_a_limit() -> None:
    relative, limit = read_thresholds({"ttft": ["10%", "<300ms"]})
    assert (relative.relative, limit.limit) == (0.1, 0.3)
    assert parse_thresholds("ttft:10%,<300ms") == (relative, limit)


def test_a_percentile_has_a_threshold_of_its_own() -> None:
    (threshold,) = parse_thresholds("ttft.p99:<300ms")
    assert (threshold.metric, threshold.percentile, threshold.name) == ("ttft", 99.0, "ttft.p99")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tpo:5%", "did you mean 'tpot'"),
        ("ttft:>300ms", "its limit is <300ms"),
        ("decode_throughput:<50", "its limit is >50"),
        ("ttft:<300", "needs a unit; it has s, ms"),
        ("ttft:<300MiB", "has no unit 'MiB'"),
        ("ttft:5", "use a relative one such as 5%"),
        ("ttft:fast", "'fast' is not a threshold of ttft"),
        ("ttft:-5%", "'-5%' is not a threshold of ttft"),
        ("ttft.best:5%", "use ttft.p95 or ttft.p99"),
        ("ttft.p20:5%", "is not a percentile"),
        ("ttft", "is not METRIC:VALUE"),
        ("ttft:", "is not METRIC:VALUE"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_thresholds(text)
    assert said in str(raised.value)


@pytest.mark.parametrize("value", ["5%", ["tpot"], {"ttft": None}, {"ttft": True}, {"ttft": {"p99": 1}}])
def test_a_marker_that_is_no_mapping_of_thresholds_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match=r"use a relative one|is not a mapping such as"):
        read_thresholds(value)


def test_thresholds_are_kept_as_text_that_reads_the_same_again() -> None:
    given = {"ttft": ["10%", "<300ms"], "peak_rss": 0.02, "tpot": "off", "itl.p95": "<15ms"}
    thresholds = read_thresholds(given)
    kept = as_text(thresholds)
    assert kept == {
        "ttft": ["10%", "<300ms"],
        "peak_rss": "2%",
        "tpot": "off",
        "itl.p95": "<15ms",
    }
    assert read_thresholds(kept) == thresholds


def test_the_defaults_gate_four_metrics() -> None:
    assert {one.metric: one.value for one in default_thresholds()} == {
        "ttft": "5%",
        "tpot": "5%",
        "decode_throughput": "5%",
        "peak_rss": "2%",
    }
    assert tuple(one.metric for one in default_thresholds()) == gated_metrics()


def test_which_metrics_gate_can_be_chosen() -> None:
    assert [one.metric for one in default_thresholds(["load_time"])] == ["load_time"]
    with pytest.raises(UsageError, match="there is no metric"):
        default_thresholds(["speed"])


def test_a_later_threshold_replaces_one_of_its_own_kind() -> None:
    merged = merge_thresholds(
        default_thresholds(["ttft"]), parse_thresholds("ttft:10%,<300ms"), parse_thresholds("ttft:20%")
    )
    assert [one.value for one in merged] == ["20%", "<300ms"]


def test_off_takes_a_metric_out_of_the_gate() -> None:
    merged = merge_thresholds(default_thresholds(["ttft", "tpot"]), parse_thresholds("tpot:off"))
    assert [one.metric for one in merged] == ["ttft"]


def test_thresholds_that_a_case_kept_lie_between_the_command_line_and_the_defaults(a_case: Any) -> None:
    case = a_case()
    case.thresholds = {"ttft": ["10%", "<300ms"], "tpot": "7%"}
    of = thresholds_of(parse_thresholds("ttft:1%"), ["ttft", "tpot", "peak_rss"])
    assert {f"{one.metric} {one.value}" for one in of(case)} == {
        "ttft 1%",
        "ttft <300ms",
        "tpot 7%",
        "peak_rss 2%",
    }


def test_a_metric_of_the_cpus_clock_that_is_off_stays_so_by_every_clock() -> None:
    merged = merge_thresholds(default_thresholds(["ttft", "tpot"]), parse_thresholds("prefill_cpu_time:off"))
    assert [one.metric for one in on_cpu(merged)] == ["cpu_time_per_token"]
    gated = [one.name for one in by_clock(merged, "cpu") if not one.off]
    assert gated == ["cpu_time_per_token"]
    again = merge_thresholds(merged, parse_thresholds("prefill_cpu_time:3%"))
    assert {one.name: one.value for one in by_clock(again, "cpu")} == {
        "cpu_time_per_token": "5%",
        "prefill_cpu_time": "3%",
    }


def test_a_percentile_is_of_the_walls_clock_and_is_judged_by_every_clock() -> None:
    merged = merge_thresholds(default_thresholds(["tpot"]), parse_thresholds("itl.p95:5%"))
    assert [one.name for one in by_clock(merged, "cpu")] == ["itl.p95", "cpu_time_per_token"]
