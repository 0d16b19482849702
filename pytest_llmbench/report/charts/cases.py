"""How are the cases of some documents called in a chart, and how many of them fit into it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pytest_llmbench.errors import few, one_line
from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.report.charts.model import MOST_SERIES, Axis, AxisKind
from pytest_llmbench.report.load import LoadKind, load_of
from pytest_llmbench.results.cell import hardware_label
from pytest_llmbench.results.measured import protocol
from pytest_llmbench.results.records import DEFAULT_MEASUREMENT
from pytest_llmbench.servers.table import start_label

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

    @property
    def base_side(self) -> bool:
        """Whether it is what an A/B session measured another case against."""
        return self.case.measurement.endswith(BASE_SUFFIX)


def entries(documents: Sequence[ResultsDocument]) -> list[Entry]:
    """All cases of *documents*, in order, each with a label that no other one has: :func:`names_of`."""
    found = [(document, case) for document in documents for case in document.cases]
    labels = names_of([_parts(_where(document), case) for document, case in found])
    return [Entry(document, case, label) for (document, case), label in zip(found, labels, strict=True)]


def labels_of(cases: Sequence[CaseRecord]) -> list[str]:
    """The labels of the cases of one session."""
    return names_of([_parts({}, case) for case in cases])


Parts = Mapping[str, str]
"""What a case is, by kind: such as its test, its model, and each of its parameters."""


def parts(entry: Entry, *varying: str) -> dict[str, str]:
    """What the case of *entry* is, but for what is *varying* within a series: settings of its protocol.

    Beside settings of those names, a parameter goes that has the value of one.
    """
    return _parts(_where(entry.document), entry.case, *varying)


def _where(document: ResultsDocument) -> Parts:
    """What tells a document's cases from those of others: of a cell of a matrix its hardware."""
    cell = document.session.cell
    if cell is None:
        return {"session": document.session.id}
    return {"hardware": hardware_label(cell.hardware, cell.count)}


def _parts(where: Parts, case: CaseRecord, *varying: str) -> dict[str, str]:
    model, load = case.model, load_of(case)
    values = {str(value) for name in varying if (value := getattr(case.protocol, name, None)) is not None}
    engine = case.processes[0].engine if case.processes else {}
    found = {
        "file": case.file,
        "test": case.nodeid.partition("::")[2].partition("[")[0],
        "model": ModelSpec(model.name, alias=model.alias).label,
        "quantization": model.quantization or "",
        "backend": model.backend,
        "server": start_label(str(engine["server"])) if engine.get("server") else "",
        "measurement": "" if case.measurement == DEFAULT_MEASUREMENT else case.measurement,
        "load": "" if load is None or "load" in varying else said_load(*load),
    }
    for name, value in sorted(case.params.items()):
        if name not in varying and value not in values:
            found[f"{name}="] = value
    return {**found, **where}


def work(entry: Entry, *varying: str) -> tuple[tuple[str, str], ...]:
    """What was asked, but for what is *varying*: settings that change the work, not how it is done."""
    held = protocol(entry.case)
    return tuple(
        sorted((k, v) for k, v in held.items() if k not in varying and not k.startswith(("options.", "ab")))
    )


def names_of(found: Sequence[Parts]) -> list[str]:
    """A name for each, by what tells them apart; the model where nothing does. No two are the same.

    The file is left out where its tests have other names than those of the other files.
    """
    keys = list(dict.fromkeys(key for one in found for key in one))
    telling = [key for key in keys if len({one.get(key, "") for one in found}) > 1] or ["model"]
    without = [key for key in telling if key != "file"]
    if len({_told(one, without) for one in found}) == len({_told(one, telling) for one in found}):
        telling = without
    names = [
        ", ".join(
            f"{key}{value}" if key.endswith("=") else value for key, value in _told(one, telling) if value
        )
        for one in found
    ]
    return _unique(
        [
            one_line(name or one.get("model", ""), LONGEST_LABEL)
            for name, one in zip(names, found, strict=True)
        ]
    )


def _told(one: Parts, keys: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, one.get(key, "")) for key in keys)


def bounded(
    found: Sequence[T], names: Iterable[str], most: int = MOST_SERIES
) -> tuple[Sequence[T], str | None]:
    """The first *most* of what was found, and the note that names the others; None where there are none."""
    left = list(names)[most:]
    if not left:
        return found, None
    return found[:most], f"Shown are {most} of {len(found)}; not shown: {few(left, 3)}."


def together(*notes: str | None) -> str | None:
    """Notes as one; None for none."""
    return " ".join(note for note in notes if note) or None


MOST_ROWS, MOST_COLUMNS = 40, 24
"""Of a map."""
LOADS: dict[LoadKind, Axis] = {
    "concurrency": Axis(label="requests at once"),
    "rate": Axis(label="request rate", unit="requests/s"),
    "conversations": Axis(label="conversations at once"),
}
"""The axis of each kind of load."""
LOAD = ("load", "concurrency", "request_rate", "conversations")
"""What varies in a sweep."""


def said_load(kind: LoadKind, load: float) -> str:
    """``8 requests at once``, ``2.5 requests/s``."""
    return f"{load:.10g} {LOADS[kind].unit or LOADS[kind].label}"


def head_of(metric: str) -> str:
    """What a metric is called in a title."""
    row = METRICS[metric]
    # The head of a column has a rate's unit in it.
    return row.name.replace("_", " ") if "/" in row.unit else row.head or row.name.replace("_", " ")


def axis_of(metric: str, statistic: str = "") -> Axis:
    """The axis of a metric's values, or of a *statistic* of them."""
    return Axis(label=f"{head_of(metric)} {statistic}".strip(), unit=METRICS[metric].unit)


def slug(*words: str) -> str:
    """*words* as part of a chart's id: ``ecdf``, ``cached_tokens`` as ``ecdf-cached-tokens``."""
    return "-".join("".join(c if c.isascii() and c.isalnum() else "-" for c in w).strip("-") for w in words)


def kind_of(values: Iterable[float | None], *, most: float = 8) -> AxisKind:
    """``log`` where the largest of *values*, all above 0, is *most* times the smallest; else ``value``."""
    known = [value for value in values if value is not None]
    return "log" if known and min(known) > 0 and max(known) >= most * min(known) else "value"


def median_of(case: CaseRecord, metric: str) -> float | None:
    """The median of *metric* as the document has it; None where it has none."""
    found = case.metrics.get(metric)
    return None if found is None else found.median


def _unique(labels: Sequence[str]) -> list[str]:
    taken: Counter[str] = Counter()
    made = []
    for label in labels:
        taken[label] += 1
        made.append(label if taken[label] == 1 else f"{label} #{taken[label]}")
    return made
