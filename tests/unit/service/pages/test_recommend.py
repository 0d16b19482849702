"""Does the page say which one to take, why, and what it leaves out?"""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest

from pytest_llmbench.results.index.build import Index
from pytest_llmbench.service.state import Service
from tests.fakes.a_matrix import cells, write_matrix


def test_without_a_question_it_weighs_all_alike(asks: Any) -> None:
    text = asks.get("/ui/recommend").text
    assert "81 of 81 configurations meet every limit" in text
    assert "by cost 50%, throughput 50%" in text
    assert re.search(r'<td class="rank">1</td><th scope="row" class="text"><a href="/ui/cases/', text)
    # What it does not know, it says.
    assert "quality does not count: it was not measured" in text
    assert "Not sure: " in text


def test_limits_weights_and_choices_of_the_query_hold(asks: Any) -> None:
    text = asks.get(
        "/ui/recommend?use=chatbot&slo.ttft=p95%3C200ms&budget=20/h&weight.cost=2&weight.ttft=1"
        "&hardware=L4,+H100&market=on_demand"
    ).text
    assert 'value="p95&lt;200ms"' in text
    assert "by cost 67%, ttft 33%" in text
    assert "A100-80GB, c1" not in text
    assert "What the limits leave out" in text
    assert "ttft p95 &lt; 200 ms" in text
    asked = re.search(r"POST /recommendations\n([^<]+)</pre>", text)
    assert asked is not None
    question = json.loads(unescape(asked[1]))
    assert question["weights"] == {"cost": 2, "ttft": 1}
    assert question["hardware"] == ["L4", "H100"]
    # The same question gets the same answer over HTTP.
    first = asks.post("/recommendations", json=question).json()["ranked"][0]["configuration"]
    assert (
        f'<td class="rank">1</td><th scope="row" class="text"><a href="/ui/cases/{first["session"]}/' in text
    )


def test_what_no_configuration_meets_says_which_limit_costs_how_much(asks: Any) -> None:
    answer = asks.get("/ui/recommend?slo.ttft=p95%3C1ms")
    assert answer.status_code == 200
    assert "No configuration is known to meet every limit" in answer.text
    assert "Near misses" in answer.text
    assert re.search(
        r"ttft p95 &lt; 1 ms</th><td>81</td><td>81</td><td>0</td><td>[0-9.]+ ms</td>", answer.text
    )


def test_limits_that_leave_nothing_out_are_not_told(asks: Any) -> None:
    assert "What the limits leave out" not in asks.get("/ui/recommend?slo.ttft=p95%3C100s").text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("slo.ttft=fast", "is not a limit"),
        ("budget=cheap", "is not valid"),
        ("weight.cost=much", "it has to be a number"),
        ("weight.cost=nan", "weights"),
        ("use=games", "use"),
        ("market=none", "market"),
        ("workload=none", "no workload"),
        (f"models={'x' * 490}", "models"),
    ],
)
def test_bad_input_is_said_in_the_page_and_kept_in_its_field(asks: Any, query: str, said: str) -> None:
    answer = asks.get(f"/ui/recommend?{query}")
    assert answer.status_code == 422
    problem = re.search(r'<p class="problem" role="alert">([^<]+)', answer.text)
    assert problem is not None
    assert said in problem[1]


def test_what_others_wrote_is_not_html(asks: Any, measured_matrix: Service) -> None:
    hostile = "<script>alert(1)</script>"
    write_matrix(measured_matrix.store, "named", of=cells((hostile, "tiny"), ("vllm",)))
    Index(measured_matrix.store, measured_matrix.database).update()
    for query in ("every=yes", f"models={hostile}", f"slo.ttft={hostile}", f"workload={hostile}"):
        text = asks.get(f"/ui/recommend?{query}").text
        assert hostile not in text
        assert not re.search(r"\sstyle=|\son\w+=|<style", text)


def test_leaderboard_and_first_page_lead_to_it(asks: Any) -> None:
    for address in ("/", "/ui/leaderboard"):
        assert 'href="/ui/recommend"' in asks.get(address).text.partition("<main")[2]


def test_a_picture_has_what_meets_the_limits(asks: Any) -> None:
    text = asks.get("/ui/recommend?slo.ttft=p95%3C50ms").text
    data = re.search(r'id="charts-data">([^<]+)</script>', text)
    assert data is not None
    (chart,) = json.loads(data[1])["charts"]
    meeting = asks.post("/recommendations", json={"slo": {"ttft": "p95<50ms"}}).json()["meeting"]
    points = [point for one in chart["series"] if one["role"] == "own" for point in one["points"]]
    assert len(points) == meeting
    assert [one["name"] for one in chart["series"] if one["role"] == "pareto"] == ["not beaten"]


def test_an_empty_store_says_what_to_do(asks: Any, measured_matrix: Service) -> None:
    for path in measured_matrix.store.paths():
        path.unlink()
    Index(measured_matrix.store, measured_matrix.database).update()
    text = asks.get("/ui/recommend").text
    assert "There is nothing to compare" in text
