"""Which cells does a matrix file come to, and in which order?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.matrix.cells import Plan
from pytest_llmbench.matrix.plan import read_plan
from pytest_llmbench.models.room import Room
from pytest_llmbench.results.cell import Hardware

HEAD = "version: 1\ndefaults: {max_new_tokens: 8}\n"
CASES = "cases:\n  - {name: short, prompt: Hello}\n  - {name: made, prompt_tokens: 32, rounds: 2}\n"


def plan(tmp_path: Path, matrix: str, cases: str = CASES, **keywords: object) -> Plan:
    path = tmp_path / "nightly.yaml"
    path.write_text(f"{HEAD}matrix: {matrix}\n{cases}", encoding="utf-8")
    return read_plan(path, environment={"MODEL": "tiny"}, **keywords)  # type: ignore[arg-type]


def labels(found: Plan) -> list[str]:
    return [cell.label for cell in found.cells]


def test_cells_are_the_product_of_the_axes_and_the_cases(tmp_path: Path) -> None:
    found = plan(
        tmp_path,
        "{hardware: {L4: [1, 2]}, models: [tiny, synthetic/llama-82m], backends: [llamacpp], "
        "quantizations: [f16, q8_0]}",
    )
    assert len(found.cells) == 2 * 2 * 2 * 2 == len({cell.id for cell in found.cells})
    assert labels(found)[:3] == [
        "short llamacpp-tiny-f16 @ L4", "made llamacpp-tiny-f16 @ L4", "short llamacpp-tiny-q8_0 @ L4",
    ]  # fmt: skip
    assert found.counts["hardware"] == {"L4": 8, "L4x2": 8}
    assert found.name == "nightly"


def test_a_cell_has_a_suite_that_pytest_measures(tmp_path: Path) -> None:
    swept = "sweep: {parameters: {max_new_tokens: [2, 4]}}"
    cases = f"cases:\n  - {{name: talk, prompt: 'a ${{MODEL}} $${{x}}', {swept}}}\n"
    (cell, _) = plan(tmp_path, "{hardware: {cpu: 1}, models: tiny, backends: llamacpp}", cases).cells
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "nightly.llm.yaml").write_text(json.dumps(cell.suite), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", f"--rootdir={folder}", "nightly.llm.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "nightly.llm.yaml::talk[llamacpp-tiny-max_new_tokens:2]" in done.stdout, done.stdout + done.stderr
    assert cell.suite["cases"][0]["prompt"] == "a tiny $${x}"  # type: ignore[index]


def test_load_levels_are_cells_of_their_own_and_need_a_server(tmp_path: Path) -> None:
    cases = "cases:\n  - {name: chat, concurrency: [1, 8], prompt_length: 32}\n"
    found = plan(
        tmp_path,
        "{hardware: {L4: 1}, models: tiny, servers: [vllm], backends: [llamacpp], quantizations: as-is}",
        cases,
    )
    assert labels(found) == ["chat vllm-tiny-c1 @ L4", "chat vllm-tiny-c8 @ L4"]
    assert [cell.suite["cases"][0]["concurrency"] for cell in found.cells] == [[1], [8]]  # type: ignore[index]
    assert {one.reason for one in found.dropped} == {
        "load levels need a server, and llamacpp is an engine in a process"
    }


def test_levels_of_a_preset_are_cells_too(tmp_path: Path) -> None:
    cases = "cases:\n  - {name: chat, preset: chatbot}\n"
    found = plan(tmp_path, "{hardware: {L4: 1}, models: tiny, servers: [vllm]}", cases)
    assert [cell.load for cell in found.cells] == ["c1", "c5", "c10"]


def test_what_an_engine_lacks_is_left_out_with_the_reason(tmp_path: Path) -> None:
    found = plan(
        tmp_path,
        "{hardware: {cpu: 1}, models: tiny, backends: [llamacpp, transformers], quantizations: q8_0}",
    )
    assert {cell.engine for cell in found.cells} == {"llamacpp"}
    assert len(found.dropped) == 2
    assert "transformers has no quantization 'q8_0'" in found.dropped[0].reason


def test_what_devices_cannot_hold_is_left_out_with_the_figures(tmp_path: Path) -> None:
    matrix = (
        "{hardware: {L4: 1, none: 1}, models: synthetic/llama-82m, backends: llamacpp, quantizations: f16%s}"
    )
    small = Room(0, 2**20)
    found = plan(tmp_path, matrix % "", room_of=lambda label, count: small if label == "L4" else None)
    assert {cell.hardware.name for cell in found.cells} == {"none"}
    assert {one.reason.partition(", and ")[2] for one in found.dropped} == {"L4 has 1.00 MiB on its GPUs"}
    kept = plan(tmp_path, matrix % ", fits: false", room_of=lambda label, count: small)
    assert len(kept.cells) == 4


def test_entries_leave_cells_out_and_add_others(tmp_path: Path) -> None:
    found = plan(
        tmp_path,
        "{hardware: {L4: [1, 8]}, models: tiny, backends: llamacpp, quantizations: [f16, q8_0], "
        "exclude: [{hardware: L4x8, cases: made}, {quantizations: q8_0, cases: short}], "
        "include: [{models: synthetic/llama-82m, hardware: L4x8, quantizations: q4_0, cases: made}]}",
    )
    assert sorted(labels(found)) == [
        "made llamacpp-synthetic/llama-82m-q4_0 @ L4x8", "made llamacpp-tiny-f16 @ L4",
        "made llamacpp-tiny-q8_0 @ L4",
        "short llamacpp-tiny-f16 @ L4", "short llamacpp-tiny-f16 @ L4x8",
    ]  # fmt: skip
    assert found.excluded == 4


def test_the_cheapest_comes_first_and_what_shares_a_model_stands_together(tmp_path: Path) -> None:
    matrix = "{hardware: {H100: 1, L4: 1, odd: 1}, models: [tiny, synthetic/llama-82m], backends: llamacpp%s}"
    prices = {"H100": 3.0, "L4": 0.5}

    def price(hardware: Hardware) -> float | None:
        return prices.get(hardware.name)

    found = plan(tmp_path, matrix % "", price=price)
    assert [cell.hardware.name for cell in found.cells[::4]] == ["L4", "H100", "odd"]
    assert [cell.model for cell in found.cells[:4]] == ["tiny", "tiny", *["synthetic/llama-82m"] * 2]
    written = plan(tmp_path, matrix % ", order: written", price=price)
    assert [cell.hardware.name for cell in written.cells[::4]] == ["H100", "L4", "odd"]


def test_what_a_case_says_itself_is_not_multiplied(tmp_path: Path) -> None:
    cases = "cases:\n  - {name: own, prompt: Hi, quantizations: [q4_0], models: [tiny]}\n"
    found = plan(
        tmp_path,
        "{hardware: {cpu: 1}, models: [synthetic/llama-82m], backends: llamacpp, quantizations: [f16, q8_0]}",
        cases,
    )
    assert labels(found) == ["own llamacpp-tiny-q4_0 @ cpu"]


def test_an_id_is_of_the_settings_and_not_of_where_the_file_lies(tmp_path: Path) -> None:
    matrix = "{hardware: {cpu: 1}, models: tiny, backends: llamacpp}"
    one = plan(tmp_path, matrix)
    other = tmp_path / "other"
    other.mkdir()
    assert plan(other, matrix).digest == one.digest
    assert plan(tmp_path, matrix, CASES.replace("rounds: 2", "rounds: 3")).digest != one.digest


def test_a_data_set_counts_by_its_content(tmp_path: Path) -> None:
    cases = "cases:\n  - {name: load, concurrency: 1, dataset: ./asked.jsonl}\n"
    matrix = "{hardware: {cpu: 1}, models: tiny, servers: vllm}"
    data = tmp_path / "asked.jsonl"
    data.write_text('{"prompt": "a"}\n', encoding="utf-8")
    (one,) = plan(tmp_path, matrix, cases).cells
    assert one.suite["cases"][0]["dataset"] == str(data)  # type: ignore[index]
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / data.name).write_text('{"prompt": "a"}\n', encoding="utf-8")
    (same,) = plan(folder, matrix, cases).cells
    assert same.id == one.id


def test_a_model_that_is_not_there_fails_its_cells_and_no_others(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    found = plan(tmp_path, "{hardware: {cpu: 1}, models: [tiny, ./broken.gguf], backends: llamacpp}")
    assert len(found.cells) == 4
    assert {cell.model for cell in found.cells if cell.id in found.refused} == {"./broken.gguf"}
    assert len(found.refused) == 2


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ("{hardware: {cpu: 1}, models: tinny, backends: llamacpp}", "tinny"),
        ("{hardware: {cpu: 1}, models: tiny, backends: llamacp}", "did you mean"),
        ("{hardware: {cpu: 1}, models: tiny, servers: vlm}", "vllm"),
        ("{hardware: {cpu: 1}, models: tiny}", "names no engine: give the matrix backends or servers"),
        (
            "{hardware: {cpu: 1}, models: tiny, backends: transformers, quantizations: q8_0}",
            "has no cell: trans",
        ),
        (
            "{hardware: {cpu: 1}, models: tiny, backends: llamacpp, exclude: [{models: tiny}]}",
            "the matrix has no cell: everything is excluded",
        ),
        (
            "{hardware: {L4: 1}, models: tiny, backends: llamacpp, exclude: [{hardware: L40}]}",
            "exclude: hardware is never 'L40'; did you mean 'L4'?",
        ),
        (
            "{hardware: {L4: 1}, models: tiny, backends: llamacpp, exclude: [{cases: shorter}]}",
            "exclude: cases is never 'shorter'; did you mean 'short'?",
        ),
        (
            "{hardware: {L4: 1}, models: tiny, backends: llamacpp, exclude: [{models: other}]}",
            "exclude: models is never 'other'",
        ),
    ],
)
def test_what_nothing_has_is_refused_with_its_place(tmp_path: Path, matrix: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        plan(tmp_path, matrix)
    assert message in str(refused.value)
    assert "nightly.yaml:" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_suite_without_a_matrix_is_told_what_to_add(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(HEAD + CASES, encoding="utf-8")
    with pytest.raises(UsageError, match="there is no matrix in it: add 'matrix:"):
        read_plan(path)


def test_the_matrix_that_is_shipped_has_24_cells() -> None:
    root = Path(__file__).parents[3]
    assert len(read_plan(root / "benchmarks/matrix.yaml").cells) == 24
