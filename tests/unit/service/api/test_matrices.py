"""Can a script follow a matrix?"""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from pytest_llmbench.matrix.executor import Outcome, Task
from pytest_llmbench.matrix.journal import MatrixJournal
from pytest_llmbench.matrix.summary import PLAN, matrix_folder, write_plan
from pytest_llmbench.service.state import Service
from tests.unit.matrix.plans import a_cell, a_plan, stored

CELLS = [a_cell(f"case{n}") for n in range(5)]
SESSION = "20260102T030405Z-00000001"


@pytest.fixture
def nightly(service: Service) -> str:
    """A matrix of five cells: the session that measured the third; the last one failed."""
    write_plan(service.store, a_plan(*CELLS, name="nightly"))
    journal = MatrixJournal(matrix_folder(service.store, "nightly"))
    task = Task(CELLS[4], "nightly", SESSION)
    journal.start(task)
    journal.end(Outcome(task, "engine", "killed\x1b[2J by signal 9", seconds=1.5), failed=True)
    journal.close()
    return stored(service.store, CELLS[2], matrix="nightly")


def pages(client: TestClient, address: str, key: str, **asked: Any) -> list[Any]:
    """All rows of a list, a page after the other."""
    rows: list[Any] = []
    after: str | None = None
    while True:
        answer = client.get(address, params={**asked, **({} if after is None else {"after": after})}).json()
        rows += answer[key]
        after = answer["next"]
        if after is None:
            return rows


def test_a_matrix_says_how_far_it_is(client: TestClient, nightly: str) -> None:
    found = client.get("/matrices/nightly").json()
    assert found["counts"] == {"done": 1, "running": 0, "failed": 1, "left": 3}
    assert found["failed_by"] == {"engine": 1}
    assert (found["driven"], found["seconds"], found["eta"]) == (False, 1.5, None)
    by_state = {cell["state"]: cell for cell in found["cells"]}
    assert by_state["done"]["sessions"] == [nightly]
    assert by_state["failed"]["reason"] == "killed\\x1b[2J by signal 9"
    assert [cell["id"] for cell in found["cells"]] == [cell.id for cell in CELLS]


@pytest.mark.usefixtures("nightly")
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 50])
def test_each_cell_is_on_one_page(client: TestClient, limit: int) -> None:
    cells = pages(client, "/matrices/nightly", "cells", limit=limit)
    assert [cell["id"] for cell in cells] == [cell.id for cell in CELLS]
    left = pages(client, "/matrices/nightly", "cells", limit=limit, state=["left", "failed"])
    assert [cell["id"] for cell in left] == [CELLS[n].id for n in (0, 1, 3, 4)]


def test_matrices_are_listed(client: TestClient, service: Service) -> None:
    assert client.get("/matrices").json() == {"items": [], "problems": [], "next": None}
    for name in ("b", "a", "c"):
        write_plan(service.store, a_plan(CELLS[0], name=name))
    assert [one["name"] for one in pages(client, "/matrices", "items", limit=2)] == ["a", "b", "c"]


@pytest.mark.usefixtures("nightly")
@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/matrices/none", 404, "there is no matrix 'none'"),
        ("/matrices/..%2f..%2fetc", 404, "nothing at this address"),
        ("/matrices/-x", 422, "path.name"),
        ("/matrices/nightly?after=0000000000000000", 422, "has no cell '0000000000000000'"),
        ("/matrices/nightly?state=lost", 422, "query.state"),
    ],
)
def test_bad_input_is_a_problem(client: TestClient, address: str, status: int, said: str) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


@pytest.mark.usefixtures("nightly")
def test_a_damaged_plan_is_said_and_hides_no_other(client: TestClient, service: Service) -> None:
    folder = matrix_folder(service.store, "bad")
    folder.mkdir(parents=True)
    (folder / PLAN).write_text('{"name": "bad"}')
    listed = client.get("/matrices").json()
    assert [one["name"] for one in listed["items"]] == ["nightly"]
    assert "is damaged" in listed["problems"][0]
    answer = client.get("/matrices/bad")
    assert answer.status_code == 503
    assert "is damaged" in answer.json()["detail"]
