"""How is a quantity read that a person wrote: ``300ms``, ``2GiB``, ``50 tok/s``?"""

from __future__ import annotations

from collections.abc import Mapping

NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+"
"""As a regular expression: a number that is not negative."""

_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0}
_SIZES = {"B": 1.0} | {
    prefix + tail: base ** (power + 1)
    for tail, base in (("iB", 1024.0), ("B", 1000.0))
    for power, prefix in enumerate(("k" if base == 1000 else "K", "M", "G", "T"))
}
_JOULES = {"J": 1.0, "kJ": 1e3, "mJ": 1e-3, "µJ": 1e-6, "uJ": 1e-6}
# A rate may go without a unit: there is only one.
_FACTORS: dict[str, dict[str, float]] = {
    "s": _TIMES,
    "bytes": _SIZES,
    "J": _JOULES,
    "J/token": _JOULES | {f"{name}/token": factor for name, factor in _JOULES.items()},
    "instructions/token": {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9},
    "tokens/s": {"": 1.0, "tokens/s": 1.0, "tok/s": 1.0, "/s": 1.0},
    "requests/s": {"": 1.0, "requests/s": 1.0, "req/s": 1.0, "/s": 1.0},
}


def factors(unit: str) -> Mapping[str, float]:
    """How a quantity in one of the metric table's units may be written: what it is multiplied by.

    By what stands after the number; an empty text where a number alone says it.
    """
    return _FACTORS.get(unit, {"": 1.0, unit: 1.0})
