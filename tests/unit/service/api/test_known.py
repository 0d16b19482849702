"""Does a client learn what it may ask for?"""

from __future__ import annotations

from starlette.testclient import TestClient


def test_models_are_listed_with_what_is_known_of_their_files(client: TestClient) -> None:
    items = {one["model_id"]: one for one in client.get("/models").json()["items"]}
    assert items["tiny"]["parameters"] > 0
    assert {"gguf", "hf"} <= {form["form"] for form in items["tiny"]["forms"]}


def test_suites_are_listed_by_name(client: TestClient) -> None:
    (suite,) = client.get("/suites").json()["items"]
    assert (suite["name"], suite["links"]["runs"]) == ("quick", "/suites/quick/runs")
