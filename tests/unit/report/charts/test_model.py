"""Does a chart's JSON say what the chart does, and is none empty in silence?"""

from __future__ import annotations

import json
import math

import pytest

from pytest_llmbench.report.charts.model import Axis, Band, Chart, Column, Line, Series, as_json, scale_of

PLAIN = {
    "id": "a",
    "title": "A",
    "question": "How long?",
    "x": Axis(label="n"),
    "y": Axis(label="TTFT", unit="s"),
}


def a_chart(**more: object) -> Chart:
    series = Series(name="one", points=((1.0, 0.004), (2.0, None), (3.0, 0.006)), labels=("a", "b", "c"))
    return Chart(**{**PLAIN, "series": (series,), **more})  # type: ignore[arg-type]


def test_its_json_is_the_chart() -> None:
    chart = a_chart(
        bands=(Band(start=1.0, end=2.0, label="busy", role="disturbed"),),
        lines=(Line(value=0.005, label="limit", role="threshold"),),
        columns=(Column(head="n"), Column(head="TTFT", unit="s")),
        rows=((1, 0.004),),
        note="of two",
    )
    told = as_json(chart)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["series"][0]["points"] == [[1.0, 0.004], [2.0, None], [3.0, 0.006]]
    assert told["series"][0]["labels"] == ["a", "b", "c"]
    assert told["bands"] == [{"start": 1.0, "end": 2.0, "label": "busy", "axis": "x", "role": "disturbed"}]
    assert told["lines"] == [{"value": 0.005, "label": "limit", "axis": "y", "role": "threshold"}]
    assert told["columns"][1] == {"head": "TTFT", "unit": "s"}
    assert told["rows"] == [[1, 0.004]]
    assert told["note"] == "of two"


def test_an_axis_is_scaled_for_a_person_and_its_values_are_not() -> None:
    told = as_json(a_chart())
    assert told["y"]["unit"] == "s"
    assert told["y"]["scale"] == {"factor": pytest.approx(1000), "unit": "ms"}
    assert told["x"]["scale"] == {"factor": 1.0, "unit": None}


def test_a_threshold_counts_for_the_scale() -> None:
    assert scale_of(a_chart(lines=(Line(value=2.0, label="limit"),)), "y").unit == "s"


def test_what_is_not_a_number_is_null() -> None:
    told = as_json(a_chart(series=(Series(name="one", points=((1.0, 0.1, math.nan, math.inf),)),)))
    assert told["series"][0]["points"] == [[1.0, 0.1, None, None]]


def test_a_chart_without_points_has_to_say_why() -> None:
    with pytest.raises(ValueError, match="0 points"):
        a_chart(series=())
    assert as_json(a_chart(series=(), missing="nothing was measured"))["missing"] == "nothing was measured"


def test_a_chart_with_points_is_not_missing() -> None:
    with pytest.raises(ValueError, match="2 points"):
        a_chart(missing="nothing")
