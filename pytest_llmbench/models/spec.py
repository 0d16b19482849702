"""Which model is meant, in which quantisation, and where its files are?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Form = Literal["gguf", "hf"]
"""The file form an engine loads: one GGUF file, or a Hugging Face folder."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a user names: before anything was looked up, downloaded or built.

    ``name`` is ``tiny``, ``synthetic/NAME``, a path, a hub id ``org/name`` or an alias from a
    YAML file. ``quantization`` is None where the user left it to the model's own files.
    """

    name: str
    quantization: str | None = None
    revision: str | None = None

    @property
    def label(self) -> str:
        """A short name for test ids and tables: a path shows its last part only."""
        name = Path(self.name).stem if self.is_path else self.name
        return name if self.quantization is None else f"{name}-{self.quantization}"

    @property
    def is_path(self) -> bool:
        """True for what is written as a path: absolute, ``./x``, ``../x``, ``~/x`` or ``*.gguf``."""
        return self.name.startswith(("/", "./", "../", "~", ".\\", "..\\")) or self.name.lower().endswith(".gguf")


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model whose files lie on this machine, ready for an engine to load."""

    spec: ModelSpec
    form: Form
    path: Path
    """The GGUF file (the first, if it is split), or the Hugging Face folder."""
    digest: str
    """``sha256:HEX`` over the weights: equal digests, equal weights."""
    parameters: int | None
    """How many weights the model has; None where the files do not say."""
    quantization: str | None
    """What the weight files hold, e.g. ``q8_0`` or ``f16``."""
    size: int
    """Bytes of all weight files."""
