"""Is what no server can mean told from what it can?"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pytest_llmbench.metrics.bounds import MAX_TOKENS, check_counts, read_json, short, whole


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"9" * 5000, b"", b"\xff", b'{"a": "\\ud8'],
    ids=["lists", "objects", "digits", "nothing", "no UTF-8", "cut"],
)
def test_what_is_no_json_or_cannot_be_read_is_one_kind_of_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


def test_json_is_read() -> None:
    assert read_json(b'{"a": [1, 2.5, null, "\\u00fc"]}') == {"a": [1, 2.5, None, "ü"]}


@pytest.mark.parametrize(
    "value", [True, False, -1, 1.0, "7", None, [], MAX_TOKENS + 1, 10**400, float("nan")]
)
def test_what_is_no_count_is_none(value: object) -> None:
    assert whole(value) is None


def test_a_count_is_what_it_is() -> None:
    assert [whole(value) for value in (0, 7, MAX_TOKENS)] == [0, 7, MAX_TOKENS]
    assert whole(7, most=6) is None


@pytest.mark.parametrize("digits", [9, 401, 4000])
def test_a_count_that_cannot_be_is_named_and_not_written_out(digits: int) -> None:
    with pytest.raises(ValueError, match=f"its completion_tokens is a number of {digits} digits"):
        check_counts({"details": {"a": 1, "completion_tokens": 9 * 10 ** (digits - 1)}})


def test_counts_of_other_kinds_are_left_alone() -> None:
    counts: dict[str, Any] = {"a": None, "b": "x", "c": -(10**400), "d": {"e": 3.5}, "f": True}
    before = copy.deepcopy(counts)
    check_counts(counts)
    assert counts == before


def test_a_name_is_short() -> None:
    assert short("m") == "m"
    assert [short(one) for one in ("", "x" * 513, 7, None)] == [None] * 4
