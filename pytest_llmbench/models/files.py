"""What do model files that lie on this machine hold, and are they whole?"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.errors import ModelError
from pytest_llmbench.models.cache import remembered_digest, weights_digest
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_PART = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf", re.IGNORECASE)
# What people call a type in file names, beside llama.cpp's own name.
_ALSO_CALLED = {"f16": ("fp16",), "f32": ("fp32",)}


def gguf_model(spec: ModelSpec, path: Path, *, chosen_by_name: bool = False) -> ResolvedModel:
    """The model in a GGUF file, or in all parts of a split one.

    :param path: the file, of a split one the first.
    :param chosen_by_name: the file was picked by its name for the quantisation that was asked for.
    :raises ModelError: if a file is missing, truncated, no GGUF, or of another quantisation.
    """
    from pytest_llmbench.models.gguf_header import read_header

    files = _parts(path)
    headers = [read_header(file) for file in files]
    holds = headers[0].quantization
    asked = spec.quantization
    if asked is not None and asked != holds and not chosen_by_name and not _named_after(path.name, asked):
        what = f"holds {holds}" if holds else "does not say which quantisation it holds"
        msg = f"{path} {what}, and {asked} was asked for; leave the quantisation out or name another file"
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


def _parts(path: Path) -> list[Path]:
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    if int(match["part"]) != 1:
        msg = f"{path} is a part of a split model; name the first part, ...-00001-of-{match['parts']}.gguf"
        raise ModelError(msg)
    names = [f"{match['stem']}-{i:05d}-of-{match['parts']}.gguf" for i in range(1, int(match["parts"]) + 1)]
    files = [path, *(path.with_name(name) for name in names[1:])]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        msg = f"{path} is the first of {len(files)} parts, and these are not beside it: {', '.join(missing)}"
        raise ModelError(msg)
    return files


def choose_gguf(names: Sequence[str], quantization: str | None, where: str) -> list[str]:
    """The GGUF file for a quantisation among *names*; several where it is split, in order.

    A file's name says what it is, in either case: ``model-Q4_K_M.gguf``, ``q4_k_m/model.gguf``.

    :param where: what holds the names, for the messages.
    :raises ModelError: if no model fits or several do; it lists what there is.
    """
    models: dict[str, list[str]] = {}
    for name in sorted(names):
        base = name.rpartition("/")[2].lower()
        # The projector of a multimodal model is no model.
        if base.endswith(".gguf") and not base.startswith("mmproj"):
            match = _PART.fullmatch(name)
            models.setdefault(match["stem"] if match else name, []).append(name)
    if not models:
        msg = f"{where} holds no GGUF file"
        raise ModelError(msg)
    fitting = [m for m in models if quantization is None or _named_after(m, quantization)]
    if len(fitting) == 1:
        return models[fitting[0]]
    there = ", ".join(files[0] for files in models.values())
    if not fitting:
        msg = f"{where} has no GGUF file for the quantisation {quantization}; there are: {there}"
    elif quantization is None:
        msg = f"{where} holds several GGUF files, say which quantisation you mean; there are: {there}"
    else:
        msg = (
            f"{where} has several GGUF files for the quantisation {quantization}: "
            f"{', '.join(models[m][0] for m in fitting)}; download one and name it by its path"
        )
    raise ModelError(msg)


def _named_after(name: str, quantization: str) -> bool:
    words = "|".join(map(re.escape, (quantization, *_ALSO_CALLED.get(quantization, ()))))
    return re.search(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9_])", name, re.IGNORECASE) is not None


def huggingface_model(spec: ModelSpec, folder: Path) -> ResolvedModel:
    """The model in a Hugging Face folder of safetensors.

    :raises ModelError: if a file is missing or truncated, or the weights are pickles.
    """
    config = _read_json(folder / "config.json")
    files = _weight_files(folder)
    parameters: int | None = 0
    types: Counter[str] = Counter()
    for file in files:
        for dtype, elements in _read_safetensors(file):
            types[dtype] += elements
    parameters = types.total()
    holds: str | None = types.most_common(1)[0][0].lower() if types else None
    if isinstance(packed := config.get("quantization_config"), dict):
        # Packed weights share a stored number, so counting those says nothing.
        parameters, holds = None, str(packed.get("quant_method", holds))
        if spec.quantization not in (None, holds):
            msg = (
                f"the weights in {folder} are quantised by {holds} already, and {spec.quantization} "
                "was asked for; leave the quantisation out"
            )
            raise ModelError(msg)
    return ResolvedModel(
        spec=spec,
        form="hf",
        path=folder,
        digest=weights_digest({file.name: remembered_digest(file) for file in files}),
        parameters=parameters,
        quantization=holds,
        size=sum(file.stat().st_size for file in files),
    )


def _weight_files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        places = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(places, dict) or not places:
            msg = f"{folder / INDEX} is damaged: it has no weight_map; fetch the model again"
            raise ModelError(msg)
        files = [folder / name for name in sorted(set(places.values()))]
        if missing := [file.name for file in files if not file.is_file()]:
            msg = f"{folder} lacks {', '.join(missing)}, which its index names; fetch the model again"
            raise ModelError(msg)
        return files
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    raise no_safetensors(str(folder), [path.name for path in folder.iterdir()])


def no_safetensors(where: str, names: Sequence[str]) -> ModelError:
    """The error for a folder or repository that holds *names* and no safetensors weights."""
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    ggufs = sorted(name for name in names if name.lower().endswith(".gguf"))
    if pickles:
        return ModelError(
            f"{where} has its weights as pickles only ({', '.join(pickles)}), which can run any code when "
            "they are loaded; use a revision with model.safetensors, or convert them if you trust the source"
        )
    if ggufs:
        return ModelError(
            f"{where} holds GGUF files ({', '.join(ggufs)}), and this backend needs a Hugging Face model "
            "with safetensors; run it on the backend llamacpp"
        )
    there = ", ".join(sorted(names)) or "nothing"
    return ModelError(f"{where} has no {SINGLE} and no {INDEX}; there is: {there}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        msg = f"{path.parent} is no Hugging Face model: it has no {path.name}"
        raise ModelError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read: {error}"
        raise ModelError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} is damaged: it holds no JSON object; fetch the model again"
        raise ModelError(msg)
    return content


def _read_safetensors(path: Path) -> list[tuple[str, int]]:
    """Data type and elements of each tensor, by the header alone."""
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > size - 8:
                msg = f"{path} is truncated: the file ends inside its header; fetch the model again"
                raise ModelError(msg)
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        found = [(entry["dtype"], math.prod(entry["shape"])) for entry in header.values()]
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is no safetensors file, or is damaged ({error}); fetch the model again"
        raise ModelError(msg) from error
    if end > size:
        msg = f"{path} is truncated: it has {size:,} of {end:,} bytes; fetch the model again"
        raise ModelError(msg)
    return found
