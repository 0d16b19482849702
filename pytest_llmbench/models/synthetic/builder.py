"""Which files has a synthetic model in the cache, and how do they get there?"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

from pytest_llmbench.models.cache import File, cache_folder, ensure, read_entry, weights_digest
from pytest_llmbench.models.outline import Outline
from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel
from pytest_llmbench.models.synthetic import tokenizer, weights
from pytest_llmbench.models.synthetic.shapes import Shape
from pytest_llmbench.models.synthetic.weights import Advance


@dataclass(frozen=True, slots=True)
class Entry:
    """One synthetic model in one form and quantization: a folder of the cache, built or not."""

    shape: Shape
    form: Form
    quantization: str
    """What the weights are stored as."""
    bits: float
    """That a weight takes, roughly."""
    folder_name: str
    """What the entry's folder is called, among those of the shape."""
    suffix: str
    """How the names of the weights' files end."""
    doing: str
    """What the progress bar says."""
    write: Callable[[Path, Advance], None]
    """Writes the files into an empty folder.

    :raises ModelError: if it cannot.
    """
    file: str = ""
    """The file that an engine is given; empty for the whole folder."""
    source: Entry | None = None
    """What it is made of, and has to be there before; None where it is written from the shape."""

    @property
    def folder(self) -> Path:
        """Where it lies in the cache, built or not."""
        name = f"{self.shape.name}-{_fingerprint(self.shape)}"
        return cache_folder() / "synthetic" / name / self.folder_name

    @property
    def path(self) -> Path:
        """What an engine is given."""
        return self.folder / self.file if self.file else self.folder

    @property
    def size(self) -> int:
        """Bytes that the weights will have, roughly."""
        return int(self.shape.parameters * self.bits / 8)

    @property
    def cached_size(self) -> int | None:
        """Bytes of the weights in the cache; None if they are not there whole."""
        files = read_entry(self.folder)
        return None if files is None else sum(file.size for file in self._weights(files).values())

    @property
    def outline(self) -> Outline:
        """What is known of it, built or not."""
        size = self.cached_size
        return Outline(
            self.size if size is None else size,
            self.shape.context,
            self.shape.attention,
            self.quantization if self.source is None else None,
        )

    def ensure(self, *, quiet: bool) -> Mapping[str, File]:
        """The entry's files, built if they are not there.

        :raises ModelError: if it cannot be built.
        """

        def build(place: Path) -> None:
            if self.source is not None:
                self.source.ensure(quiet=quiet)
            # Quantizing does not report how far it is.
            total = self.size if self.source is None else None
            with _progress(self.doing, total, quiet=quiet) as advance:
                self.write(place, advance)

        return ensure(self.folder, build, size=_with_margin(self.size))

    def resolved(self, spec: ModelSpec, *, quiet: bool) -> ResolvedModel:
        """The model, built into the cache if it is not there.

        :raises ModelError: if it cannot be built.
        """
        files = self._weights(self.ensure(quiet=quiet))
        return ResolvedModel(
            spec=spec,
            form=self.form,
            path=self.path,
            digest=weights_digest({name: file.sha256 for name, file in files.items()}),
            parameters=self.shape.parameters,
            quantization=self.quantization,
            size=sum(file.size for file in files.values()),
        )

    def _weights(self, files: Mapping[str, File]) -> dict[str, File]:
        return {name: file for name, file in files.items() if name.endswith(self.suffix)}


@cache
def _fingerprint(shape: Shape) -> str:
    """Changes with whatever changes the files, so that those of another version are not taken for ours."""
    parts = [
        weights.FORMAT,
        astuple(shape),
        tokenizer.LLAMA_CPP_PRE_TOKENIZER,
        tokenizer.CHAT_TEMPLATE,
        tokenizer.training_text(),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _with_margin(size: int) -> int:
    """Quantized files keep some tensors larger, and a tokenizer has a few megabytes."""
    return size + size // 10 + (16 << 20)


@contextlib.contextmanager
def _progress(description: str, total: int | None, *, quiet: bool) -> Iterator[Advance]:
    """A bar on the terminal; nothing anywhere else."""
    if quiet:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)
