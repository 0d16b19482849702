"""How is a document written as Parquet?

A row a case or a row a number, in the columns that CSV has: a text, a whole number or a double, and null for
what is not known. Names have no unit, as those of the pandas frames; each column's unit is in the metadata of
its field (``unit``), and the document's header, as JSON, in that of the schema (``llmbench``): which session,
on which machine, at which commit, with which versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pytest_llmbench.errors import needs_extra
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.results.rows import Cell, Kind, case_cells, long_cells


def to_parquet(document: ResultsDocument) -> bytes:
    """One row a case.

    :raises UsageError: if pyarrow is not installed.
    """
    return _written(document, [list(case_cells(document, case)) for case in document.cases])


def to_long_parquet(document: ResultsDocument) -> bytes:
    """One row for each statistic of each metric of each case.

    :raises UsageError: if pyarrow is not installed.
    """
    return _written(document, [cells for case in document.cases for cells in long_cells(document, case)])


def _written(document: ResultsDocument, rows: Sequence[Sequence[Cell]]) -> bytes:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise needs_extra("Parquet files", "pyarrow", "parquet") from None

    columns = {cell.name: cell for row in rows for cell in row}
    values: dict[str, list[object]] = {name: [None] * len(rows) for name in columns}
    for number, row in enumerate(rows):
        for cell in row:
            values[cell.name][number] = cell.value
    fields, arrays = [], []
    for name, cell in columns.items():
        kind = _kind(cell.kind, values[name])
        metadata = None if cell.unit is None else {"unit": cell.unit}
        fields.append(pa.field(name, _type(pa, kind), metadata=metadata))
        arrays.append(pa.array([_value(kind, value) for value in values[name]], type=fields[-1].type))
    about = {"llmbench": document.model_dump_json(exclude={"cases"})}
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=about))
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    return bytes(out.getvalue())


_LARGEST = 2**63
"""Beyond it a whole number has no place in a column of them."""


def _kind(kind: Kind, values: Iterable[object]) -> Kind:
    """What a column can be: a text where some value is not the number that it should be."""
    fits = {"text": _is_text, "count": _is_count, "number": _is_number}[kind]
    return kind if all(fits(value) for value in values if value is not None) else "text"


def _is_text(_: object) -> bool:
    return True


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_LARGEST <= value < _LARGEST


def _is_number(value: object) -> bool:
    return isinstance(value, float) or _is_count(value)


def _type(pa: Any, kind: Kind) -> Any:
    return {"text": pa.string(), "count": pa.int64(), "number": pa.float64()}[kind]


def _value(kind: Kind, value: object) -> object:
    if value is None or kind == "count":
        return value
    if kind == "number":
        assert isinstance(value, int | float)
        return float(value)
    return str(value)
