"""How is a table printed, and how much does a count in it prove?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

CONFIDENCE = 0.95


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """The lines as a table; the first is its head."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    rows = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    rows.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(rows)


def at_most(count: int, of: int) -> float:
    """The largest rate that does not make *count* or fewer of *of* unlikely: below 5%.

    The one-sided exact bound of Clopper and Pearson (1934), at 95%.
    """
    from scipy import stats

    return 1.0 if count == of else float(stats.beta.ppf(CONFIDENCE, count + 1, of - count))


def at_least(count: int, of: int) -> float:
    """The smallest rate that does not make *count* or more of *of* unlikely."""
    return 1.0 - at_most(of - count, of)


def rate(count: int, of: int, *, wanted: bool) -> tuple[str, str]:
    """How often it was seen, and the bound that this sets: below where it is wanted, above where not."""
    if not of:
        return "–", "–"
    bound = f"≥ {at_least(count, of):.1%}" if wanted else f"≤ {at_most(count, of):.1%}"
    return f"{count / of:.1%}", bound


def listed(counts: Mapping[str, int]) -> str:
    """``2 pass, 1 invalid``; what there is none of is left out."""
    return ", ".join(f"{n} {what}" for what, n in counts.items() if n) or "–"
