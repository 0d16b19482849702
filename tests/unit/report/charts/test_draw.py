"""Is what is drawn what stands in the chart?"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib")

from pytest_llmbench.report.charts.draw import Form, draw_svg, write_pictures
from pytest_llmbench.report.charts.model import Axis, Band, Chart, Line, Series, Shape

SVG = "{http://www.w3.org/2000/svg}"
USE = "{http://www.w3.org/1999/xlink}href"


def _chart(shape: Shape = "line", points: int = 5, **more: object) -> Chart:
    values = tuple((float(n), 0.01 * (n + 1)) for n in range(points))
    if shape == "interval":
        values = tuple((x, y, y * 0.9, y * 1.1) for x, y in values)  # type: ignore[misc]
    return Chart(
        **{
            "id": "a-chart",
            "title": "TTFT by <turn> & $model",
            "question": "What?",
            "x": Axis(label="turn"),
            "y": Axis(label="TTFT", unit="s"),
            "series": (Series(name="one", points=values, shape=shape),),
            **more,
        }  # type: ignore[arg-type]
    )


def _group(svg: str, gid: str) -> ElementTree.Element:
    (found,) = (one for one in ElementTree.fromstring(svg).iter(f"{SVG}g") if one.get("id") == gid)
    return found


@pytest.mark.parametrize("shape", ["line", "scatter"])
@pytest.mark.parametrize("points", [1, 2, 17])
def test_each_point_is_a_mark(shape: Shape, points: int) -> None:
    group = _group(draw_svg(_chart(shape, points)), "series-0")
    assert len(list(group.iter(f"{SVG}use"))) == points


@pytest.mark.parametrize("across", [False, True])
def test_each_bar_is_a_mark(across: bool) -> None:
    names = Axis(label="quantization", kind="category", categories=tuple("abcde"))
    svg = draw_svg(_chart("bar", x=names, across=across))
    assert len(re.findall(r'id="series-0-\d+"', svg)) == 5


@pytest.mark.parametrize("across", [False, True])
def test_intervals_are_drawn_also_where_an_end_is_not_known(across: bool) -> None:
    series = Series(name="one", points=((0.0, 1.0, 0.5, 2.0), (1.0, 1.0, None, None)), shape="interval")
    group = _group(draw_svg(_chart(series=(series,), across=across)), "series-0")
    assert len(list(group.iter(f"{SVG}use"))) == 2


def test_a_point_without_a_value_has_no_mark() -> None:
    series = Series(name="one", points=((0.0, 1.0), (1.0, None), (2.0, 3.0)))
    group = _group(draw_svg(_chart(series=(series,))), "series-0")
    assert len(list(group.iter(f"{SVG}use"))) == 2


def test_a_map_says_its_numbers() -> None:
    svg = draw_svg(
        _chart(
            x=Axis(label="load", kind="category", categories=("1", "4")),
            y=Axis(label="model", kind="category", categories=("a", "b")),
            z=Axis(label="throughput", unit="tokens/s"),
            series=(Series(name="t", points=((0.0, 0.0, 123.0), (1.0, 1.0, 456.0)), shape="heat"),),
        )
    )
    assert ">123<" in svg
    assert ">456<" in svg


def test_text_stays_text_and_is_escaped() -> None:
    svg = draw_svg(_chart())
    assert "TTFT by &lt;turn&gt; &amp; $model" in svg
    assert "TTFT (ms)" in svg


def test_bands_and_lines_are_drawn_with_their_names() -> None:
    svg = draw_svg(
        _chart(
            bands=(Band(start=1.0, end=2.0, label="disturbed", role="disturbed"),),
            lines=(Line(value=0.02, label="the threshold", role="threshold"),),
        )
    )
    assert "the threshold" in svg


def test_logarithmic_axes_have_figures() -> None:
    svg = draw_svg(_chart(x=Axis(label="depth", kind="log", unit="tokens"),
                          series=(Series(name="a", points=((100.0, 1.0), (10_000.0, 2.0))),)))  # fmt: skip
    assert ">1000<" in svg
    assert "mathdefault" not in svg


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_same_chart_gives_the_same_bytes(tmp_path: Path, form: Form) -> None:
    (one,), (two,) = (write_pictures([_chart()], tmp_path / name, form) for name in "ab")
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes().startswith(b"\x89PNG" if form == "png" else b"<?xml")


def test_one_without_a_picture_is_not_written(tmp_path: Path) -> None:
    charts = [_chart(), _chart(id="b", series=(), missing="nothing was measured")]
    assert [path.name for path in write_pictures(charts, tmp_path / "new", "svg")] == ["a-chart.svg"]
    with pytest.raises(ValueError, match="nothing was measured"):
        draw_svg(charts[1])
