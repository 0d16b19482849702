"""What may one case of an A/B session cost?"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmbench.gate.paired import LONG_LOOKS, LOOKS


@dataclass(frozen=True, slots=True)
class Budget:
    """What one case may cost in an A/B session; None: without a bound."""

    pairs: int | None = None
    seconds: float | None = None

    @property
    def most(self) -> int:
        """Pairs that are measured at most, with those that are replaced."""
        if self.pairs is not None:
            return self.pairs
        return LOOKS[0][-1] if self.seconds is None else LONG_LOOKS[-1]


def parse_budget(text: str) -> Budget:
    """``20`` or ``20pairs``, ``90s``, ``10min`` or ``2h``.

    :raises ValueError: for anything else.
    """
    units = {"s": 1.0, "min": 60.0, "h": 3600.0}
    word = text.strip().replace(" ", "")
    number = word.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = word[len(number) :]
    if unit in ("", "pairs") and int(number) > 0:
        return Budget(pairs=int(number))
    if unit in units and 0 < float(number) < float("inf"):
        return Budget(seconds=float(number) * units[unit])
    raise ValueError(text)
