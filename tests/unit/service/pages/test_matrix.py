"""Does the page of a matrix say how far it is, what failed, and what was measured?"""

from __future__ import annotations

import re
from typing import Any

import pytest

from pytest_llmbench.matrix.lock import driving
from pytest_llmbench.matrix.summary import PLAN, matrix_folder
from pytest_llmbench.results.index.build import Index
from pytest_llmbench.service.state import Service
from tests.fakes.a_matrix import cells, write_matrix


def test_the_list_has_each_matrix_with_how_far_it_is(asks: Any, measured_matrix: Service) -> None:
    write_matrix(measured_matrix.store, "empty", of=cells(("tiny",), ("vllm",)), done=0.0)
    folder = matrix_folder(measured_matrix.store, "bad")
    folder.mkdir()
    (folder / PLAN).write_text("{")
    text = asks.get("/ui/matrix").text
    assert 'href="/ui/matrix/nightly"' in text
    assert "81 done, 5 failed, 22 left" in text
    assert text.count("is damaged") == 1


def test_a_matrix_says_how_far_it_is_and_the_last_words_of_what_failed(asks: Any) -> None:
    text = asks.get("/ui/matrix/nightly").text
    assert "81 of 108 cells done; no process drives it now" in text
    assert '<progress max="100" value="79"' in text
    assert "Failed: 5 by the engine, every time." in text
    assert text.count("CUDA out of memory, cell 4") == 2
    # What was measured leads to its result.
    assert len(re.findall(r'<a href="/ui/sessions/', text)) == 45
    assert "hx-trigger" not in text


def test_a_matrix_that_is_driven_asks_again_and_one_that_is_not_does_not(
    asks: Any, measured_matrix: Service
) -> None:
    address = "/ui/matrix/nightly/live"
    with driving(matrix_folder(measured_matrix.store, "nightly")):
        text = asks.get(address).text
        assert 'hx-trigger="every 10s' in text
        assert "the rest takes about" in text
    assert "hx-trigger" not in asks.get(address).text


@pytest.mark.parametrize(("state", "number"), [("", 108), ("done", 81), ("failed", 5), ("left", 22)])
def test_the_table_has_each_cell_of_a_state_once(asks: Any, state: str, number: int) -> None:
    seen: list[str] = []
    address: str | None = f"/ui/matrix/nightly?state={state}"
    while address:
        text = asks.get(address).text
        body = text[text.index('<h2 id="cells">') :]
        seen += re.findall(r'<th scope="row" class="text">(?:<a [^>]*>)?([^<]+)', body)
        following = re.search(r'<a href="([^"]+)" rel="next"', text)
        address = following[1].replace("&amp;", "&") if following else None
    assert len(seen) == len(set(seen)) == number


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/ui/matrix/none", 404, "There is no matrix"),
        ("/ui/matrix/..%2f..%2fetc/live", 404, "There is nothing here"),
        ("/ui/matrix/nightly?metric=none", 422, "there is no metric"),
        ("/ui/matrix/nightly?across=colour", 422, "is not an axis of this matrix"),
        ("/ui/matrix/nightly?across=model&down=model", 422, "choose two different axes"),
        ("/ui/matrix/nightly?only.load=c99", 422, "no cell has load"),
        ("/ui/matrix/nightly?after=none", 422, "has no cell"),
    ],
)
def test_bad_input_is_said_in_a_page(asks: Any, address: str, status: int, said: str) -> None:
    answer = asks.get(address)
    assert answer.status_code == status
    assert said in answer.text
    assert '<nav aria-label="Pages">' in answer.text


def test_without_a_matrix_it_says_how_to_run_one(asks: Any, measured_matrix: Service) -> None:
    (matrix_folder(measured_matrix.store, "nightly") / PLAN).unlink()
    Index(measured_matrix.store, measured_matrix.database).update()
    assert "llmbench matrix run" in asks.get("/ui/matrix").text


def test_what_others_wrote_is_not_html(asks: Any, measured_matrix: Service) -> None:
    hostile = "<script>alert(1)</script>"
    write_matrix(measured_matrix.store, "named", of=cells((hostile, "tiny"), ("vllm",)), failed=1)
    Index(measured_matrix.store, measured_matrix.database).update()
    for address in ("/ui/matrix", "/ui/matrix/named", "/ui/matrix/named/live"):
        text = asks.get(address).text
        assert hostile not in text
        assert not re.search(r"\sstyle=|\son\w+=|<style", text)
