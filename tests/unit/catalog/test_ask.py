"""Is what a person asks for read as it is meant, and refused in a line where it cannot be?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.catalog.ask import Ask, read_budget, read_limit, read_quality
from pytest_llmbench.catalog.uses import USES
from pytest_llmbench.errors import UsageError


@pytest.mark.parametrize(
    ("name", "text", "what", "sign", "value"),
    [
        ("ttft", "p95<500ms", "ttft.p95", "<", 0.5),
        ("ttft", "< 2s", "ttft.p95", "<", 2.0),
        ("e2e", "p99 <= 1 min", "e2e_latency.p99", "<=", 60.0),
        ("tpot", "p50<0.05", "tpot.median", "<", 0.05),
        ("goodput", ">=2.5req/s", "goodput.median", ">=", 2.5),
        ("peak_vram", "median<10GiB", "peak_vram.median", "<", 10 * 2.0**30),
        ("energy_per_token", "mean<300mJ", "energy_per_token.mean", "<", 0.3),
    ],
)
def test_a_limit_is_written_as_conditions_are(
    name: str, text: str, what: str, sign: str, value: float
) -> None:
    limit = read_limit(name, text)
    assert (limit.what, limit.sign) == (what, sign)
    assert limit.value == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("tftt", "p95<1s", "there is no metric 'tftt'; did you mean 'ttft'?"),
        ("ttft", "500ms", "is not a limit in s; write it as p95<500ms"),
        ("ttft", "p95<500MB", "is not a limit in s"),
        ("ttft", "p42<5s", "is not a limit in s"),
        ("ttft", "p95<1e999", "is not a limit in s"),
        ("ttft", "p95>500ms", "is the wrong way around: of ttft, less is better"),
        ("goodput", "<3", "is the wrong way around: of goodput, more is better"),
        ("goodput", "x", "write it as median>10"),
    ],
)
def test_what_is_not_a_limit_is_refused(name: str, text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_limit(name, text)
    assert said in str(raised.value)


def test_a_budget_is_an_hour_or_a_million_tokens_or_both() -> None:
    assert [(one.what, one.value) for one in read_budget("2.5/h")] == [("usd_per_hour", 2.5)]
    assert [(one.what, one.value) for one in read_budget("$0.4 / Mtok")] == [("cost", 0.4)]
    assert [(one.what, one.value) for one in read_budget("2.5/h, 0.4/Mtok")] == [
        ("usd_per_hour", 2.5),
        ("cost", 0.4),
    ]
    for text in ("2.5", "2.5/day", "-1/h", "", "1e999/h"):
        with pytest.raises(UsageError, match="budget: "):
            read_budget(text)


def test_quality_is_a_share() -> None:
    assert read_quality("0.8").value == read_quality(">= 80%").value == 0.8
    for text in ("80", "good", "-1"):
        with pytest.raises(UsageError, match="min_quality: "):
            read_quality(text)


def test_each_use_case_has_limits_and_weights_that_are_valid() -> None:
    for name in USES:
        ask = Ask(use=name)
        assert ask.given_weights()
        assert len(ask.limits()) == len(USES[name].slo)


def test_what_is_said_stands_over_the_use_case() -> None:
    ask = Ask.of(use="chatbot", slo={"ttft": "p99<1s"}, weights={"cost": 1}, budget=None)
    assert [limit.text for limit in ask.limits()] == ["ttft p99 < 1 s", "tpot p95 < 50 ms"]
    assert ask.given_weights() == {"cost": 1}
    agent = Ask(use="agent", slo={"e2e": "p95<5s"})
    assert [limit.value for limit in agent.limits()] == [5.0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"top": 0}, "top: "),
        ({"use": "chat"}, "use: "),
        ({"market": "bid"}, "market: "),
        ({"utilization": 0}, "utilization: "),
        ({"models": ["x"] * 101}, "models: "),
        ({"weigths": {}}, "weigths: "),
        ({"usd_per_kwh": float("nan")}, "usd_per_kwh: "),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        Ask.of(**given)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)
