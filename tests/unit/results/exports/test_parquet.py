"""Does Parquet have the numbers of the document, each of its type, and nulls for what is not known?"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.results.exports.parquet import to_long_parquet, to_parquet
from pytest_llmbench.results.exports.text import to_csv, to_long_csv
from pytest_llmbench.results.frames import read_results
from pytest_llmbench.results.records import Header, ResultsDocument

Maker = Callable[..., Any]


@pytest.fixture
def document(document_maker: Maker) -> ResultsDocument:
    made: ResultsDocument = document_maker()
    return made


def table(data: bytes) -> Any:
    return pq.read_table(pa.BufferReader(data))


def test_it_has_the_columns_of_the_frame_and_the_values_of_csv(document: ResultsDocument) -> None:
    found = table(to_parquet(document))
    assert found.column_names == list(read_results(document).cases.columns)
    for row, line in zip(found.to_pylist(), csv.DictReader(io.StringIO(to_csv(document))), strict=True):
        for (name, value), text in zip(row.items(), line.values(), strict=True):
            assert text == ("" if value is None else str(value)), name


def test_each_column_has_its_type_also_where_nothing_is_known(document: ResultsDocument) -> None:
    types = {field.name: str(field.type) for field in table(to_parquet(document)).schema}
    assert {
        "nodeid": "string",
        "quantization": "string",
        "model_size": "int64",
        "turn": "int64",
        "request_rate": "double",
        "ttft_p95": "double",
        "ttft_n": "int64",
        "threads": "int64",
        "base_url": "string",
        "param_tokens": "string",
    }.items() <= types.items()
    assert "null" not in types.values()


def test_what_is_not_known_is_null(document: ResultsDocument) -> None:
    del document.cases[1].metrics["energy"]
    rows = table(to_parquet(document)).to_pylist()
    assert [row["energy_median"] for row in rows] == [2.0, None]
    assert [row["turn"] for row in rows] == [None, None]


def test_units_and_the_session_are_in_the_metadata(document: ResultsDocument) -> None:
    schema = table(to_parquet(document)).schema
    assert schema.field("ttft_median").metadata[b"unit"] == b"s"
    assert schema.field("decode_throughput_p95").metadata[b"unit"] == b"tokens/s"
    header = Header.model_validate(json.loads(schema.metadata[b"llmbench"]))
    assert header.session == document.session
    assert header.machine == document.machine
    assert header.versions == document.versions


def test_the_long_form_has_a_row_a_number(document: ResultsDocument) -> None:
    found = table(to_long_parquet(document)).to_pylist()
    lines = list(csv.DictReader(io.StringIO(to_long_csv(document))))
    assert [(row["metric"], row["statistic"], str(row["value"]), row["unit"]) for row in found] == [
        (line["metric"], line["statistic"], str(float(line["value"])), line["unit"]) for line in lines
    ]


@pytest.mark.parametrize("threads", ["all", 2**70, True])
def test_a_column_with_what_is_not_its_number_is_text(document: ResultsDocument, threads: object) -> None:
    document.cases[1].processes[0].engine["n_threads"] = threads
    assert table(to_parquet(document))["threads"].to_pylist() == ["1", str(threads)]


def test_without_cases_it_is_a_table_without_rows(document_maker: Maker) -> None:
    assert table(to_parquet(document_maker(cases=0))).num_rows == 0
    assert table(to_long_parquet(document_maker(cases=0))).num_rows == 0


def test_without_pyarrow_the_extra_is_named(
    document: ResultsDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'pytest-llmbench\[parquet\]'"):
        to_parquet(document)
