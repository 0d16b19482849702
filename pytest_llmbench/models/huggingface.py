"""How is a Hugging Face model, a folder of safetensors, recognized, chosen, read and built?"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.errors import ModelError, few
from pytest_llmbench.models.cache import remembered_digest, weights_digest
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel

if TYPE_CHECKING:
    from pytest_llmbench.models.outline import Outline
    from pytest_llmbench.models.synthetic.builder import Entry
    from pytest_llmbench.models.synthetic.shapes import Shape
    from pytest_llmbench.models.synthetic.weights import Advance

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SUFFIX = ".safetensors"
# The weights that Transformers would load, and what belongs to them; not the same weights in other
# formats. Python files are only run where trust_remote_code is asked for by name.
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
_BESIDE = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".py")
_TYPES: dict[object, str] = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""What a config calls the types of weights."""
_BUILT_AS = "f16"
"""What the weights of a synthetic model are stored as; an engine may quantize them when it loads."""


class HuggingFace:
    """The form ``hf``: a folder with a config and safetensors, which an engine quantizes as it loads."""

    name = "hf"
    models = "Hugging Face folders"
    looks = "a folder with config.json and safetensors weights"
    backend = "transformers"
    quantized = False
    quantizations: tuple[str, ...] = (_BUILT_AS,)

    def is_model(self, file: Path) -> bool:
        """Never: a Hugging Face model is named by its folder."""
        del file
        return False

    def weights_in(self, folder: Path, names: Sequence[str]) -> bool:
        """Whether weights lie in *folder* that a Hugging Face model may have."""
        del folder
        return any(name.endswith((SUFFIX, *PICKLES)) for name in names)

    def described_in(self, names: Sequence[str]) -> bool:
        """Whether a config is there. A repository of GGUF files has one too."""
        return "config.json" in names

    def local(self, spec: ModelSpec, path: Path) -> ResolvedModel:
        """The model in the folder *path*.

        :raises ModelError: if it is not a folder, or is not complete.
        """
        if path.is_dir():
            return huggingface_model(spec, path)
        msg = (
            f"{path} is a file, and this backend needs a Hugging Face folder with config.json and "
            "safetensors weights; run a GGUF file on the backend llamacpp"
        )
        raise ModelError(msg)

    def place(self, spec: ModelSpec, path: Path) -> Path:
        """The folder itself."""
        del spec
        return path

    def outline(self, place: Path) -> Outline:
        """What the config of the model in a folder says.

        :raises ModelError: if it is not complete.
        """
        from pytest_llmbench.models.attention import count, of_config, text_config
        from pytest_llmbench.models.outline import Outline

        config = _read_json(place / "config.json")
        files = _weight_files(place)
        text = text_config(config)
        types = {one.get("dtype") or one.get("torch_dtype") for one in (text, config)} - {None}
        return Outline(
            size=sum(file.stat().st_size for file in files),
            context=count(text.get("max_position_embeddings")),
            attention=of_config(config),
            dtype=_TYPES.get(types.pop()) if len(types) == 1 else None,
        )

    def choose(self, spec: ModelSpec, names: Sequence[str], where: str) -> list[str]:
        """The weights of a hub's repository, and what belongs to them.

        :raises ModelError: if it has none as safetensors.
        """
        del spec
        weights = [name for name in names if _WEIGHTS.fullmatch(name)]
        if SINGLE not in weights and INDEX not in weights:
            raise no_safetensors(where, names)
        if INDEX in weights:
            # Where there are both, the index is what counts.
            weights = [name for name in weights if name != SINGLE]
        beside = [name for name in names if "/" not in name and name.endswith(_BESIDE)]
        return sorted({*weights, *beside})

    def fetched(self, spec: ModelSpec, folder: Path, chosen: Sequence[str]) -> ResolvedModel:
        """The model that lies in *folder* now."""
        del chosen
        return huggingface_model(spec, folder)

    def synthetic(self, shape: Shape, quantization: str | None) -> Entry:
        """How a synthetic model is built; its files are the same for each *quantization*."""
        from pytest_llmbench.models.synthetic.builder import Entry

        del quantization

        def write(folder: Path, advance: Advance) -> None:
            from pytest_llmbench.models.synthetic import weights

            weights.write_huggingface(shape, folder, advance)

        return Entry(
            shape,
            form=self.name,
            quantization=_BUILT_AS,
            bits=16.0,
            folder_name=self.name,
            suffix=SUFFIX,
            doing=f"building {shape.model_name}",
            write=write,
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
        # Packed weights share a stored number, so counting those is of no use.
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


def no_safetensors(where: str, names: Sequence[str]) -> ModelError:
    """The error for a folder or repository that holds *names* and no safetensors weights."""
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    ggufs = sorted(name for name in names if name.lower().endswith(".gguf"))
    if pickles:
        return ModelError(
            f"{where} has its weights as pickles only ({few(pickles, 20)}), which can run any code when "
            "they are loaded; use a revision with model.safetensors, or convert them if you trust the source"
        )
    if ggufs:
        return ModelError(
            f"{where} holds GGUF files ({few(ggufs, 20)}), and this backend needs a Hugging Face model "
            "with safetensors; run it on the backend llamacpp"
        )
    there = few(sorted(names), 20) or "nothing"
    return ModelError(f"{where} has no {SINGLE} and no {INDEX}; there is: {there}")


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


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        msg = f"{path.parent} is not a Hugging Face model: it has no {path.name}"
        raise ModelError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read: {error}"
        raise ModelError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} is damaged: it is not a JSON object; fetch the model again"
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
        msg = f"{path} is not a safetensors file, or is damaged ({error}); fetch the model again"
        raise ModelError(msg) from error
    if end > size:
        msg = f"{path} is truncated: it has {size:,} of {end:,} bytes; fetch the model again"
        raise ModelError(msg)
    return found
