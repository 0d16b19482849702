"""How are numbers put into the sentences of the gate?"""

from __future__ import annotations


def count(number: int, what: str, plural: str | None = None) -> str:
    """``1 session``, ``2 sessions``; *plural* where it is more than an s."""
    return f"{number} {what}" if number == 1 else f"{number} {plural or f'{what}s'}"


def percent(ratio: float) -> str:
    """A share or a change as ``5 %``, ``0.25 %`` or ``36 %``: two digits, whole ones from 10 on."""
    value = ratio * 100
    return f"{value:.0f} %" if abs(value) >= 9.95 else f"{value:.2g} %"
