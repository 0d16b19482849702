"""How is a model of GGUF files recognized, chosen, read and built?

One rule for folders of this machine and for repositories of a hub: names decide which of many files is
meant, because a hub shows nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.errors import ModelError, few, suggest
from pytest_llmbench.models.cache import remembered_digest, weights_digest
from pytest_llmbench.models.gguf_header import MAGIC, read_header
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel

if TYPE_CHECKING:
    from pytest_llmbench.models.outline import Outline
    from pytest_llmbench.models.synthetic.builder import Entry
    from pytest_llmbench.models.synthetic.shapes import Shape
    from pytest_llmbench.models.synthetic.weights import Advance

SUFFIX = ".gguf"
MAX_ENTRIES = 20_000
"""Files and folders below a model's folder that are looked at: it has some hundreds at most."""
_PART = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})(?P<of>-of-(?P<parts>\d{5})\.gguf)", re.IGNORECASE)
# What people call a type in file names, beside llama.cpp's own name.
_ALSO_CALLED = {"f16": ("fp16",), "f32": ("fp32",)}
# The projector of a multimodal model and the matrix that a model was quantized with are not models.
_NO_MODEL = re.compile(r"(?<![a-z0-9])(?:mmproj|imatrix)(?![a-z0-9])", re.IGNORECASE)


BITS_PER_WEIGHT = {
    "f32": 32.0,
    "f16": 16.0,
    "bf16": 16.0,
    "q8_0": 8.5,
    "q6_k": 6.57,
    "q5_k_m": 5.70,
    "q4_k_m": 4.89,
    "q4_0": 4.64,
}
"""The quantizations that a synthetic model can be built in; bits that a weight of a large model takes."""
_WRITTEN = ("f32", "f16")
"""Of these, what is written from the shape; the others are quantized."""


class Gguf:
    """The form ``gguf``: one file, or the parts of a split one, which hold their quantization."""

    name = "gguf"
    models = "GGUF files"
    looks = "a GGUF file"
    backend = "llamacpp"
    quantized = True
    quantizations = tuple(BITS_PER_WEIGHT)

    def is_model(self, file: Path) -> bool:
        """A file is GGUF by its name, or by its content, whatever it is called, as in Ollama's store."""
        return file.name.lower().endswith(SUFFIX) or _begins_as_gguf(file)

    def weights_in(self, folder: Path, names: Sequence[str]) -> bool:
        """Whether a GGUF model lies in *folder*, or below it."""
        del names
        return bool(_models(gguf_files(folder)))

    def described_in(self, names: Sequence[str]) -> bool:
        """Never: a GGUF file says all of itself."""
        del names
        return False

    def local(self, spec: ModelSpec, path: Path) -> ResolvedModel:
        """The GGUF model that is *path*, or lies in it.

        :raises ModelError: if there is none, or it is not the one that was asked for.
        """
        if path.is_file():
            return gguf_model(spec, path)
        return gguf_model(spec, _file_in(spec, path), chosen_by_name=True)

    def place(self, spec: ModelSpec, path: Path) -> Path:
        """The GGUF file that is *path*, or lies in it; of a split one the first.

        :raises ModelError: if there is none, or it is not the one that was asked for.
        """
        return parts_of(path if path.is_file() else _file_in(spec, path))[0]

    def outline(self, place: Path) -> Outline:
        """What the header of a GGUF file says.

        :raises ModelError: if it is not one, or a part of it is missing.
        """
        from pytest_llmbench.models.attention import count, of_gguf
        from pytest_llmbench.models.outline import Outline

        files = parts_of(place)
        said = read_header(files[0], tensors=False).metadata.get
        return Outline(
            size=sum(file.stat().st_size for file in files),
            context=count(said(f"{said('general.architecture')}.context_length")),
            attention=of_gguf(said),
        )

    def choose(self, spec: ModelSpec, names: Sequence[str], where: str) -> list[str]:
        """The GGUF file of a hub's repository; several where it is split, in order.

        :raises ModelError: if no model fits or several do; it lists what there is.
        """
        if spec.file is not None:
            return _file_of(names, spec.file, where)
        return choose_gguf(names, spec.quantization, where)

    def fetched(self, spec: ModelSpec, folder: Path, chosen: Sequence[str]) -> ResolvedModel:
        """The model that was *chosen* and lies below *folder* now."""
        return gguf_model(spec, folder / chosen[0], chosen_by_name=True)

    def synthetic(self, shape: Shape, quantization: str | None) -> Entry:
        """How a synthetic model is built: f32 and f16 are written, the others quantized from f16.

        :raises ModelError: for a quantization that it cannot be built in.
        """
        from pytest_llmbench.models.synthetic.builder import Entry

        holds = quantization or "f16"
        if holds not in BITS_PER_WEIGHT:
            known = self.quantizations
            msg = (
                f"{shape.model_name} cannot be built as {holds} GGUF{suggest(holds, known).rstrip('?')}; "
                f"it can be built as {', '.join(known)}"
            )
            raise ModelError(msg)
        file = f"{shape.name}-{holds}{SUFFIX}"
        source = None if holds in _WRITTEN else self.synthetic(shape, "f16")
        doing = f"building {shape.model_name} as {holds} GGUF"

        def write(folder: Path, advance: Advance) -> None:
            if source is None:
                from pytest_llmbench.models.synthetic.weights import write_gguf

                write_gguf(shape, folder / file, "f32" if holds == "f32" else "f16", advance)
            else:
                from pytest_llmbench.models.synthetic.quantize import quantize

                quantize(source.path, folder / file, holds)

        return Entry(
            shape,
            form=self.name,
            quantization=holds,
            bits=BITS_PER_WEIGHT[holds],
            folder_name=f"{self.name}-{holds}",
            suffix=SUFFIX,
            doing=doing if source is None else f"quantizing {shape.model_name} to {holds}",
            write=write,
            file=file,
            source=source,
        )


