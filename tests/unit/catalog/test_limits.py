"""Does a limit leave out what is beyond it, and say by how much?"""

from __future__ import annotations

import numpy as np
import pytest

from pytest_llmbench.catalog.ask import Limit, read_limit
from pytest_llmbench.catalog.hardware import read_devices
from pytest_llmbench.catalog.limits import Checked, all_meet, excluded, near
from pytest_llmbench.catalog.view import Terms, View, view_of
from tests.fakes.a_catalog import catalog_of, row

ALL = np.ones(4, dtype=np.bool_)


@pytest.fixture
def view() -> View:
    catalog = catalog_of(
        [row(n) for n in range(4)],
        noise=0.5,
        n=25,
        ttft=[0.1, 0.3, 0.6, np.nan],
        goodput=[4.0, 2.0, 9.0, 9.0],
    )
    return view_of(catalog, "w0", read_devices(), Terms())


def checked(view: View, name: str, text: str) -> Checked:
    return Checked.of(read_limit(name, text), view)


def test_the_limit_itself_is_within_it_where_the_sign_says_so(view: View) -> None:
    assert checked(view, "ttft", "median<300ms").meets.tolist() == [True, False, False, False]
    assert checked(view, "ttft", "median<=300ms").meets.tolist() == [True, True, False, False]
    assert checked(view, "goodput", ">4").meets.tolist() == [False, False, True, True]
    assert checked(view, "goodput", ">=4").meets.tolist() == [True, False, True, True]


def test_a_margin_is_a_share_of_the_limit_and_unsure_where_the_interval_is_beyond(view: View) -> None:
    one = checked(view, "ttft", "median<400ms")
    far, tight, beyond, unknown = (one.margin(place) for place in range(4))
    assert (far.margin, far.sure) == (pytest.approx(0.75), True)
    # 0.3 s +- 0.074 s is within 0.4 s; within 0.35 s it is not.
    assert (tight.margin, tight.sure) == (pytest.approx(0.25), True)
    assert not checked(view, "ttft", "median<350ms").margin(1).sure
    assert (beyond.margin, beyond.sure) == (pytest.approx(-0.5), False)
    assert (unknown.value, unknown.margin, unknown.sure) == (None, None, False)


def test_what_is_not_known_meets_nothing_and_comes_near_nothing(view: View) -> None:
    limits = [checked(view, "ttft", "median<200ms"), checked(view, "goodput", ">5")]
    assert not all_meet(limits, ALL).any()
    first, second = excluded(limits, ALL)
    assert (first.limit, first.count, first.alone, first.unknown) == ("goodput median > 5", 2, 1, 0)
    assert (second.limit, second.count, second.alone, second.unknown) == ("ttft median < 200 ms", 2, 2, 1)
    assert (first.needed, second.needed) == (4.0, pytest.approx(0.6))
    assert near(limits, ALL, 3) == [
        (0, pytest.approx(0.2)),
        (1, pytest.approx(0.6)),
        (2, pytest.approx(2.0)),
    ]
    assert near([], ALL, 3) == []


def test_a_limit_of_nothing_is_beyond_all(view: View) -> None:
    one = Checked.of(Limit("ttft.median", True, 0.0, False, "s", "nothing"), view)
    assert not one.meets.any()
    assert one.margin(0).sure is False
