"""Does a failing quantizer say why?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_llmbench.errors import ModelError
from pytest_llmbench.models.synthetic import quantize


def test_what_llama_cpp_said_is_in_the_error(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    (tmp_path / "no.gguf").write_bytes(b"this is no model")

    with pytest.raises(
        ModelError, match=r"(?s)no\.gguf to q8_0 \(its process exited with status 1\).*invalid magic"
    ):
        quantize.quantize(tmp_path / "no.gguf", tmp_path / "out.gguf", "q8_0")


def _interpreter(folder: Path, script: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo out of luck; kill -SEGV $$", r"(?s)ended by SIGSEGV.*out of luck"),
        ("kill -KILL $$", r"was ended by SIGKILL; the system does that when memory runs out"),
        ("exit 69", r"pip install 'pytest-llmbench\[llamacpp\]'"),
        ("exit 0", "exited with status 0.*its log is empty"),
    ],
    ids=["a crash", "a kill", "llama.cpp is not installed", "no file"],
)
def test_a_quantizer_that_makes_no_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    monkeypatch.setattr(sys, "executable", _interpreter(tmp_path, script))

    with pytest.raises(ModelError, match=message):
        quantize.quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", "q8_0")


def test_llama_cpp_is_missing_with_a_status_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)

    assert quantize.main(["in.gguf", "out.gguf", "q8_0"]) == 69


def test_every_file_type_has_the_number_that_llama_cpp_gives_it() -> None:
    gguf = pytest.importorskip("gguf")
    for name, number in quantize.FILE_TYPES.items():
        assert gguf.LlamaFileType[f"MOSTLY_{name.upper()}"] == number
