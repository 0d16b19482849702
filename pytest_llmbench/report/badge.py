"""What does one number of a case, with its verdict, look like in a README?

A badge is made for the page that shows it: as SVG, or as JSON for the endpoint of shields.io
(https://shields.io/badges/endpoint-badge), which draws it itself. It is gray where it no longer holds:
the case was measured too long ago, or not at all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from pytest_llmbench.errors import needs_extra, one_line
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import quantity, span
from pytest_llmbench.results.verdict import Verdict
from pytest_llmbench.secrets import mask
from pytest_llmbench.times import read_iso

if TYPE_CHECKING:
    from pytest_llmbench.processes.wire import Json
    from pytest_llmbench.results.records import CaseRecord, Header

DEFAULT_METRIC = "ttft"
DEFAULT_AGE = "30d"
"""How old a measurement may be, as :func:`.times.read_span` reads it."""

_LONGEST = 80
"""Characters of each side: a badge is read at a glance."""
_GRAY, _BLUE = "#9f9f9f", "#007ec6"
_RED, _ORANGE, _YELLOW, _GREEN = "#e05d44", "#fe7d37", "#dfb317", "#4c1"
_COLORS = {
    Verdict.PASS: _GREEN,
    Verdict.FAIL: _RED,
    Verdict.INCONCLUSIVE: _YELLOW,
    Verdict.INVALID: _ORANGE,
    Verdict.NEW: _BLUE,
}
"""By verdict, those that shields.io uses for the like."""

_TEMPLATE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{{ left + right }}" height="20" role="img" \
aria-label="{{ label }}: {{ message }}">
<title>{{ label }}: {{ message }}</title>
<clipPath id="round"><rect width="{{ left + right }}" height="20" rx="3"/></clipPath>
<g clip-path="url(#round)">
<rect width="{{ left }}" height="20" fill="#555"/>
<rect x="{{ left }}" width="{{ right }}" height="20" fill="{{ color }}"/>
</g>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{{ left / 2 }}" y="14" textLength="{{ left - 12 }}">{{ label }}</text>
<text x="{{ left + right / 2 }}" y="14" textLength="{{ right - 12 }}">{{ message }}</text>
</g>
</svg>
"""


@dataclass(frozen=True, slots=True)
class Badge:
    """What is written on a badge, in one line each, without secrets."""

    label: str
    message: str
    color: str
    """``#RGB`` or ``#RRGGBB``."""

    def json(self) -> Json:
        """What the endpoint of shields.io reads."""
        return {"schemaVersion": 1, "label": self.label, "message": self.message, "color": self.color}

    def svg(self) -> str:
        """The badge as a picture of its own, 20 pixels high; names are escaped.

        :raises UsageError: if Jinja2 is not installed.
        """
        drawn: str = _template().render(
            label=self.label,
            message=self.message,
            color=self.color,
            left=_width(self.label),
            right=_width(self.message),
        )
        return drawn


def badge(
    header: Header,
    case: CaseRecord | None,
    metric: str = DEFAULT_METRIC,
    *,
    max_age: float = 30 * 86400,
    now: float | None = None,
    label: str | None = None,
) -> Badge:
    """The median of *metric* of *case*, and the verdict if there is one.

    :param header: of the document that the case is of; its session's date is the measurement's.
    :param case: None where it is not known, which is a gray badge.
    :param max_age: seconds; an older measurement is gray, and says how old it is.
    :param now: seconds since 1970; this moment by default.
    :param label: what the left side says; by default the model and the metric.
    :raises UsageError: if there is no such metric.
    """
    row = METRICS.named(metric)
    head = row.head or row.name
    if case is None:
        return _badge(label or head, "unknown", _GRAY)
    model = case.model
    named = label or " ".join(filter(None, (model.alias or model.name, model.quantization, head)))
    record = case.metrics.get(metric)
    value = "not measured" if record is None else quantity(record.median, record.unit)
    age = _age(header, time.time() if now is None else now)
    if age is None:
        return _badge(named, f"{value}, of unknown age", _GRAY)
    if age > max_age:
        return _badge(named, f"{value}, {_days(age)} old", _GRAY)
    if case.outcome != "passed" and case.verdict != Verdict.FAIL:
        # A test may fail by an assertion of its own, or not have run at all.
        color = _RED if case.outcome in ("failed", "error") else _GRAY
        return _badge(named, case.outcome if record is None else f"{value}, {case.outcome}", color)
    if record is None:
        return _badge(named, value, _GRAY)
    if case.verdict is None:
        return _badge(named, value, _BLUE)
    color = next((color for verdict, color in _COLORS.items() if verdict == case.verdict), _GRAY)
    return _badge(named, f"{value}, {case.verdict}", color)


def _badge(label: str, message: str, color: str) -> Badge:
    return Badge(one_line(mask(label), _LONGEST), one_line(mask(message), _LONGEST), color)


def _age(header: Header, now: float) -> float | None:
    """Seconds since the session; None where its date cannot be read, or has not come yet."""
    try:
        age = now - read_iso(header.session.ended or header.session.started)
    except (ValueError, OverflowError):
        return None
    # Clocks of two machines differ by minutes.
    return max(age, 0.0) if age > -3600 else None


def _days(age: float) -> str:
    return f"{age / 86400:.0f} d" if age >= 2 * 86400 else span(age)


def _width(text: str) -> int:
    """Pixels that *text* takes at 11 pixels of Verdana, with room at both ends.

    The picture makes the text as long as that, whichever font draws it.
    """
    narrow = sum(character in "il.,:;|!'()[]jtfrI " for character in text)
    wide = sum(east_asian_width(character) in "WF" for character in text)
    return round(12 + narrow * 4.2 + wide * 11.5 + (len(text) - narrow - wide) * 7.1)


@cache
def _template() -> Any:
    try:
        import jinja2
    except ImportError:
        raise needs_extra("badges as SVG", "Jinja2", "report") from None
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_TEMPLATE)
