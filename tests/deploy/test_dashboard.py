"""Does Grafana's dashboard say what its generator says?"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    """What ``make.py`` has, not run as a program."""
    return runpy.run_path(str(GRAFANA / "make.py"))


@pytest.fixture(scope="module")
def board(generator: dict[str, Any]) -> dict[str, Any]:
    """The dashboard that is kept."""
    found: dict[str, Any] = json.loads(generator["DASHBOARD"].read_text())
    return found


def test_the_dashboard_is_the_one_that_is_made(generator: dict[str, Any]) -> None:
    pytest.importorskip("grafana_foundation_sdk")
    assert generator["DASHBOARD"].read_text() == generator["made"]()


def test_each_panel_has_an_id_of_its_own(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) > 9
    assert all(ids)


def test_no_panel_names_a_data_source_of_its_own(board: dict[str, Any]) -> None:
    sources = {panel["datasource"]["uid"] for panel in board["panels"] if panel["type"] != "row"}
    assert sources == {"${source}"}
    assert board["templating"]["list"][0]["name"] == "source"


def test_each_panel_says_what_it_asks(board: dict[str, Any]) -> None:
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert all(panel["description"].endswith("?") for panel in panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
