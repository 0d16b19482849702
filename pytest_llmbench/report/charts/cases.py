"""How are the cases of some documents called in a chart, and how many of them fit into it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pytest_llmbench.errors import few, one_line
from pytest_llmbench.report.charts.model import MOST_SERIES
from pytest_llmbench.results.records import DEFAULT_MEASUREMENT

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord, ResultsDocument

T = TypeVar("T")

LONGEST_LABEL = 80
"""Characters of what a series is called."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One case, the document that it stands in, and what a chart calls it."""

    document: ResultsDocument
    case: CaseRecord
    label: str


def entries(documents: Sequence[ResultsDocument]) -> list[Entry]:
    """All cases of *documents*, in order, each with a label that no other one has.

    A label is the case's id, without what all ids have in common; where documents have a case of one id, the
    session stands behind it.
    """
    found = [(document, case) for document in documents for case in document.cases]
    names = _without_common([case.nodeid for _, case in found])
    labels = []
    for name, (_, case) in zip(names, found, strict=True):
        more = "" if case.measurement == DEFAULT_MEASUREMENT else f" ({case.measurement})"
        labels.append(one_line(name + more, LONGEST_LABEL))
    twice = {label for label, times in Counter(labels).items() if times > 1}
    made = []
    taken: Counter[str] = Counter()
    for label, (document, case) in zip(labels, found, strict=True):
        told = f"{label}, {document.session.id}" if label in twice and len(documents) > 1 else label
        taken[told] += 1
        made.append(Entry(document, case, told if taken[told] == 1 else f"{told} #{taken[told]}"))
    return made


def bounded(
    found: Sequence[T], names: Iterable[str], most: int = MOST_SERIES
) -> tuple[Sequence[T], str | None]:
    """The first *most* of what was found, and the note that names the others; None where there are none."""
    left = list(names)[most:]
    if not left:
        return found, None
    return found[:most], f"Shown are {most} of {len(found)}; not shown: {few(left)}."


def together(*notes: str | None) -> str | None:
    """Notes as one; None for none."""
    return " ".join(note for note in notes if note) or None


def _without_common(ids: Sequence[str]) -> list[str]:
    """``[tiny-q8_0]`` of ids of one test, ``test_x[tiny]`` of ids of one file, else the whole id."""
    if len({nodeid.partition("[")[0] for nodeid in ids}) == 1:
        short = [nodeid.partition("[")[2].removesuffix("]") for nodeid in ids]
        return [name or nodeid.partition("::")[2] or nodeid for name, nodeid in zip(short, ids, strict=True)]
    if len({nodeid.partition("::")[0] for nodeid in ids}) == 1:
        return [nodeid.partition("::")[2] or nodeid for nodeid in ids]
    return list(ids)
