"""How do documents become one page that needs nothing else?

One file with its styles, scripts, charts and numbers: it opens without a network, and a content security
policy of its own forbids it one. Tables are there without JavaScript.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench._version import __version__
from pytest_llmbench.errors import needs_extra, shown
from pytest_llmbench.metrics import units
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts import palette
from pytest_llmbench.report.charts.cases import entries
from pytest_llmbench.report.charts.draw import draw_svg
from pytest_llmbench.report.charts.model import Chart, as_json
from pytest_llmbench.report.charts.registry import charts_of
from pytest_llmbench.report.page import assets, view
from pytest_llmbench.report.uses import advice

if TYPE_CHECKING:
    from jinja2 import Environment

    from pytest_llmbench.results.records import ResultsDocument

TEMPLATES = Path(__file__).parent / "templates"


def html_report(
    documents: Sequence[ResultsDocument], problems: Sequence[str] = (), *, drawn: bool = False
) -> str:
    """A report of *documents* as HTML, side by side where there are several.

    :param problems: what could not be read, a line each.
    :param drawn: whether the charts are drawn already, by matplotlib, for what runs no scripts.
    :raises UsageError: if Jinja2 is not installed, or matplotlib where it draws.
    """
    found = entries(documents)
    charts = charts_of(documents) if found else []
    pictures = [chart for chart in charts if chart.missing is None]
    scripted = bool(pictures) and not drawn
    return (
        environment()
        .get_template("report.html")
        .render(
            documents=documents,
            problems=problems,
            version=__version__,
            verdicts=view.verdicts(documents, found),
            best=view.best_of(documents),
            advice=advice(documents),
            most_best=view.MOST_BEST,
            rows=METRICS,
            tables=view.tables(found, sessions=len(documents) > 1),
            charts=charts,
            machines=view.machines(documents),
            protocol=view.protocol(found),
            metrics=view.measured_metrics(found),
            drawings={chart.id: draw_svg(chart) for chart in pictures} if drawn else {},
            data=embedded({"palette": palette.as_json(), "charts": [_without_table(c) for c in pictures]}),
            library=assets.packed_library() if scripted else "",
            style=assets.text("page.css"),
            scripts=(*((assets.text("charts.js"),) if scripted else ()), assets.text("table.js")),
        )
    )


def environment() -> Environment:
    """What fills in the templates: all text is escaped, and what hides or is secret too.

    :raises UsageError: if Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise needs_extra("reports", "Jinja2", "report") from None

    def finalize(value: object) -> object:
        return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    made.globals.update(cell=_cell, css=_css_class, quantity=units.quantity, percent=units.precise_percent)
    made.filters["unescaped"] = Markup
    return made


def embedded(data: object) -> str:
    """*data* as JSON for a script element: no text in it ends the element, hides or is secret."""
    text = json.dumps(_shown(data), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {name: _shown(one) for name, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, list | tuple) else value


def _without_table(chart: Chart) -> dict[str, Any]:
    """The table stands in the page already."""
    return {name: value for name, value in as_json(chart).items() if name not in ("columns", "rows")}


def _cell(value: str | float | None, unit: str | None) -> str:
    """A cell of the table behind a chart."""
    if value is None or isinstance(value, str):
        return units.UNKNOWN if value is None else value
    return units.quantity(value, unit) if unit else units.number(value)


def _css_class(text: str) -> str:
    """*text* as the class of a chip."""
    return "".join(letter for letter in text if letter.isalnum())
