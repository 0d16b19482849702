"""How does Transformers load a model: on which device, in which type, quantized by whom?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pytest_llmbench.backends.base import Options
from pytest_llmbench.errors import BackendUnavailableError, EngineError, LLMBenchError, ModelError, UsageError

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils.quantization_config import QuantizationConfigMixin

    from pytest_llmbench.models.spec import ResolvedModel

DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
TORCHAO = ("int8_torchao", "int8_dynamic_torchao", "int4_torchao")
BITSANDBYTES = ("bnb_int8", "bnb_nf4")


def load_tokenizer(path: Path, trusted: bool) -> PreTrainedTokenizerBase:
    """The tokenizer in the folder *path*; *trusted* is whether code that lies there may run."""
    auto = import_library("transformers").AutoTokenizer
    return auto.from_pretrained(path, local_files_only=True, trust_remote_code=trusted)


def load_model(
    torch: ModuleType, model: ResolvedModel, options: Options, device: torch.device, trusted: bool
) -> PreTrainedModel:
    """The model on its *device*, ready to generate.

    :raises ModelError: if weights are missing, which Transformers would fill with random numbers.
    """
    arguments: dict[str, object] = {"dtype": _dtype(torch, model.spec.quantization, options["dtype"])}
    config = _quantization_config(torch, model.spec.quantization, device)
    if config is not None:
        arguments["quantization_config"] = config
    if options["attn_implementation"] != "auto":
        arguments["attn_implementation"] = options["attn_implementation"]
    # Loading straight to a GPU needs accelerate; without it the weights go through the host's memory.
    direct = device.type != "cpu" and find_spec("accelerate") is not None
    if direct:
        arguments["device_map"] = {"": device}
    network, report = import_library("transformers").AutoModelForCausalLM.from_pretrained(
        model.path,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=trusted,
        output_loading_info=True,
        **arguments,
    )
    # Transformers would fill these with random numbers and go on.
    absent = sorted(report["missing_keys"])
    if absent:
        msg = (
            f"{model.path} lacks {len(absent)} of the model's weights, {absent[0]} among them; "
            "fetch or build it again"
        )
        raise ModelError(msg)
    if not direct and device.type != "cpu":
        network = network.to(device)
    return network.eval()


def choose_device(torch: ModuleType, asked: str) -> torch.device:
    """The device that is *asked* for; ``auto`` is a GPU where there is one.

    :raises UsageError: for one that PyTorch does not know; :raises EngineError: for one that is not here.
    """
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        msg = (
            f"option transformers.device={asked}: PyTorch does not know this device; use cpu, cuda, "
            "cuda:1, mps"
        )
        raise UsageError(msg) from error
    usable = {
        "cuda": lambda: torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available,
    }.get(device.type, lambda: True)
    if not usable():
        msg = (
            f"option transformers.device={asked}: PyTorch {torch.__version__} does not find this device here"
        )
        raise EngineError(msg)
    return device


def _dtype(torch: ModuleType, quantization: str | None, option: str) -> torch.dtype | str:
    """The type of the (unquantized) weights: what is asked for, or ``auto``, which is as stored."""
    if quantization in DTYPES:
        if option not in ("auto", quantization):
            msg = (
                f"quantization {quantization} and option transformers.dtype={option} contradict each other; "
                "leave the option out"
            )
            raise UsageError(msg)
        option = quantization
    if quantization == "int4_torchao" and option == "auto":
        # Its kernel takes no other type.
        option = "bf16"
    return "auto" if option == "auto" else getattr(torch, DTYPES[option])


def _quantization_config(
    torch: ModuleType, quantization: str | None, device: torch.device
) -> QuantizationConfigMixin | None:
    """What makes Transformers quantize while it loads; None for plain weights."""
    if quantization in TORCHAO:
        _need("torchao", quantization)
        quant = import_library("torchao.quantization")
        if quantization == "int4_torchao" and device.type != "cuda":
            msg = (
                f"quantization int4_torchao needs a CUDA GPU, torchao has no kernel of it for {device.type}; "
                "use int8_torchao"
            )
            raise EngineError(msg)
        if quantization == "int8_torchao":
            kind = quant.Int8WeightOnlyConfig()
        elif quantization == "int8_dynamic_torchao":
            kind = quant.Int8DynamicActivationInt8WeightConfig()
        else:
            kind = quant.Int4WeightOnlyConfig(group_size=32, int4_packing_format="tile_packed_to_4d")
        return import_library("transformers").TorchAoConfig(kind)
    if quantization in BITSANDBYTES:
        _need("bitsandbytes", quantization)
        _need("accelerate", quantization)
        config = import_library("transformers").BitsAndBytesConfig
        if quantization == "bnb_int8":
            return config(load_in_8bit=True)
        return config(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    return None


def _need(package: str, quantization: str) -> None:
    if find_spec(package) is None:
        msg = f"quantization {quantization} needs {package}, which is not installed: pip install {package}"
        raise BackendUnavailableError(msg)


def import_library(name: str) -> ModuleType:
    """A module of PyTorch, of Transformers or of what they quantize with.

    :raises BackendUnavailableError: whatever it raises while it is imported.
    """
    try:
        return import_module(name)
    except Exception as error:
        msg = (
            f"{name} cannot be imported: {type(error).__name__}: {error}; "
            "reinstall pytest-llmbench[transformers]"
        )
        raise BackendUnavailableError(msg) from error


def quiet() -> None:
    """Keep Transformers from printing."""
    logging = import_library("transformers.utils.logging")
    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def explained(doing: str, *, out_of_memory: str) -> Iterator[None]:
    """Turn what Transformers raises while *doing* something into an error that says what to do."""
    # A tokenizer needs no PyTorch.
    torch = sys.modules.get("torch")
    try:
        yield
    except LLMBenchError:
        raise
    except ImportError as error:
        msg = f"Transformers lacks a package, cannot {doing}: {error}"
        raise BackendUnavailableError(msg) from error
    except Exception as error:
        # Without room for CUDA's own context, PyTorch raises another error than for a tensor.
        full = torch is not None and isinstance(error, torch.OutOfMemoryError)
        if full or "CUDA error: out of memory" in str(error):
            said = str(error).partition("\n")[0]
            advice = f"{out_of_memory}, or end what else uses it"
            msg = f"the GPU's memory is full, cannot {doing}: {advice} ({said})"
            raise EngineError(msg) from error
        kind = ModelError if doing.startswith("load") else EngineError
        msg = f"Transformers cannot {doing}: {type(error).__name__}: {error}"
        raise kind(msg) from error
