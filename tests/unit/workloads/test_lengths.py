"""Do lengths have the distribution that they are named after?"""

from __future__ import annotations

import math
from statistics import NormalDist, fmean, median

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.workloads.lengths import Fixed, LogNormal, Normal, Uniform, parse_length

MANY = 20_000


@pytest.mark.parametrize(
    ("text", "length"),
    [
        (128, Fixed(128)),
        (" 128 ", Fixed(128)),
        ("uniform:64:256", Uniform(64, 256)),
        ("uniform: 5 : 5", Uniform(5, 5)),
        ("normal:512:128", Normal(512, 128)),
        ("normal:2048:1024:8192", Normal(2048, 1024, 8192)),
        ("lognormal:128:0.5", LogNormal(128, 0.5)),
        ("lognormal:128:1e0:1024", LogNormal(128, 1.0, 1024)),
    ],
)
def test_every_form_is_understood_and_can_be_written_again(text: str | int, length: object) -> None:
    assert parse_length(text) == length
    assert parse_length(str(length)) == length


def test_one_meaning_has_one_spelling() -> None:
    assert str(parse_length("lognormal: 128:1.0")) == "lognormal:128:1"
    assert str(parse_length(7)) == "7"


@pytest.mark.parametrize(
    "text",
    [
        *("", "many", "0", "-3", "12.5", True, None, "uniform", "uniform:1", "uniform:0:5", "uniform:1:2:3"),
        *(
            "uniform:a:b",
            "normal:1",
            "normal:1:2:3:4",
            "normal:8:0",
            "gauss:1:2",
            "lognormal:128",
            "lognormal:128:0",
            "lognormal:128:nan",
        ),
        *("lognormal:128:-1", "lognormal:128:6", "lognormal:0:1", "lognormal:128:1:0", "lognormal:8:1:9:9"),
    ],
)
def test_anything_else_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"128, uniform:MIN:MAX .* lognormal:MEDIAN:SIGMA\[:MAX\]") as caught:
        parse_length(text)

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("uniform:9:3", "MIN is 9 and above MAX"),
        ("normal:128:1:100", "MAX is below the mean of 128"),
        ("lognormal:128:1:100", "MAX is below the median of 128"),
    ],
)
def test_limits_that_contradict_each_other_are_told(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_length(text)


def test_a_fixed_length_is_always_the_same() -> None:
    assert Fixed(9).sample(4, seed=1) == [9] * 4


def test_uniform_lengths_take_every_value_equally_often() -> None:
    found = Uniform(10, 19).sample(MANY, seed=1)
    counts = [found.count(value) for value in range(10, 20)]
    expected = MANY / 10

    assert sum(counts) == MANY
    # The chi-squared distribution with 9 degrees of freedom is above 27.9 once in a thousand times.
    assert sum((count - expected) ** 2 / expected for count in counts) < 27.9


def test_lognormal_lengths_have_their_median_and_spread() -> None:
    found = LogNormal(1000, 0.5).sample(MANY, seed=1)
    logs = [math.log(value / 1000) for value in found]

    assert median(found) == pytest.approx(1000, rel=0.02)
    assert fmean(logs) == pytest.approx(0, abs=0.02)
    assert NormalDist.from_samples(logs).stdev == pytest.approx(0.5, rel=0.03)
    assert fmean(found) == pytest.approx(1000 * math.exp(0.125), rel=0.03)


def test_a_maximum_cuts_long_ones_and_leaves_the_median() -> None:
    free, cut = LogNormal(100, 1.0).sample(MANY, seed=3), LogNormal(100, 1.0, 300).sample(MANY, seed=3)

    assert cut == [min(value, 300) for value in free]
    assert median(cut) == median(free)


def test_no_length_is_below_one_token() -> None:
    assert min(LogNormal(1, 5.0).sample(1000, seed=0)) == 1


@pytest.mark.parametrize("length", [Uniform(1, 10**6), LogNormal(1000, 1.0)])
def test_a_seed_gives_the_same_lengths_again_and_another_seed_others(length: Uniform | LogNormal) -> None:
    assert length.sample(50, seed=5) == length.sample(50, seed=5)
    assert length.sample(50, seed=5)[:10] == length.sample(10, seed=5)
    assert length.sample(50, seed=5) != length.sample(50, seed=6)


def test_lengths_stay_as_they_are_from_version_to_version() -> None:
    assert Uniform(64, 256).sample(5, seed=0) == [242, 83, 185, 234, 105]
    assert LogNormal(128, 0.5).sample(5, seed=0) == [262, 67, 151, 234, 86]


def test_normal_lengths_have_their_mean_and_deviation_and_are_cut_at_both_ends() -> None:
    found = Normal(512, 128).sample(MANY, seed=1)
    wide, cut = Normal(64, 64).sample(MANY, seed=2), Normal(64, 64, 100).sample(MANY, seed=2)

    assert NormalDist.from_samples(found).mean == pytest.approx(512, rel=0.01)
    assert NormalDist.from_samples(found).stdev == pytest.approx(128, rel=0.03)
    assert min(wide) == 1
    assert cut == [min(value, 100) for value in wide]
