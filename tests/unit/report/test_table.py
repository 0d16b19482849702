"""Can the table be read: at 80 columns, in a pipe, with long names and with gaps?"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.report.rows import requested
from pytest_llmbench.report.table import CasesTable, case_tables, render
from pytest_llmbench.report.terminal import Screen
from pytest_llmbench.results.records import CaseRecord, ProtocolRecord

MakeCase = Callable[..., CaseRecord]


def _lines(cases: list[CaseRecord], width: int = 80, *, color: bool = False) -> list[str]:
    return render(CasesTable(tuple(cases)), Screen(width, color)).splitlines()


def test_what_a_buffered_server_cannot_tell_of_a_model_is_marked_too(make_case: MakeCase) -> None:
    unknown = dict.fromkeys(("tpot", "decode_throughput"), "buffered")
    case = make_case(values=dict.fromkeys(unknown), unknown=unknown)
    case.rounds[0].hidden_tokens = 15
    lines = _lines([case], 80)
    assert sum(cell == "-#" for line in lines for cell in line.split()) == 2
    assert any(line.startswith("# not known: chunks arrived many at a time") for line in lines)
    assert "hidden" in lines[0]


def test_a_case_has_a_row_with_human_units(make_case: MakeCase) -> None:
    lines = _lines([make_case()])
    assert lines[2:4] == ["benchmarks/test_a.py", "test_x"]
    assert lines[4].split() == [
        *("llamacpp-tiny-q8_0", "12.3", "ms", "724", "µs", "1380", "23.5k", "89.3", "MiB", "3×5")
    ]
    assert len(lines) == 5


def test_every_row_fits_80_columns(make_case: MakeCase) -> None:
    ids = ["llamacpp-synthetic/llama-3.2-1b-q4_k_m", "transformers-tiny-int8", "transformers-" + "x" * 60]
    cases = [
        make_case(
            f"benchmarks/test_a.py::test_x[{one}]",
            values={"energy": [1.0, 2.0], "peak_vram": [2.0**30], "ttft": [0.1, 0.9]},
            disturbed=["steal"],
        )
        for one in ids
    ]
    for lines in (_lines(cases), _lines(cases[:1]), _lines(cases[:2])):
        assert max(map(len, lines)) <= 80


def test_numbers_are_aligned_and_never_shortened(make_case: MakeCase) -> None:
    cases = [
        make_case("test_a.py::test_x[a]", values={"ttft": [1.0]}),
        make_case("test_a.py::test_x[b]", values={"ttft": [0.412]}),
    ]
    for width in (20, 80, 200):
        rows = [line for line in _lines(cases, width) if " MiB" in line]
        assert len(rows) == 2
        assert "1.00 s" in rows[0]
        assert "412 ms" in rows[1]
        assert rows[0].index("1.00 s") + len("1.00 s") == rows[1].index("412 ms") + len("412 ms")


def test_cases_are_grouped_by_file_and_function(make_case: MakeCase) -> None:
    names = ["b.py::test_1[x]", "a.py::test_2[x]", "a.py::TestY::test_1[x]", "b.py::test_1[y]"]
    lines = [line.partition("  ")[0] or line.split()[0] for line in _lines([make_case(n) for n in names])[2:]]
    assert lines == ["a.py", "test_2", "x", "TestY::test_1", "x", "b.py", "test_1", "x", "y"]


def test_long_ids_lose_what_they_share_first(make_case: MakeCase) -> None:
    shared = "llamacpp-synthetic/a-model-with-a-long-name-"
    lines = _lines([make_case(f"a.py::test_x[{shared}{q}]") for q in ("f16", "q8_0")])
    assert lines[3] == f"test_x[{shared}…]"
    assert [line.split()[0] for line in lines[4:]] == ["f16", "q8_0"]


def test_if_that_is_not_enough_each_backend_has_its_own_row(make_case: MakeCase) -> None:
    cases = [
        make_case(f"a.py::test_x[{backend}-synthetic/a-model-with-a-name-{q}]", backend=backend)
        for backend in ("llamacpp", "transformers")
        for q in ("f16", "int8")
    ]
    lines = _lines(cases)
    assert lines[3] == "test_x[llamacpp-synthetic/a-model-with-a-name-…]"
    assert lines[6] == "test_x[transformers-synthetic/a-model-with-a-name-…]"
    assert [lines[n].split()[0] for n in (4, 5, 7, 8)] == ["f16", "int8"] * 2


@pytest.mark.parametrize(
    ("ids", "model", "title", "rest"),
    [
        # The first model's name begins like the second's.
        (
            ["llamacpp-synthetic/llama-82m-q8_0-a", "llamacpp-synthetic/llama-3.2-1b-q8_0-a"],
            lambda one: one.removeprefix("llamacpp-").partition("-q8_0")[0],
            "test_x[llamacpp-…]",
            ["synthetic/llama-82m-q8_0-a", "synthetic/llama-3.2-1b-q8_0-a"],
        ),
        # A model's file, of which the id has the last part.
        (
            ["llamacpp-my-model-a-long-long-name-7b", "llamacpp-my-model-a-long-long-name-1b"],
            lambda one: f"./files/{one.removeprefix('llamacpp-')}.gguf",
            "test_x[llamacpp-…]",
            ["my-model-a-long-long-name-7b", "my-model-a-long-long-name-1b"],
        ),
    ],
)
def test_what_ids_share_ends_before_a_models_name_and_not_within(
    make_case: MakeCase, ids: list[str], model: Callable[[str], str], title: str, rest: list[str]
) -> None:
    cases = [make_case(f"a.py::test_x[{one}]") for one in ids]
    for case, one in zip(cases, ids, strict=True):
        case.model.name, case.model.quantization = model(one), None
    lines = _lines(cases)
    assert title in lines
    assert [line.split()[0] for line in lines[4:] if line.startswith("  ")] == rest


def test_what_ids_share_does_not_end_within_a_users_parameter(make_case: MakeCase) -> None:
    words = ["a-long-system-prompt-with-tools", "a-long-system-prompt-without-tools"]
    cases = [make_case(f"a.py::test_x[llamacpp-tiny-{one}]", params={"prompt": one}) for one in words]
    lines = _lines(cases, 90)
    assert "test_x[llamacpp-tiny-…]" in lines
    assert [line.split()[0] for line in lines if line.startswith("  a-")] == words


def test_columns_that_were_asked_for_come_last(make_case: MakeCase) -> None:
    case = make_case(values={"load_time": [0.25], "output_throughput": [12.0]})
    case.model.size = 6 * 2**20
    (table,) = case_tables([case], ["size", "load_time", "output_throughput", "energy"])
    lines = render(table, Screen(140)).splitlines()
    assert lines[0].split()[-4:] == ["file", "load_time", "output_throughput", "energy"]
    assert lines[4].split("3×5")[-1].split() == ["6.00", "MiB", "250", "ms", "12.0", "tokens/s", "-"]
    with pytest.raises(UsageError, match="no column 'sise'; did you mean 'size'"):
        requested(["sise"])


def test_ids_that_share_nothing_get_a_line_of_their_own(make_case: MakeCase) -> None:
    ids = ["a" * 50, "b" * 50]
    lines = _lines([make_case(f"a.py::test_x[{one}]") for one in ids])
    assert lines[3:5] == ["test_x", f"  {ids[0]}"]
    assert lines[5].split()[0] == "12.3"
    assert lines[6] == f"  {ids[1]}"


def test_a_test_without_parameters_stands_in_one_row(make_case: MakeCase) -> None:
    lines = _lines([make_case("a.py::test_x")])
    assert lines[2] == "a.py"
    assert lines[3].startswith("test_x ")
    assert "12.3 ms" in lines[3]


def test_several_measurements_of_one_test_are_told_apart(make_case: MakeCase) -> None:
    cases = [make_case("a.py::test_x[tiny]", measurement=m) for m in ("short", "long")]
    lines = _lines(cases)
    assert lines[4].startswith("  tiny short ")
    assert lines[5].startswith("  tiny long ")


def test_measurements_of_one_long_case_stand_below_its_id(make_case: MakeCase) -> None:
    name = "llamacpp-synthetic/a-model-with-a-long-name"
    lines = _lines([make_case(f"a.py::test_x[{name}]", measurement=m) for m in ("two-a", "two-b")])
    assert lines[3] == f"test_x[{name}]"
    assert [line.split()[0] for line in lines[4:6]] == ["two-a", "two-b"]


def test_what_was_not_measured_is_a_dash(make_case: MakeCase) -> None:
    lines = _lines(
        [make_case(values=dict.fromkeys(("ttft", "prefill_throughput", "peak_rss")), outcome="failed")]
    )
    assert "q8_0 (failed)" in lines[4]
    assert lines[4].split()[-7:] == ["-", "724", "µs", "1380", "-", "-", "3×5"]


def test_a_case_that_measured_nothing_still_has_a_row(make_case: MakeCase) -> None:
    lines = _lines(
        [make_case(values=dict.fromkeys(("ttft", "tpot", "peak_rss")), rounds=(), outcome="error")]
    )
    assert lines[4].endswith(" -")


def test_energy_and_gpu_memory_have_a_column_only_where_known(make_case: MakeCase) -> None:
    plain = _lines([make_case()])
    assert not re.search("energy|VRAM", plain[0])
    lines = _lines([make_case(), make_case("a.py::t[x]", values={"energy": [12.3], "peak_vram": [2.0**34]})])
    assert "energy" in lines[0]
    assert "VRAM" in lines[0]
    assert "16.0 GiB" in lines[4]
    assert "12.3 J" in lines[4]


def test_gpu_memory_that_nothing_used_has_no_column(make_case: MakeCase) -> None:
    assert "VRAM" not in _lines([make_case(values={"peak_vram": [0.0]})])[0]


def test_a_mark_has_a_legend_and_without_a_mark_there_is_none(make_case: MakeCase) -> None:
    assert not [line for line in _lines([make_case()]) if line.startswith(("~", "±", "*", "!"))]
    wide_spread = _lines([make_case(values={"ttft": [0.1, 0.2, 0.3]})])
    assert "200 ms~" in wide_spread[4]
    assert wide_spread[5].startswith("~ ")
    disturbed = _lines([make_case(disturbed=["steal", "cpu_pressure"])])
    assert disturbed[4].endswith(" !3")
    assert disturbed[5] == "! rounds that other load on the machine disturbed: cpu_pressure, steal"


def test_a_wide_terminal_shows_spread_and_marks_unsupported_percentiles(make_case: MakeCase) -> None:
    lines = _lines([make_case(values={"tpot": [0.01] * 20, "ttft": [0.1, 0.11]})], 140)
    assert "105 ms ±7%" in lines[4]
    assert "110 ms*" in lines[4]
    assert "10.0 ms*" not in lines[4]
    assert [line[0] for line in lines[5:]] == ["±", "*"]


def test_rounds_that_differ_between_processes_are_a_range(make_case: MakeCase) -> None:
    assert _lines([make_case(rounds=(5, 3))])[4].endswith(" 2×3-5")


def test_color_is_for_terminals(make_case: MakeCase) -> None:
    cases = [
        make_case(),
        make_case("a.py::t[x]", outcome="failed"),
        make_case("a.py::t[y]", disturbed=["steal"]),
    ]
    assert "\x1b[" not in "".join(_lines(cases))
    colored = _lines(cases, color=True)
    assert "\x1b[31m" in "".join(colored)
    assert [re.sub(r"\x1b\[[\d;]*m", "", line) for line in colored] == _lines(cases)


def test_what_the_terminal_cannot_write_becomes_ascii_of_the_same_width(make_case: MakeCase) -> None:
    table = CasesTable((make_case(),))
    text = render(table, Screen(80, encoding="ascii"))
    assert text.isascii()
    assert "724 us" in text
    assert [len(x) for x in text.splitlines()] == [len(x) for x in _lines([make_case()])]


def test_square_brackets_in_ids_are_no_markup(make_case: MakeCase) -> None:
    lines = _lines([make_case("a.py::test_x[[bold]-b]")])
    assert lines[4].startswith("  [bold]-b ")


@pytest.mark.parametrize("width", [80, 140])
def test_no_cases_make_an_empty_table(width: int) -> None:
    assert len(_lines([], width)) == 2


def test_a_case_at_a_depth_is_called_as_llama_bench_calls_it_and_has_the_speed_of_its_own_tokens(
    make_case: MakeCase,
) -> None:
    values = {"prefill_throughput": None, "uncached_prefill_throughput": [439.0]}
    deep = make_case("a.py::test_x[deep]", values=values, protocol=ProtocolRecord(depth=4096))
    for one in deep.rounds:
        one.prompt_tokens = 4096 + 512
    plain = make_case("a.py::test_x[plain]")
    lines = _lines([plain, deep])
    assert lines[0].split()[0] == "tokens"
    assert lines[4].split()[1:3] == ["pp16", "tg2"]
    assert "pp512 tg2 @ d4096" in lines[5]
    assert lines[5].split()[-4:] == ["439", "89.3", "MiB", "3×5"]
    assert max(map(len, lines)) <= 80
    assert "tokens" not in _lines([plain])[0]
