"""Is it told when more requests of a level failed than may, and how many may?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.failures import Allowed, kinds, parse_allowed, why_failed
from pytest_llmbench.measure.run import MAX_FAILED, ProcessRun
from pytest_llmbench.settings.case import SETTINGS
from tests.fakes.llmbench_levels import a_failure, a_level


def level(failed: int, answered: int, **load: Any) -> ProcessRun:
    rounds: Any = [object()] * answered
    return ProcessRun(1, {}, {}, rounds, load=a_level(**load), failures=[a_failure()] * failed)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1%", Allowed(share=0.01)),
        ("0.01", Allowed(share=0.01)),
        (0.01, Allowed(share=0.01)),
        ("100%", Allowed(share=1.0)),
        (" 3 ", Allowed(number=3)),
        (0, Allowed(number=0)),
    ],
)
def test_a_share_or_a_number_is_read(written: Any, read: Allowed) -> None:
    assert parse_allowed(written) == read
    assert parse_allowed(str(read)) == read


@pytest.mark.parametrize("written", ["many", "-1", "101%", "1.5", "nan", "inf%", True, None, [1]])
def test_what_is_neither_is_refused_in_words(written: Any) -> None:
    with pytest.raises(UsageError, match=r"is not a share such as 1% or 0\.01, or a number of requests"):
        SETTINGS["failures"].read(written, "--llm-max-failures")


def test_by_default_so_many_may_fail_as_leave_the_figures_valid() -> None:
    assert parse_allowed(SETTINGS["failures"].default) == Allowed(share=MAX_FAILED)


@pytest.mark.parametrize(
    ("allowed", "failed", "told"),
    [("1%", 1, False), ("1%", 2, True), ("2", 2, False), ("2", 3, True), ("0", 1, True), ("100%", 99, False)],
)
def test_more_than_may_is_told(allowed: str, failed: int, told: bool) -> None:
    assert (why_failed([level(failed, 100 - failed)], parse_allowed(allowed)) is not None) is told


def test_one_level_of_several_is_enough() -> None:
    said = why_failed([level(0, 200), level(8, 92)], parse_allowed("5%"))
    assert (said or "").splitlines()[0] == "8 of 100 requests failed; 5% may fail"


def test_kinds_counts_an_example_and_the_warm_up_are_told() -> None:
    said = why_failed([level(19, 1, warmup_failed=2)], parse_allowed("0")) or ""
    assert said.splitlines()[0] == "19 of 20 requests failed; none may fail"
    assert "19 HTTP 503" in said
    assert "overloaded" in said
    assert "2 warm-up requests failed too" in said


def test_the_most_frequent_kind_comes_first() -> None:
    failures = [
        a_failure("reset", status=None),
        a_failure("timeout", status=None),
        a_failure("timeout", status=None),
        a_failure("status", status=429),
    ]
    assert kinds(failures) == "2 timeout, 1 HTTP 429, 1 reset"


def test_what_is_no_load_level_has_no_failed_requests() -> None:
    assert why_failed([ProcessRun(1, {}, {})], parse_allowed("0")) is None
