"""How is a quantity written for a person?

Three significant digits and a unit that keeps the number below 1,000 where there is one. What is
not known is ``-``, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

UNKNOWN = "-"

_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_JOULES = ((1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"))


def number(value: float | None) -> str:
    """*value* with three significant digits and no exponent: ``0.0123``, ``80.5``, ``1380``."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    decimals = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    # 9.996 rounds up into the next power of ten, which has one decimal less.
    decimals = 2 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(decimals, 0)}f}"


def seconds(value: float | None) -> str:
    """A duration in seconds as ``1.23 s``, ``412 ms``, ``85.0 µs`` or ``31.0 ns``."""
    return _scaled(value, _SECONDS)


def span(value: float) -> str:
    """A time to wait, roughly: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if value < 100:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def size(value: float | None) -> str:
    """A size in bytes as ``512 B``, ``1.50 MiB``, ``13.5 GiB``: powers of 1,024."""
    return _scaled(value, _BYTES)


def joules(value: float | None) -> str:
    """An energy in joules as ``1.50 kJ``, ``12.3 J`` or ``3.40 mJ``."""
    return _scaled(value, _JOULES)


def rate(value: float | None) -> str:
    """A rate, its unit left to the column's head: ``80.5``, ``1380``, ``23.5k`` from 10,000 on."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return number(value) if abs(value) < 9_995 else f"{number(value / 1000)}k"


def percent(ratio: float | None) -> str:
    """A ratio as whole per cent, and one that is not 0 as ``<1%`` at least."""
    if ratio is None or not math.isfinite(ratio):
        return UNKNOWN
    return "<1%" if 0 < ratio < 0.005 else f"{ratio * 100:.0f}%"


def precise_percent(ratio: float | None) -> str:
    """A ratio as ``5%``, ``0.25%`` or ``36%``: two digits, whole ones from 10 on."""
    if ratio is None or not math.isfinite(ratio):
        return UNKNOWN
    value = ratio * 100
    return f"{value:.0f}%" if abs(value) >= 9.95 else f"{value:.2g}%"


def times(value: float | None) -> str:
    """How many times as much: ``×6.3``, ``×0.98``, ``×140``."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    decimals = 2 if abs(value) < 0.995 else 1 if abs(value) < 99.95 else 0
    return f"×{value:.{decimals}f}"


def count(number: int, what: str, plural: str | None = None) -> str:
    """``1 session``, ``2 sessions``; *plural* where it is more than an s."""
    return f"{number} {what}" if number == 1 else f"{number} {plural or f'{what}s'}"


def quantity(value: float | None, unit: str) -> str:
    """*value* in one of the metric table's units, as a person reads it, its unit included."""
    match unit:
        case "s":
            return seconds(value)
        case "bytes":
            return size(value)
        case "J":
            return joules(value)
        case "tokens":
            # They are counted: of two that differ, no digit may be left out.
            return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.10g} tokens"
        case "times":
            return times(value)
        case "share":
            return percent(value)
        case "J/token":
            text = joules(value)
            return text if text == UNKNOWN else f"{text}/token"
        case _:
            text = rate(value)
            return text if text == UNKNOWN else f"{text} {unit}"


def scale(unit: str | None, values: Iterable[float]) -> tuple[float, str | None]:
    """What all *values* of an axis are multiplied by to be read, and the unit that they have then.

    One of the metric table's units is scaled as :func:`quantity` scales the largest value: 0.004 s are 4 ms.
    """
    largest = max(map(abs, values), default=0.0)
    steps = {"s": _SECONDS, "bytes": _BYTES, "J": _JOULES, "J/token": _JOULES}.get(unit or "")
    if unit == "share":
        return 100.0, "%"
    if steps is None:
        return 1.0, unit
    fallback = next(step for step in steps if step[0] == 1)
    factor, name = next((s for s in steps if largest >= 0.9995 * s[0]), steps[-1]) if largest else fallback
    return 1 / factor, f"{name}/token" if unit == "J/token" else name


def cell(value: float | None, unit: str) -> str:
    """As :func:`quantity`, where a rate's unit stands at the head of the column."""
    return rate(value) if unit.endswith("/s") else quantity(value, unit)


def _scaled(value: float | None, units: tuple[tuple[float, str], ...]) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return f"0 {next(name for factor, name in units if factor == 1)}"
    for factor, name in units:
        # Half a unit of the third digit below 1 still rounds to 1.00 of this unit.
        if abs(value) >= 0.9995 * factor:
            return f"{number(value / factor)} {name}"
    factor, name = units[-1]
    return f"{number(value / factor)} {name}"
