"""Is what llama.cpp could not do told by its cause?"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmbench.backends import llama_native
from pytest_llmbench.backends.llamacpp import LlamaCppBackend
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.errors import EngineError, LLMBenchError, ModelError


def native(*said: str) -> Any:
    """llama.cpp that loads nothing, with these words in its log."""

    def load(_path: bytes, _params: Any) -> None:
        for line in said:
            llama_native._keep_log(4, line.encode(), None)

    return SimpleNamespace(
        llama_model_default_params=SimpleNamespace,
        llama_supports_gpu_offload=lambda: False,
        llama_model_load_from_file=load,
    )


@pytest.mark.parametrize(
    ("said", "kind", "advice"),
    [
        ("ggml_aligned_malloc: failed to allocate 9999.00 MB", EngineError, "use a smaller quantization"),
        ("cudaMalloc failed: out of memory", EngineError, "use a smaller quantization"),
        ("invalid magic characters: 'xxxx', expected 'GGUF'", ModelError, "fetch or build it again"),
    ],
)
def test_a_file_is_not_called_damaged_where_memory_is_what_lacks(
    said: str, kind: type[LLMBenchError], advice: str
) -> None:
    options = option_values(LlamaCppBackend(), {})
    with pytest.raises(kind) as caught:
        llama_native.load_model(native(said), Path("model.gguf"), options)
    assert advice in str(caught.value)
    assert said in str(caught.value)