def _file_in(spec: ModelSpec, folder: Path) -> Path:
    """The GGUF file in a folder that is meant; of a split one the first.

    :raises ModelError: if no model fits or several do; it lists what there is.
    """
    names = gguf_files(folder)
    if not names:
        msg = (
            f"{folder} holds no GGUF file, and llama.cpp needs one: convert the folder with llama.cpp's "
            "convert_hf_to_gguf.py, or run it on the backend transformers"
        )
        raise ModelError(msg)
    if spec.file is not None:
        return folder / _file_of(names, spec.file, str(folder))[0]
    holds: Callable[[str], str | None] = lambda name: read_header(folder / name).quantization  # noqa: E731
    return folder / choose_gguf(names, spec.quantization, str(folder), holds)[0]


def gguf_model(spec: ModelSpec, path: Path, *, chosen_by_name: bool = False) -> ResolvedModel:
    """The model in a GGUF file, or in all parts of a split one.

    :param path: the file, of a split one the first.
    :param chosen_by_name: the file was picked by its name for the quantization that was asked for.
    :raises ModelError: if a file is missing, truncated, no GGUF, or of another quantization.
    """
    files = parts_of(path)
    headers = [read_header(file) for file in files]
    holds = headers[0].quantization
    asked = spec.quantization
    if asked is not None and asked != holds and not chosen_by_name and not named_after(path.name, asked):
        what = f"holds {holds}" if holds else "does not say which quantization it holds"
        msg = f"{path} {what}, and {asked} was asked for; leave the quantization out or name another file"
        raise ModelError(msg)
    return ResolvedModel(
        spec=spec,
        form="gguf",
        path=files[0],
        digest=weights_digest({file.name: remembered_digest(file) for file in files}),
        parameters=sum(header.parameters for header in headers),
        quantization=holds or asked,
        size=sum(file.stat().st_size for file in files),
    )


