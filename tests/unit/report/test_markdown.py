"""Is the Markdown a table that GitHub draws?"""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmbench.report.markdown import markdown_table
from pytest_llmbench.results.records import CaseRecord

MakeCase = Callable[..., CaseRecord]


def test_every_row_has_as_many_cells_as_the_head(make_case: MakeCase) -> None:
    lines = markdown_table([make_case(), make_case("a.py::test_y[b|c]")]).splitlines()
    table = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert lines[0] == (
        "| case | TTFT | TTFT p95 | TPOT | TPOT p95 | decode tok/s | prefill tok/s | memory | rounds |"
    )
    assert lines[1].startswith("| :--- | ---: |")


def test_a_function_heads_its_cases(make_case: MakeCase) -> None:
    lines = markdown_table([make_case("a.py::test_long_name[tiny-q8_0]")]).splitlines()
    assert lines[2].startswith("| **a.py::test\\_long\\_name** |")
    assert lines[3].startswith("| tiny-q8\\_0 | 12.3 ms ±0% |")


def test_marks_are_explained_below(make_case: MakeCase) -> None:
    text = markdown_table([make_case(disturbed=["steal"])])
    assert "12.3 ms\\*" in text
    assert "\n- \\* too few values" in text
    assert text.endswith("disturbed: steal\n")
