"""How is a chart drawn without a browser: as SVG, whose text stays text, or as PNG?

matplotlib draws on figures of its own, so that nothing of a user's is touched; the same chart gives the same
bytes. Every point is a mark of the drawing, as on the page.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.errors import needs_extra, shown
from pytest_llmbench.report.charts import palette
from pytest_llmbench.report.charts.model import Axis, Chart, Series, scale_of
from pytest_llmbench.results.files import atomic_write, make_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Form = Literal["png", "svg"]
_WIDTH = 8.0
"""Inches: 800 px."""
_DPI = 100
_LONGEST = 48
"""Characters of a name; the table behind the chart has the whole one."""
_MARKS = {
    "circle": "o", "rect": "s", "triangle": "^", "diamond": "D", "pin": "v", "arrow": ">", "roundRect": "P",
}  # fmt: skip
_STYLES = {"solid": "-", "dashed": "--", "dotted": ":"}
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pytest-llmbench",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
    "axes.edgecolor": "#6b6b6b",
    # A "$" of a model's name is not the beginning of a formula.
    "text.parse_math": False,
}


def draw_svg(chart: Chart) -> str:
    """*chart* as an SVG element; the ``gid`` of each series is ``series-N``.

    :raises UsageError: without the extra ``report``.
    :raises ValueError: for one that has no picture.
    """
    return _drawn(chart, "svg").decode()


def write_pictures(charts: Iterable[Chart], folder: Path, form: Form) -> list[Path]:
    """A file for each chart that has a picture, called as its id. Returns their paths.

    :raises ResultsError: if one cannot be written.
    :raises UsageError: without the extra ``report``.
    """
    make_folder(folder)
    written = []
    for chart in charts:
        if chart.missing is None:
            path = folder / f"{chart.id}.{form}"
            atomic_write(path, _drawn(chart, form))
            written.append(path)
    return written


def _drawn(chart: Chart, form: Form) -> bytes:
    if chart.missing is not None:
        msg = f"the chart {chart.id} has no picture: {chart.missing}"
        raise ValueError(msg)
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise needs_extra("pictures", "matplotlib", "report") from None
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, _height(chart)), dpi=_DPI, layout="constrained")
        _draw(chart, figure)
        out = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        figure.savefig(out, format=form, metadata=metadata)
    return out.getvalue()


def _height(chart: Chart) -> float:
    names = len(chart.x.categories) if chart.across else 0
    names = max(names, len(chart.y.categories) if chart.z is not None else 0)
    return min(max(4.2, 1.6 + 0.32 * names), 24.0)


def _draw(chart: Chart, figure: Figure) -> None:
    axes = figure.add_subplot()
    scales = {which: scale_of(chart, which) for which in ("x", "y", "z")}
    # Across, what the chart calls x runs downwards.
    _label(axes, chart.x, scales["x"], "y" if chart.across else "x")
    _label(axes, chart.y, scales["y"], "x" if chart.across else "y")
    for band in chart.bands:
        span = axes.axvspan if (band.axis == "x") != chart.across else axes.axhspan
        factor = scales[band.axis].factor
        ends = [_at(chart, band.axis, end, factor) for end in (band.start, band.end)]
        span(*ends, color=palette.ROLES_LIGHT[band.role], alpha=0.15, lw=0)
    for line in chart.lines:
        mark = axes.axvline if (line.axis == "x") != chart.across else axes.axhline
        place = _at(chart, line.axis, line.value, scales[line.axis].factor)
        mark(place, color=palette.ROLES_LIGHT[line.role], lw=1, ls="--", label=_name(line.label))
    bars = [one for one in chart.series if one.shape == "bar"]
    for number, series in enumerate(chart.series):
        beside = (bars.index(series) if series in bars else 0, max(len(bars), 1))
        _series(axes, chart, series, number, scales, beside)
    if chart.across:
        axes.invert_yaxis()
    title = "\n".join(textwrap.wrap(shown(chart.title), 90))
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=8)


def _series(
    axes: Axes,
    chart: Chart,
    series: Series,
    number: int,
    scales: dict[str, Any],
    place: tuple[int, int],
) -> None:
    at = number if series.color is None else series.color
    own = palette.LIGHT[at % len(palette.LIGHT)]
    color = palette.ROLES_LIGHT[series.role] if series.role != "own" else own
    mark = _MARKS[palette.MARKS[(at // len(palette.LIGHT)) % len(palette.MARKS)]]
    name, gid = _name(series.name), f"series-{number}"
    if series.shape == "heat":
        _heat(axes, chart, series, scales["z"].factor, gid)
        return
    xs = [math.nan if p[0] is None else _at(chart, "x", p[0], scales["x"].factor) for p in series.points]
    ys = [math.nan if p[1] is None else p[1] * scales["y"].factor for p in series.points]
    if series.shape == "bar":
        index, several = place
        width = 0.8 / several
        shifted = [x - 0.4 + width * (index + 0.5) for x in xs]
        drawn = (axes.barh if chart.across else axes.bar)(shifted, ys, width, color=color, label=name)
        for number_of, patch in enumerate(drawn.patches):
            patch.set_gid(f"{gid}-{number_of}")
        return
    a, b = (ys, xs) if chart.across else (xs, ys)
    if series.shape == "interval":
        factor = scales["y"].factor
        lows, highs = (
            [math.nan if (end := p[i]) is None else end * factor for p in series.points] for i in (2, 3)
        )
        below = [max(y - low, 0) for y, low in zip(ys, lows, strict=True)]
        errors = [below, [max(high - y, 0) for y, high in zip(ys, highs, strict=True)]]
        along = {"xerr" if chart.across else "yerr": errors}
        held = axes.errorbar(a, b, fmt=mark, color=color, ms=5, capsize=3, lw=1.2, label=name, **along)  # type: ignore[arg-type]
        held.lines[0].set_gid(gid)
        return
    style = {
        "ls": "none" if series.shape == "scatter" else _STYLES[series.style],
        "marker": "none" if series.shape == "step" and len(series.points) > 1 else mark,
        "drawstyle": "steps-post" if series.shape == "step" else "default",
    }
    (line,) = axes.plot(a, b, color=color, ms=4.5, lw=1.6, label=name, **style)  # type: ignore[arg-type]
    line.set_gid(gid)


def _heat(axes: Axes, chart: Chart, series: Series, factor: float, gid: str) -> None:
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap

    grid = np.full((len(chart.y.categories), len(chart.x.categories)), math.nan)
    for x, y, value in series.points:
        if x is not None and y is not None and value is not None:
            grid[int(y), int(x)] = value * factor
    colors = LinearSegmentedColormap.from_list("heat", palette.HEAT)
    drawn = axes.imshow(grid, cmap=colors, aspect="auto")
    drawn.set_gid(gid)
    axes.grid(visible=False)
    least, most = np.nanmin(grid), np.nanmax(grid)
    for (y, x), value in np.ndenumerate(grid):
        if not math.isnan(value):
            dark = most > least and (value - least) / (most - least) > 0.6
            color = "white" if dark else "black"
            axes.text(x, y, f"{value:.3g}", ha="center", va="center", color=color, fontsize=8)
    assert chart.z is not None
    figure = axes.figure
    figure.colorbar(drawn, ax=axes, label=_axis_label(chart.z, scale_of(chart, "z").unit))


def _label(axes: Axes, axis: Axis, scale: Any, which: str) -> None:
    own = axes.xaxis if which == "x" else axes.yaxis
    own.set_label_text(_axis_label(axis, scale.unit))
    if axis.kind == "category":
        own.set_ticks(range(len(axis.categories)), [_name(name) for name in axis.categories])
        if which == "x" and sum(map(len, axis.categories)) > 70:
            axes.tick_params("x", rotation=30)
            for tick in axes.get_xticklabels():
                tick.set_horizontalalignment("right")
    elif axis.kind == "log":
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        # In figures: 200, not a power of ten.
        own.set_major_formatter(lambda value, _: f"{value:g}")
        own.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")


def _axis_label(axis: Axis, unit: str | None) -> str:
    return f"{shown(axis.label)} ({unit})" if unit else shown(axis.label)


def _at(chart: Chart, which: str, value: float, factor: float) -> Any:
    """Where a value is on its axis, in that axis's scaled unit; of a time, the time."""
    axis = chart.x if which == "x" else chart.y
    return datetime.fromtimestamp(value, UTC) if axis.kind == "time" else value * factor


def _name(text: str) -> str:
    text = shown(text)
    # matplotlib leaves out of a legend what begins so.
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f" {text}" if text.startswith("_") else text
