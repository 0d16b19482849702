"""How does what a page found become HTML?

Everything is escaped by Jinja, and what others wrote (a log, a model's name, an error) is without secrets and
without characters that act on a terminal before that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from pytest_llmbench._version import __version__
from pytest_llmbench.errors import needs_extra, one_line, shown
from pytest_llmbench.metrics import units
from pytest_llmbench.service.pages.static import static_files
from pytest_llmbench.times import iso, read_iso

if TYPE_CHECKING:
    from jinja2 import Environment

    from pytest_llmbench.report.charts.model import Chart

PAGES = (
    ("/", "Start"),
    ("/ui/jobs", "Jobs"),
    ("/ui/results", "Results"),
    ("/ui/compare", "Compare"),
    ("/ui/trends", "Trends"),
    ("/ui/leaderboard", "Leaderboard"),
    ("/ui/pareto", "Pareto"),
    ("/ui/recommend", "Recommend"),
    ("/ui/matrix", "Matrices"),
)
"""What stands in the navigation: where it is, and what it is called."""


def rendered(template: str, **values: object) -> str:
    """The page that *template* makes of *values*."""
    return environment().get_template(template).render(values)


@cache
def environment() -> Environment:
    """The templates of the service.

    :raises UsageError: without the extra ``service``.
    """
    try:
        import jinja2
    except ImportError:
        raise needs_extra("pages", "Jinja2", "service") from None
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_llmbench.service"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        quantity=units.quantity,
        cell=units.cell,
        moment=moment,
        iso=iso_date,
        clean=clean,
        line=one_line,
        counted=units.count,
        data=as_data,
        chart_data=chart_data,
        figure=figure,
        path=lambda text: quote(str(text), safe=""),
    )
    made.globals.update(pages=PAGES, version=__version__, static=static_address, address=address)
    return made


def static_address(name: str) -> str:
    """Where a page finds the file *name*."""
    return static_files()[name].address


def address(path: str, given: Iterable[tuple[str, str]] = (), **changed: object) -> str:
    """*path* with the query of a page, *given* as pairs, in which some keys are *changed*.

    A key that is None goes; the others stand once, but for those that were given more often.
    """
    pairs = [(key, value) for key, value in given if key not in changed]
    pairs += [(key, str(value)) for key, value in changed.items() if value not in (None, "")]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def moment(given: str | datetime | None) -> str:
    """A date, or its ISO 8601, as ``28 Nov 2026, 03:10``; UTC, which the pages say once."""
    if not given:
        return units.UNKNOWN
    if isinstance(given, str):
        try:
            at = datetime.fromtimestamp(read_iso(given), UTC)
        except (ValueError, OverflowError, OSError):
            return one_line(given, 30)
    else:
        at = given.astimezone(UTC)
    return f"{at.day} {at:%b %Y, %H:%M}"


def iso_date(given: str | datetime) -> str:
    """A date for machines."""
    return given if isinstance(given, str) else iso(given.timestamp())


def clean(text: object) -> str:
    """What others wrote, for a page."""
    return shown(str(text))


def as_data(value: object) -> str:
    """JSON that may stand in a script element: nothing in it ends the element."""
    import markupsafe

    text = json.dumps(value, allow_nan=False, ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return markupsafe.Markup(text)


def chart_data(charts: Iterable[Chart]) -> str:
    """What the charts of a page are drawn from, for its script element."""
    from pytest_llmbench.report.charts.model import as_json
    from pytest_llmbench.report.charts.palette import as_json as palette

    return as_data({"palette": palette(), "charts": [as_json(chart) for chart in charts]})


def figure(value: str | float | None, unit: str | None) -> str:
    """A cell of the table behind a chart."""
    if isinstance(value, str):
        return value
    return units.quantity(value, unit) if unit else units.number(value)
