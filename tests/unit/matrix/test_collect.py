"""Are the results of a matrix put together, and what is spoiled or old found?"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.matrix.collect import older, one_document, spoiled
from pytest_llmbench.matrix.state import read_state
from pytest_llmbench.matrix.summary import write_plan
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.results.ids import new_session_id
from pytest_llmbench.results.store import Store
from tests.unit.matrix.plans import a_cell, a_document, a_plan, stored

ONE, TWO = a_cell("same"), a_cell("same", Hardware("L4"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a plan of the same case on two kinds of hardware."""
    found = Store(tmp_path / "store")
    write_plan(found, a_plan(ONE, TWO))
    return found


def test_the_newest_result_of_each_cell_is_in_it_with_its_hardware(store: Store) -> None:
    with pytest.raises(UsageError, match="there is nothing to export"):
        one_document(store, read_state(store, "m"))
    stored(store, ONE, session="20260102T030405Z-00000000")
    newest = stored(store, ONE, session="20260102T030406Z-00000000")
    stored(store, TWO, session="20260102T030405Z-00000001")
    document, problems = one_document(store, read_state(store, "m"))
    assert problems == []
    assert (document.session.id, document.session.cell) == (newest, None)
    assert [case.params["hardware"] for case in document.cases] == ["cpu", "L4"]
    assert len({case.key for case in document.cases}) == 2


def test_a_result_that_says_that_it_cannot_be_right_is_spoiled(store: Store) -> None:
    good, bad = a_document(ONE), a_document(TWO)
    bad.cases[0].processes[0].rounds[0].invalid = "the clock went backwards"
    store.write(good)
    store.write(bad)
    cells = read_state(store, "m").cells
    assert [spoiled(store, cell) for cell in cells] == [[], [bad.session.id]]
    good.cases[0].verdict = "invalid"
    store.write(good)
    assert spoiled(store, cells[0]) == [good.session.id]


def test_age_is_that_of_the_measurement(store: Store) -> None:
    old = stored(store, ONE, session="20200102T030405Z-00000000")
    stored(store, ONE, session=new_session_id(time.time()))
    assert older(read_state(store, "m").cells[0], 86400) == [old]
