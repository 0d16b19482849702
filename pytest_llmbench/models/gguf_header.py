"""What does the header of a GGUF file say, and is the file whole?

Reads the header alone, in the layout of ggml's ``docs/gguf.md``. The reader of the ``gguf`` package
makes NumPy views of every entry and takes seconds for a vocabulary of 128,000 tokens.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pytest_llmbench.errors import ModelError
from pytest_llmbench.models.libraries import missing_library

if TYPE_CHECKING:
    from pathlib import Path

Value: TypeAlias = int | float | str | None
"""What a key can have; None for an array, which is passed over."""

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
# Type id to struct format; see enum gguf_metadata_value_type.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_DEFAULT_ALIGNMENT = 32
_NONSENSE = (UnicodeDecodeError, KeyError, TypeError, OverflowError, ZeroDivisionError, RecursionError)
"""What reading raises where values are impossible: an unknown type, an alignment of 0, a deep array."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says of itself."""

    metadata: dict[str, Value]
    """Scalars and strings by key; arrays, such as the vocabulary, are left out."""
    parameters: int
    """Elements of all tensors in this file."""

    @property
    def quantization(self) -> str | None:
        """The name of ``general.file_type``, e.g. ``q4_k_m``; None where the file does not say."""
        import gguf

        try:
            name = gguf.LlamaFileType(self.metadata["general.file_type"]).name
        except (KeyError, ValueError):
            return None
        return str(name.removeprefix("MOSTLY_").removeprefix("ALL_").lower())


def read_header(path: Path, *, tensors: bool = True) -> Header:
    """The header of *path*.

    :param tensors: whether to read what is there of tensors; without it, none is counted, and it is not
        found out whether the file is whole.

    :raises ModelError: if it is not a GGUF file, or shorter than its header says.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                msg = f"{path} is not a GGUF file: it does not begin with 'GGUF'"
                raise ModelError(msg)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(path, data).read(tensors=tensors)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}"
        raise ModelError(msg) from error


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._at = len(MAGIC)

    def read(self, *, tensors: bool) -> Header:
        try:
            return self._read(tensors=tensors)
        except struct.error:
            raise self._truncated("the file ends inside its header") from None
        except _NONSENSE as error:
            msg = f"{self._path} is damaged: its header is not valid ({error}); fetch or build it again"
            raise ModelError(msg) from error

    def _read(self, *, tensors: bool) -> Header:
        version = self._count("I")
        if version not in _VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            what = "big-endian" if swapped in _VERSIONS else f"of version {version}"
            msg = f"{self._path} is a GGUF file {what}; versions 2 and 3, little-endian, can be read"
            raise ModelError(msg)
        there, entries = self._count("Q"), self._count("Q")
        metadata: dict[str, Value] = {}
        for _ in range(entries):
            key = self._string()
            kind = self._count("I")
            value = self._value(kind)
            if kind != _ARRAY:
                metadata[key] = value
        if not tensors:
            return Header(metadata, 0)
        parameters = end = 0
        for _ in range(there):
            elements, last = self._tensor()
            parameters += elements
            end = max(end, last)
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int):
            msg = f"an alignment of {alignment!r}"
            raise TypeError(msg)
        start = -(-self._at // alignment) * alignment
        if there and start + end > len(self._data):
            raise self._truncated(
                f"its header names {start + end:,} bytes, and {len(self._data):,} are there"
            )
        return Header(metadata, parameters)

    def _tensor(self) -> tuple[int, int]:
        """Elements of the next tensor, and where its data ends, from the start of all data."""
        self._string()
        elements = 1
        for _ in range(self._count("I")):
            elements *= self._count("Q")
        kind, offset = self._count("I"), self._count("Q")
        return elements, offset + _bytes(kind, elements)

    def _value(self, kind: int) -> Value:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._scalar(_SCALARS[kind])
        inner, count = self._count("I"), self._count("Q")
        if inner in _SCALARS:
            self._skip(struct.calcsize(_SCALARS[inner]) * count)
        elif inner == _STRING:
            for _ in range(count):
                self._skip(self._count("Q"))
        else:
            for _ in range(count):
                self._value(inner)
        return None

    def _count(self, code: str) -> int:
        return int(self._scalar(code))

    def _scalar(self, code: str) -> int | float:
        value: int | float
        (value,) = struct.unpack_from(f"<{code}", self._data, self._at)
        self._at += struct.calcsize(code)
        return value

    def _string(self) -> str:
        start = self._at + 8
        self._skip(self._count("Q"))
        return self._data[start : self._at].decode()

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise self._truncated("the file ends inside its header")

    def _truncated(self, why: str) -> ModelError:
        return ModelError(f"{self._path} is truncated: {why}; fetch or build it again")


def _bytes(kind: int, elements: int) -> int:
    """Bytes of *elements* of a ggml type; 0 for a type that the ``gguf`` package does not know yet."""
    try:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError as error:
        raise missing_library("gguf") from error
    try:
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (KeyError, ValueError):
        return 0
    return int(elements // block * size)
