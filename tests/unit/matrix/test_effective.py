"""Is it seen when an engine did something else than it was asked?"""

from __future__ import annotations

import pytest

from pytest_llmbench.matrix.effective import not_as_asked
from pytest_llmbench.results.records import CaseRecord
from tests.unit.matrix.plans import a_cell, a_document


def a_case(asked: dict[str, object], told: dict[str, object], backend: str = "llamacpp") -> CaseRecord:
    """A case whose engine was *asked* for options and *told* of itself."""
    (case,) = a_document(a_cell()).cases
    case.model.backend = backend
    case.protocol.options = asked
    case.processes[0].engine = told
    return case


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"n_threads": None}, {"n_threads": 3}),
        ({"n_batch": 2048}, {"n_batch": 256}),
        ({"n_gpu_layers": -1}, {"n_gpu_layers": 33}),
        ({"flash_attn": "auto"}, {"flash_attn": "auto (enabled)"}),
        ({"use_mmap": True}, {"use_mmap": True}),
        ({"n_ctx": 256, "unknown_to_us": 1}, {"unknown_to_us": 2}),
    ],
)
def test_what_an_engine_may_choose_is_as_asked(asked: dict[str, object], told: dict[str, object]) -> None:
    assert not_as_asked(a_case(asked, told), None) is None


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"n_threads": 4}, {"n_threads": 1}),
        ({"n_batch": 256}, {"n_batch": 2048}),
        ({"type_k": "q8_0"}, {"type_k": "f16"}),
        ({"flash_attn": "on"}, {"flash_attn": "off"}),
    ],
)
def test_what_it_was_asked_and_did_not_do_is_said_with_both_values(
    asked: dict[str, object], told: dict[str, object]
) -> None:
    ((name, wanted),), (is_,) = asked.items(), told.values()
    assert not_as_asked(a_case(asked, told), None) == f"{name} was to be {wanted}, and the engine says {is_}"


def test_of_transformers_types_and_devices_are_known_by_both_names() -> None:
    asked, told = {"dtype": "bf16", "device": "cuda"}, {"dtype": "bfloat16", "device": "cuda:0"}
    assert not_as_asked(a_case(asked, told, "transformers"), None) is None
    told["dtype"] = "float32"
    assert not_as_asked(a_case(asked, told, "transformers"), None) is not None


@pytest.mark.parametrize(
    ("asked", "told", "same"),
    [
        ("q8_0", "Q8_0", True),
        ("q4_k_m", "Q4_K - Medium", True),
        ("iq3_m", "IQ3_S mix - 3.66 bpw", True),
        ("f32", "all F32", True),
        ("q4_0", "Q4_1", False),
        ("q4_k_m", "Q5_K - Medium", False),
        ("q4_k_m", "Q4_0", False),
        ("f16", "BF16", False),
    ],
)
def test_a_quantization_is_that_of_the_file(asked: str, told: str, same: bool) -> None:
    case = a_case({}, {"file_type": told})
    assert (not_as_asked(case, asked) is None) is same


def test_a_model_of_another_quantization_is_not_the_cells() -> None:
    case = a_case({}, {})
    case.model.quantization = "f16"
    assert not_as_asked(case, "q8_0") == "the model was to be q8_0, and f16 was measured"


def test_of_a_server_nothing_is_known_and_nothing_said() -> None:
    assert not_as_asked(a_case({"context": 8}, {"context_length": 9}, "vllm"), "fp8") is None
