"""In which forms does a model lie at a path, and which of many GGUF files is meant?

One rule for folders of this machine and for repositories of a hub: names decide, because a hub shows
nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_llmbench.errors import ModelError
from pytest_llmbench.models.spec import FORMS, Form

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
GGUF_MAGIC = b"GGUF"
MAX_ENTRIES = 20_000
"""Files and folders below a model's folder that are looked at: it has some hundreds at most."""
_SHOWN = 20
"""Names that a message lists."""
_PART = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})(?P<of>-of-(?P<parts>\d{5})\.gguf)", re.IGNORECASE)
# What people call a type in file names, beside llama.cpp's own name.
_ALSO_CALLED = {"f16": ("fp16",), "f32": ("fp32",)}
# The projector of a multimodal model and the matrix that a model was quantized with are no models.
_NO_MODEL = re.compile(r"(?<![a-z0-9])(?:mmproj|imatrix)(?![a-z0-9])", re.IGNORECASE)


def forms_at(path: Path) -> frozenset[Form]:
    """The forms in which a model lies at *path*: of a file its own, of a folder those of its files.

    Whether the files are whole is found out when they are read.

    :raises ModelError: if no model lies there, or the folder holds too much to be a model's.
    """
    if path.is_file():
        if path.name.lower().endswith(".gguf") or _begins_as_gguf(path):
            return frozenset({"gguf"})
        msg = f"{path} is no GGUF file, and a Hugging Face model is named by its folder"
        raise ModelError(msg)
    forms = set[Form]()
    if _models(gguf_files(path)):
        forms.add("gguf")
    names = [file.name for file in path.iterdir()]
    # A repository of GGUF files has a config.json too, but no weights beside it.
    if any(name.endswith((".safetensors", *PICKLES)) for name in names) or (
        not forms and "config.json" in names
    ):
        forms.add("hf")
    if not forms:
        msg = (
            f"the folder {path} holds no model: neither a GGUF file nor a config.json with safetensors "
            f"weights; there is: {listed(sorted(names)) or 'nothing'}"
        )
        raise ModelError(msg)
    return frozenset(forms)


def gguf_files(folder: Path) -> list[str]:
    """The GGUF files in and below *folder*, as paths in it with slashes.

    :raises ModelError: if it holds too much to be a model's folder.
    """
    found, seen = [], 0
    # Links to files are files, as in a hub's cache; links to folders are not followed.
    for place, folders, files in os.walk(folder):
        seen += len(folders) + len(files)
        if seen > MAX_ENTRIES:
            msg = f"{folder} holds over {MAX_ENTRIES:,} files, so it is no model's folder; name that one"
            raise ModelError(msg)
        paths = (Path(place, name) for name in files if name.lower().endswith(".gguf"))
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
    :param holds: tells the quantization that a file holds, where the files are here; asked where no name
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
    there = listed([files[0] for files in fitting or models.values()])
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
            f"{listed(missing)}; fetch them too"
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


def no_safetensors(where: str, names: Sequence[str]) -> ModelError:
    """The error for a folder or repository that holds *names* and no safetensors weights."""
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    ggufs = sorted(name for name in names if name.lower().endswith(".gguf"))
    if pickles:
        return ModelError(
            f"{where} has its weights as pickles only ({listed(pickles)}), which can run any code when "
            "they are loaded; use a revision with model.safetensors, or convert them if you trust the source"
        )
    if ggufs:
        return ModelError(
            f"{where} holds {FORMS['gguf']} ({listed(ggufs)}), and this backend needs a Hugging Face model "
            "with safetensors; run it on the backend llamacpp"
        )
    there = listed(sorted(names)) or "nothing"
    return ModelError(f"{where} has no {SINGLE} and no {INDEX}; there is: {there}")


def listed(names: Sequence[str]) -> str:
    """*names* for a message, the first ones of many."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _models(names: Sequence[str]) -> dict[str, list[str]]:
    """The GGUF models among *names*: what is before the number of a part, or the name, to its files."""
    models: dict[str, list[str]] = {}
    for name in sorted(names):
        base = name.rpartition("/")[2]
        if base.lower().endswith(".gguf") and _NO_MODEL.search(base) is None:
            match = _PART.fullmatch(name)
            models.setdefault(f"{match['stem']}{match['of']}" if match else name, []).append(name)
    return models


def _begins_as_gguf(path: Path) -> bool:
    """Whether a file is GGUF by its content, whatever it is called, as in Ollama's store."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(GGUF_MAGIC)) == GGUF_MAGIC
    except OSError:
        return False