def gguf_files(folder: Path) -> list[str]:
    """The GGUF files in and below *folder*, as paths in it with slashes.

    :raises ModelError: if it holds too much to be a model's folder.
    """
    found, seen = [], 0
    # Links to files are files, as in a hub's cache; links to folders are not followed.
    for place, folders, files in os.walk(folder):
        seen += len(folders) + len(files)
        if seen > MAX_ENTRIES:
            msg = (
                f"{folder} holds over {MAX_ENTRIES:,} files, so it is not a model's folder; name the "
                "model's own folder"
            )
            raise ModelError(msg)
        paths = (Path(place, name) for name in files if name.lower().endswith(SUFFIX))
        found += [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
    return sorted(found)


def choose_gguf(
    names: Sequence[str],
    quantization: str | None,
    where: str,
    holds: Callable[[str], str | None] | None = None,
) -> list[str]:
    """The GGUF file for a quantization among *names*; several where it is split, in order.

    A file's name says what it is, in either case: ``model-Q4_K_M.gguf``, ``q4_k_m/model.gguf``.

    :param where: what holds the names, for the messages.
    :param holds: returns the quantization that a file holds, where the files are here; asked where no name
        tells.
    :raises ModelError: if no model fits or several do; it lists what there is.
    """
    models = _models(names)
    if not models:
        msg = f"{where} holds no GGUF file"
        raise ModelError(msg)
    fitting = [
        files for name, files in models.items() if quantization is None or named_after(name, quantization)
    ]
    if not fitting and holds is not None:
        fitting = [files for files in models.values() if holds(files[0]) == quantization]
    if len(fitting) == 1:
        return fitting[0]
    there = few([files[0] for files in fitting or models.values()], 20)
    if not fitting:
        msg = f"{where} has no GGUF file for the quantization {quantization}; there are: {there}"
    elif quantization is None:
        msg = (
            f"{where} holds several GGUF files, say which quantization you mean "
            f"(--llm-quantization NAME); there are: {there}"
        )
    else:
        msg = (
            f"{where} has several GGUF files for the quantization {quantization}: {there}; name one by its "
            "path (of a hub's repository, download it first)"
        )
    raise ModelError(msg)


def _file_of(names: Sequence[str], file: str, where: str) -> list[str]:
    """The model among *names* that *file* is, or is a part of.

    :raises ModelError: if there is no such file; it names the nearest.
    """
    models = _models(names)
    for files in models.values():
        if file in files:
            return files
    there = [files[0] for files in models.values()]
    msg = (
        f"{where} has no GGUF file {file!r}{suggest(file, there) or '.'} There is {few(there, 20) or 'none'}"
    )
    raise ModelError(msg)


def parts_of(path: Path) -> list[Path]:
    """All files of the GGUF model at *path*: itself, or each part of a split one.

    :raises ModelError: if a part is missing, or *path* is not the first one.
    """
    match = _PART.fullmatch(path.name)
    if match is None or not 1 <= (number := int(match["part"])) <= (parts := int(match["parts"])):
        return [path]
    names = [f"{match['stem']}-{part:05d}{match['of']}" for part in range(1, parts + 1)]
    missing = [name for name in names if not path.with_name(name).is_file()]
    if missing:
        msg = (
            f"{path} is part {number} of a model in {parts} parts, and these are not beside it: "
            f"{few(missing, 20)}; fetch them too"
        )
        raise ModelError(msg)
    if number != 1:
        msg = f"{path} is a part of a split model; name the first part, ...-00001{match['of']}"
        raise ModelError(msg)
    return [path.with_name(name) for name in names]


def named_after(name: str, quantization: str) -> bool:
    """Whether a file's name says that it holds *quantization*."""
    words = "|".join(map(re.escape, (quantization, *_ALSO_CALLED.get(quantization, ()))))
    return re.search(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9_])", name, re.IGNORECASE) is not None


def _models(names: Sequence[str]) -> dict[str, list[str]]:
    """The GGUF models among *names*: what is before the number of a part, or the name, to its files."""
    models: dict[str, list[str]] = {}
    for name in sorted(names):
        base = name.rpartition("/")[2]
        if base.lower().endswith(SUFFIX) and _NO_MODEL.search(base) is None:
            match = _PART.fullmatch(name)
            models.setdefault(f"{match['stem']}{match['of']}" if match else name, []).append(name)
    return models


def _begins_as_gguf(path: Path) -> bool:
    """Whether a file is GGUF by its content, whatever it is called, as in Ollama's store."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False
