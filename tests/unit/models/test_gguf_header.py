"""Is a GGUF file's header read as it was written, and a damaged file noticed?"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import ModelError
from pytest_llmbench.models.gguf_header import read_header

np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf")


def write(
    path: Path, quantization: Any = gguf.LlamaFileType.MOSTLY_Q8_0, alignment: int | None = None
) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    if quantization is not None:
        writer.add_file_type(quantization)
    writer.add_uint8("a.byte", 7)
    writer.add_float32("a.float", 0.5)
    writer.add_bool("a.flag", True)
    writer.add_array("a.numbers", [1, 2, 3])
    writer.add_array("a.words", ["one", "zwölf", ""])
    writer.add_string("a.text", "grüße")
    writer.add_tensor("first", np.zeros((4, 32), np.float32))
    writer.add_tensor("packed", np.zeros((2, 34), np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_scalars_strings_and_tensors_are_read(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "a.gguf"))

    assert header.metadata["general.architecture"] == "llama"
    assert header.metadata["a.byte"] == 7
    assert header.metadata["a.float"] == 0.5
    assert header.metadata["a.flag"] is True
    assert header.metadata["a.text"] == "grüße"
    assert "a.words" not in header.metadata
    assert header.parameters == 4 * 32 + 2 * 32
    assert header.quantization == "q8_0"


def test_metadata_is_read_without_what_is_there_of_tensors(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf")
    whole, header = read_header(path), read_header(path, tensors=False)
    assert (header.metadata, header.parameters) == (whole.metadata, 0)
    path.write_bytes(path.read_bytes()[:-100])
    assert read_header(path, tensors=False).metadata == whole.metadata


def test_another_alignment_is_respected(tmp_path: Path) -> None:
    assert read_header(write(tmp_path / "a.gguf", alignment=256)).parameters == 192


def test_an_alignment_that_cannot_be_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", alignment=256)
    data = path.read_bytes()
    at = data.index(b"general.alignment") + len("general.alignment") + 4
    path.write_bytes(data[:at] + bytes(4) + data[at + 4 :])
    with pytest.raises(ModelError, match="is damaged: its header is not valid"):
        read_header(path)


def test_arrays_in_arrays_without_end_are_damage(tmp_path: Path) -> None:
    array = struct.pack("<IQ", 9, 1)
    entry = struct.pack("<Q", 1) + b"a" + struct.pack("<I", 9) + 100_000 * array
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry)
    with pytest.raises(ModelError, match="is damaged: its header is not valid"):
        read_header(tmp_path / "a.gguf")


@pytest.mark.parametrize(
    ("file_type", "name"),
    [
        (gguf.LlamaFileType.ALL_F32, "f32"),
        (gguf.LlamaFileType.MOSTLY_Q4_K_M, "q4_k_m"),
        (None, None),
        (999, None),
    ],
)
def test_the_quantization_is_what_the_file_type_says(
    tmp_path: Path, file_type: Any, name: str | None
) -> None:
    assert read_header(write(tmp_path / "a.gguf", file_type)).quantization == name


def test_a_file_cut_anywhere_is_truncated(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.gguf").read_bytes()
    read_header(tmp_path / "a.gguf")
    # The padding after the last tensor may be missing; its data may not.
    for length in (5, 10, 30, 100, 200, 300, len(whole) - 32):
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"cut\.gguf is truncated.*fetch or build it again"):
            read_header(tmp_path / "cut.gguf")


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip file"])
def test_what_is_no_gguf_is_called_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gguf").write_bytes(content)

    with pytest.raises(ModelError, match="is not a GGUF file"):
        read_header(tmp_path / "a.gguf")


@pytest.mark.parametrize(
    ("version", "message"),
    [(struct.pack("<I", 1), "of version 1"), (struct.pack(">I", 3), "big-endian")],
)
def test_a_version_that_cannot_be_read_is_named(tmp_path: Path, version: bytes, message: str) -> None:
    content = write(tmp_path / "a.gguf").read_bytes()
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + version + content[8:])

    with pytest.raises(ModelError, match=message):
        read_header(tmp_path / "a.gguf")


def test_nonsense_after_the_magic_is_damage_and_no_crash(tmp_path: Path) -> None:
    good = write(tmp_path / "a.gguf").read_bytes()
    for position in range(8, 200):
        (tmp_path / "bad.gguf").write_bytes(good[:position] + b"\xff" * 8 + good[position + 8 :])
        try:
            read_header(tmp_path / "bad.gguf")
        except ModelError as error:
            assert "bad.gguf is" in str(error)  # noqa: PT017  # some of these are whole by chance
