"""Do the index and the documents say the same of a case over time?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from pytest_llmbench.gate.past import pasts_of
from pytest_llmbench.gate.trend import pasts_of_index
from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.store import Store


def test_the_index_says_what_the_documents_say(a_session: Callable[..., Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    documents = [a_session() for _ in range(3)]
    # One ended before anything was measured.
    documents[1].cases[0].outcome = "error"
    documents[1].cases[0].metrics, documents[1].cases[0].processes = {}, []
    for number, document in enumerate(documents, start=1):
        document.session.id = f"2026010{number}T000000Z-0a1b2c3d"
        store.write(document)
    index = Index.open(store)
    index.update()
    for metric in ("ttft", "tpot", "prefill_cpu_time", "instructions_per_token"):
        told = [past for past in pasts_of(documents, "", metric) if past.value is not None or past.left_out]
        assert any(past.left_out for past in told)
        found = sorted(pasts_of_index(index.database, "", metric), key=lambda one: (one.session, one.key))
        assert found == sorted(told, key=lambda one: (one.session, one.key))
    assert pasts_of_index(index.database, "nosuch", "ttft") == []
    assert pasts_of_index(index.database, documents[0].cases[0].nodeid.upper(), "ttft") == []
    index.close()
