"""What has a session measured that was killed, and may it go on?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.results.journal import Journal
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.results.resume import kept_of
from pytest_llmbench.results.store import Store

MakeDocument = Callable[..., ResultsDocument]
ID = "20260102T030405Z-0a1b2c3d"


def _killed(store: Store, document: ResultsDocument) -> None:
    journal = Journal.create(store, document)
    journal.append(*document.cases)
    journal.close()


@pytest.mark.parametrize("ref", [ID, "latest", "0a1b", "20260102"])
def test_a_session_is_found_by_its_id_and_by_parts_of_it(
    store: Store, document_maker: MakeDocument, ref: str
) -> None:
    document = document_maker(ID)
    _killed(store, document)
    kept = kept_of(store, ref)
    assert kept.document.session.id == ID
    assert kept.done == {case.nodeid for case in document.cases}
    assert kept.part == "r001"


def test_a_case_that_was_interrupted_is_not_done(store: Store, document_maker: MakeDocument) -> None:
    document = document_maker(ID)
    document.cases[0].outcome = "interrupted"
    _killed(store, document)
    assert document.cases[0].nodeid not in kept_of(store, ID).done


def test_a_part_that_means_two_is_refused(store: Store, document_maker: MakeDocument) -> None:
    for session in (ID, "20260102T030405Z-0a1b2c3e"):
        _killed(store, document_maker(session))
    with pytest.raises(UsageError, match="means 2 sessions"):
        kept_of(store, "20260102")
