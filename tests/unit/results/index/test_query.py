"""Which cases of the index does a person ask for?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("sqlalchemy")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmbench.errors import UsageError
from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.index.query import OWN, Query, groups, run
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.results.store import Store

MakeDocument = Callable[..., ResultsDocument]
IDS = [f"2026010{day}T030405Z-0a1b2c3{day}" for day in range(1, 6)]


@pytest.fixture
def index(store: Store, document_maker: MakeDocument, url: str | None) -> Iterator[Index]:
    """The index of five sessions of three cases each."""
    for number, session in enumerate(IDS):
        document = document_maker(session, cases=3)
        document.session.started = f"2026-01-0{number + 1}T03:04:05Z"
        for place, case in enumerate(document.cases):
            case.model.quantization = ["f16", "q8_0", None][place]
            case.metrics["ttft"].p95 = 0.1 * (number + 1)
        store.write(document)
    made = Index.open(store, url)
    made.update()
    yield made
    made.close()


def _asked(index: Index, *where: str, **more: object) -> list[tuple[object, ...]]:
    query = Query(where=where, columns=("session", "quantization", "ttft.p95"), **more)  # type: ignore[arg-type]
    return list(run(index.database, query).rows)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ((), 15),
        (("quantization=f16",), 5),
        (("quantization=f16,q8_0",), 10),
        (("quantization=none",), 5),
        (("quantization!=none",), 10),
        (("quantization!=f16",), 10),
        (("quantization~Q8",), 5),
        (("ttft.p95<250ms",), 6),
        (("ttft.p95 <= 0.2",), 6),
        (("ttft.p95>0.45s", "quantization=f16"), 1),
        (("started>=2026-01-04",), 6),
        (("started<2026-01-04T03:04:05+00:00",), 9),
        (("outcome=passed", "turn=none"), 15),
        (("dirty=yes",), 0),
        (("nodeid~100%",), 0),
    ],
)
def test_conditions_choose_cases(index: Index, where: tuple[str, ...], rows: int) -> None:
    assert len(_asked(index, *where)) == rows


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("backnd=x", "there is no column 'backnd'; did you mean 'backend'"),
        ("ttft.p77<1", "a metric has"),
        ("ttft.p95<fast", "'fast' is not a number of s"),
        ("ttft.p95<1e999", "is not a number"),
        ("started>yesterday", "is not a time; write 2026-11-28"),
        ("dirty=perhaps", "dirty is yes or no"),
        ("turn~1", "turn is not a text"),
        ("backend", "is not a condition"),
        ("backend=\0", "is not a condition"),
        ("turn<none", "has no order"),
        ("x" * 600, "is not a condition"),
        ("model=\ud800", "is not a condition"),
        ("started>0001-01-01T00:00+14:00", "nothing was measured then"),
        ("turn=1e18", "is not a number"),
    ],
)
def test_what_cannot_be_asked_is_one_line(index: Index, where: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        _asked(index, where)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "sort", [(), ("ttft.p95",), ("-ttft.p95", "quantization"), ("-started",), ("quantization",)]
)
def test_pages_together_are_all_rows_each_once(index: Index, sort: tuple[str, ...]) -> None:
    whole = run(index.database, Query(sort=sort, limit=100))
    ids: list[int] = []
    after = None
    while True:
        page = run(index.database, Query(sort=sort, limit=4, after=after))
        ids += page.ids
        if (after := page.next) is None:
            break
    assert ids == list(whole.ids)
    assert len(set(ids)) == 15


def test_a_cursor_of_another_order_is_refused(index: Index) -> None:
    cursor = run(index.database, Query(limit=2)).next
    with pytest.raises(UsageError, match="the cursor is not one of this query"):
        run(index.database, Query(sort=("ttft",), limit=2, after=cursor))


def test_of_cases_that_compare_the_newest_is_the_latest(index: Index) -> None:
    assert {row[0] for row in _asked(index, latest=True)} == {IDS[-1]}
    assert len(_asked(index, latest=True)) == 3


def test_groups_have_the_middle_and_both_ends(index: Index) -> None:
    heads, rows = groups(index.database, Query(), ["quantization"], ["ttft.p95"])
    assert heads == ("quantization", "cases", "ttft.p95 median", "ttft.p95 min", "ttft.p95 max")
    assert [(row[0], row[1]) for row in rows] == [(None, 5), ("f16", 5), ("q8_0", 5)]
    assert rows[0][2:] == pytest.approx((0.3, 0.1, 0.5))


@pytest.mark.parametrize("limit", [0, -1, 10_000])
def test_a_limit_is_bounded(index: Index, limit: int) -> None:
    with pytest.raises(UsageError, match="it can be 1 to 1000"):
        run(index.database, Query(limit=limit))


def test_so_many_conditions_and_columns_are_refused(index: Index) -> None:
    with pytest.raises(UsageError, match="33 conditions; 32 can be asked at once"):
        run(index.database, Query(where=["turn=1"] * 33))
    with pytest.raises(UsageError, match="columns"):
        run(index.database, Query(columns=["ttft"] * 65))


@pytest.mark.parametrize("url", [None])
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from([*OWN, "ttft", "ttft.p95", "nosuch"]) | st.text(max_size=20),
    sign=st.sampled_from(["=", "<", ">=", "!=", "~", ""]),
    value=st.text(max_size=30) | st.floats().map(str),
    cursor=st.none() | st.text(max_size=40) | st.binary(max_size=40).map(bytes.hex),
)
def test_whatever_is_asked_there_is_an_answer_or_one_line(
    index: Index, name: str, sign: str, value: str, cursor: str | None
) -> None:
    with contextlib.suppress(UsageError):
        run(index.database, Query(where=[f"{name}{sign}{value}"], sort=[name], after=cursor))
