"""Which files has a synthetic model in the cache, and how do they get there?"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import astuple
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.errors import ModelError, suggest
from pytest_llmbench.models import quantize, synthetic, tokenizer
from pytest_llmbench.models.cache import cache_folder, ensure, read_entry, weights_digest
from pytest_llmbench.models.spec import ResolvedModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llmbench.models.cache import File
    from pytest_llmbench.models.shapes import Shape
    from pytest_llmbench.models.spec import Form, ModelSpec

HUGGINGFACE_TYPE = "f16"
"""What the weights of the Hugging Face form are stored as; an engine may quantize them when it loads."""


def synthetic_model(spec: ModelSpec, shape: Shape, form: Form, *, quiet: bool) -> ResolvedModel:
    """The model of a shape, built into the cache if it is not there.

    :raises ModelError: for a GGUF quantization that cannot be had, or if it cannot be built.
    """
    if form == "hf":
        holds = HUGGINGFACE_TYPE
        files = _ensure_huggingface(shape, quiet=quiet)
    else:
        holds = spec.quantization or "f16"
        if holds not in quantize.QUANTIZATIONS:
            known = quantize.QUANTIZATIONS
            msg = (
                f"{spec.name} cannot be had as {holds} GGUF{suggest(holds, known).rstrip('?')}; "
                f"it can be had as {', '.join(known)}"
            )
            raise ModelError(msg)
        files = _ensure_gguf(shape, holds, quiet=quiet)
    folder = entry_folder(shape, form, holds)
    weights = {name: f for name, f in files.items() if name.endswith((".gguf", ".safetensors"))}
    return ResolvedModel(
        spec=spec,
        form=form,
        path=folder if form == "hf" else folder / _gguf_name(shape, holds),
        digest=weights_digest({name: f.sha256 for name, f in weights.items()}),
        parameters=shape.parameters,
        quantization=holds,
        size=sum(f.size for f in weights.values()),
    )


def entry_folder(shape: Shape, form: Form, quantization: str) -> Path:
    """Where one form of a shape lies in the cache, built or not."""
    kind = "hf" if form == "hf" else f"gguf-{quantization}"
    return cache_folder() / "synthetic" / f"{shape.name}-{_fingerprint(shape)}" / kind


def cached_size(shape: Shape, form: Form, quantization: str) -> int | None:
    """Bytes of the weights of one form in the cache; None if it is not there whole."""
    files = read_entry(entry_folder(shape, form, quantization))
    if files is None:
        return None
    return sum(f.size for name, f in files.items() if name.endswith((".gguf", ".safetensors")))


def estimated_size(shape: Shape, form: Form, quantization: str) -> int:
    """Bytes that the weights of one form will have, roughly."""
    bits = 16.0 if form == "hf" else quantize.BITS_PER_WEIGHT[quantization]
    return int(shape.parameters * bits / 8)


@cache
def _fingerprint(shape: Shape) -> str:
    """Changes with whatever changes the files, so that those of another version are not taken for ours."""
    parts = [
        synthetic.FORMAT,
        astuple(shape),
        tokenizer.LLAMA_CPP_PRE_TOKENIZER,
        tokenizer.CHAT_TEMPLATE,
        tokenizer.training_text(),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _gguf_name(shape: Shape, quantization: str) -> str:
    return f"{shape.name}-{quantization}.gguf"


def _ensure_huggingface(shape: Shape, *, quiet: bool) -> Mapping[str, File]:
    folder = entry_folder(shape, "hf", HUGGINGFACE_TYPE)
    size = estimated_size(shape, "hf", HUGGINGFACE_TYPE)

    def build(place: Path) -> None:
        with _progress(f"building {shape.model_name}", size, quiet=quiet) as advance:
            synthetic.write_huggingface(shape, place, advance)

    return ensure(folder, build, size=_with_margin(size))


def _ensure_gguf(shape: Shape, quantization: str, *, quiet: bool) -> Mapping[str, File]:
    folder = entry_folder(shape, "gguf", quantization)
    size = estimated_size(shape, "gguf", quantization)
    name = _gguf_name(shape, quantization)

    def write(place: Path, kind: synthetic.GgufType) -> None:
        with _progress(f"building {shape.model_name} as {kind} GGUF", size, quiet=quiet) as advance:
            synthetic.write_gguf(shape, place / name, kind, advance)

    def convert(place: Path) -> None:
        _ensure_gguf(shape, "f16", quiet=quiet)
        source = entry_folder(shape, "gguf", "f16") / _gguf_name(shape, "f16")
        with _progress(f"quantizing {shape.model_name} to {quantization}", None, quiet=quiet):
            quantize.quantize(source, place / name, quantization)

    kinds: dict[str, Callable[[Path], None]] = {
        "f16": partial(write, kind="f16"),
        "f32": partial(write, kind="f32"),
    }
    return ensure(folder, kinds.get(quantization, convert), size=_with_margin(size))


def _with_margin(size: int) -> int:
    """Quantized files keep some tensors larger, and a tokenizer has a few megabytes."""
    return size + size // 10 + (16 << 20)


@contextlib.contextmanager
def _progress(description: str, total: int | None, *, quiet: bool) -> Iterator[synthetic.Advance]:
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
