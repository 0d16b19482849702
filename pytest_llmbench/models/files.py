"""What do model files that lie on this machine hold, and are they whole?"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from pytest_llmbench.errors import ModelError
from pytest_llmbench.models.cache import remembered_digest, weights_digest
from pytest_llmbench.models.forms import INDEX, SINGLE, named_after, no_safetensors, parts_of
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel


def gguf_model(spec: ModelSpec, path: Path, *, chosen_by_name: bool = False) -> ResolvedModel:
    """The model in a GGUF file, or in all parts of a split one.

    :param path: the file, of a split one the first.
    :param chosen_by_name: the file was picked by its name for the quantization that was asked for.
    :raises ModelError: if a file is missing, truncated, no GGUF, or of another quantization.
    """
    from pytest_llmbench.models.gguf_header import read_header

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
                f"the weights in {folder} are quantized by {holds} already, and {spec.quantization} "
                "was asked for; leave the quantization out"
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
