"""What does llama.cpp's own library say and need, apart from generating?

Loading, contexts, its log and its facts, over the ctypes bindings of llama-cpp-python. They are
passed in as *native*, as the module that they are: what they hold differs from release to release.
"""

from __future__ import annotations

import ctypes
import re
from collections import deque
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_llmbench.backends.base import Options
from pytest_llmbench.backends.llama_choices import FLASH_ATTENTION, KV_TYPES
from pytest_llmbench.backends.threads import default_threads
from pytest_llmbench.errors import BackendUnavailableError, EngineError, ModelError
from pytest_llmbench.hardware.memory import available
from pytest_llmbench.metrics.units import size
from pytest_llmbench.models.attention import of_gguf

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

Pointer: TypeAlias = Any
"""A pointer, a struct or a callback of llama.cpp's: the bindings make their classes."""

_ALL_LAYERS = 0x7FFFFFFF

# llama.cpp reports what went wrong only in its log. The callback has to outlive every call.
_log: deque[tuple[int, str]] = deque(maxlen=200)
_log_callback: Pointer = None
_NO_MEMORY = re.compile(r"out of memory|(unable|failed) to allocate|cudaMalloc failed", re.IGNORECASE)
_LOG_INFO, _LOG_WARNING, _LOG_CONTINUED = 2, 3, 5


def _keep_log(level: int, text: bytes, _user_data: object) -> None:
    if level == _LOG_CONTINUED and _log:
        last_level, last = _log.pop()
        _log.append((last_level, last + text.decode(errors="replace")))
    elif level >= _LOG_INFO:
        _log.append((level, text.decode(errors="replace")))


def log_tail(lines: int = 5) -> str:
    """``": LINES"`` of llama.cpp's last warnings and errors, or an empty string."""
    told = [text.strip() for level, text in _log if level >= _LOG_WARNING and text.strip()]
    return "; llama.cpp says: " + " | ".join(told[-lines:]) if told else ""


def import_native() -> ModuleType:
    """``llama_cpp.llama_cpp``, its log caught instead of printed."""
    global _log_callback
    try:
        native = import_module("llama_cpp.llama_cpp")
    except Exception as error:
        # The package raises what it likes when its shared library does not load.
        msg = (
            f"llama-cpp-python cannot be imported: {type(error).__name__}: {error}; "
            "reinstall pytest-llmbench[llamacpp]"
        )
        raise BackendUnavailableError(msg) from error
    if _log_callback is None:
        _log_callback = native.llama_log_callback(_keep_log)
        native.llama_backend_init()
    native.llama_log_set(_log_callback, ctypes.c_void_p(0))
    return native


def gpu_layers(native: ModuleType, options: Options) -> int:
    """Layers on the GPU; -1 is all."""
    asked = options["n_gpu_layers"]
    if asked is None:
        return -1 if native.llama_supports_gpu_offload() else 0
    return -1 if asked < 0 else int(asked)


def load_model(native: ModuleType, path: Path, options: Options, *, vocab_only: bool = False) -> Pointer:
    """The model in *path*; with *vocab_only* without its weights.

    :raises ModelError: with llama.cpp's own words, if it cannot be read.
    :raises EngineError: if memory does not hold it.
    """
    params = native.llama_model_default_params()
    layers = gpu_layers(native, options)
    params.vocab_only = vocab_only
    params.n_gpu_layers = _ALL_LAYERS if layers < 0 else layers
    if hasattr(native, "LLAMA_LOAD_MODE_NONE"):
        modes = ("NONE", "MMAP", "MLOCK", "MMAP_MLOCK")
        mode = modes[bool(options["use_mmap"]) + 2 * bool(options["use_mlock"])]
        params.load_mode = getattr(native, f"LLAMA_LOAD_MODE_{mode}")
    else:
        # Older releases, with which a session may be compared, have two flags instead.
        params.use_mmap, params.use_mlock = options["use_mmap"], options["use_mlock"]
    _log.clear()
    model = native.llama_model_load_from_file(str(path).encode(), params)
    if not model and any(_NO_MEMORY.search(text) for _, text in _log):
        msg = (
            f"there is not enough memory to load {path}: use a smaller quantization or model, put fewer "
            f"layers on a GPU (llamacpp.n_gpu_layers), or end what else uses it{log_tail()}"
        )
        raise EngineError(msg)
    if not model:
        msg = (
            f"llama.cpp cannot load {path}: it is damaged, is not a GGUF file, or has an unknown "
            "architecture; "
            f"fetch or build it again{log_tail()}"
        )
        raise ModelError(msg)
    return model


def check_memory(native: ModuleType, model: Pointer, options: Options, n_ctx: int) -> None:
    """Refuse a context that memory cannot hold: llama.cpp would take all there is first.

    :raises EngineError: saying how much it needs, and how much there is.
    """
    # On a GPU the driver refuses by itself, and the machine goes on.
    if gpu_layers(native, options) or (needed := context_memory(native, model, options, n_ctx)) is None:
        return
    free = available()
    if needed > free:
        msg = (
            f"a context of {n_ctx} tokens needs {size(needed)} or more for its KV cache, and {size(free)} of "
            "memory are free: set a smaller llamacpp.n_ctx"
        )
        raise EngineError(msg)


def context_memory(native: ModuleType, model: Pointer, options: Options, n_ctx: int) -> int | None:
    """Bytes that a context takes at least; None where the release or the model does not report."""
    if any(getattr(native, f"llama_model_is_{kind}", _no)(model) for kind in ("recurrent", "hybrid")):
        return None
    attention = of_gguf(lambda key: _metadata(native, model, key))
    bits = KV_TYPES[options["type_k"]].bits, KV_TYPES[options["type_v"]].bits
    return None if attention is None else attention.memory(n_ctx, bits)


def _no(_model: Pointer) -> bool:
    return False


def _metadata(native: ModuleType, model: Pointer, key: str) -> str | None:
    """What the model's file has under a key; None for nothing, for a list, or where it cannot be asked."""
    read = getattr(native, "llama_model_meta_val_str", None)
    value = ctypes.create_string_buffer(256)
    if read is None or read(model, key.encode(), value, len(value)) < 0:
        return None
    return value.value.decode(errors="replace")


def make_context(native: ModuleType, model: Pointer, options: Options, n_ctx: int) -> tuple[Pointer, str]:
    """The context, and whether flash attention is on (``auto`` is resolved where llama.cpp says so)."""
    params = native.llama_context_default_params()
    threads = options["n_threads"] or default_threads()
    params.n_ctx = n_ctx
    params.n_batch, params.n_ubatch = options["n_batch"], options["n_ubatch"]
    params.n_threads, params.n_threads_batch = threads, options["n_threads_batch"] or threads
    params.type_k, params.type_v = KV_TYPES[options["type_k"]].number, KV_TYPES[options["type_v"]].number
    flash = options["flash_attn"]
    if hasattr(params, "flash_attn_type"):
        params.flash_attn_type = FLASH_ATTENTION[flash]
    else:
        params.flash_attn = flash == "on"
    # What keeps only the window of sliding attention cannot be cut back, and nothing says so.
    params.swa_full = True
    if hasattr(params, "n_outputs_max"):
        # Only the last token's logits are ever asked for: no room for n_ubatch rows of them.
        params.n_outputs_max = 1
    _log.clear()
    context = native.llama_init_from_model(model, params)
    if not context:
        msg = (
            f"llama.cpp cannot make a context of {n_ctx} tokens (K {options['type_k']}, "
            f"V {options['type_v']}, flash attention {flash}): set a smaller llamacpp.n_ctx, "
            f"or other cache types{log_tail()}"
        )
        raise EngineError(msg)
    resolved = re.compile(r"Flash Attention (?:was auto, set to )?(enabled|disabled)")
    said = [match[1] for _, text in _log if (match := resolved.search(text))]
    return context, f"auto ({said[-1]})" if said and flash == "auto" else flash


_DECODE_CODES = {
    1: "the KV cache has no free slot: set a larger llamacpp.n_ctx",
    2: "the computation was aborted",
    -1: "the batch was invalid: a token id outside the vocabulary?",
    -2: "memory could not be allocated: set a smaller llamacpp.n_ctx or llamacpp.n_ubatch",
    -3: "the computation failed",
}


def decode_error(code: int) -> EngineError:
    """What a non-zero result of ``llama_decode`` means; see its comment in llama.h."""
    meaning = _DECODE_CODES.get(code, "a fatal error")
    return EngineError(f"llama_decode returned {code}: {meaning}{log_tail()}")


def description(native: ModuleType, model: Pointer) -> str:
    """The model in llama.cpp's words: architecture, size class, file type."""
    buffer = ctypes.create_string_buffer(256)
    native.llama_model_desc(model, buffer, len(buffer))
    return buffer.value.decode(errors="replace")


def file_type(native: ModuleType, model: Pointer) -> str | None:
    """What most of the file's weights are stored as; None where the release does not report."""
    if not hasattr(native, "llama_ftype_name"):
        return None
    name = native.llama_ftype_name(native.llama_model_ftype(model))
    return name.decode() if name else None


def devices(native: ModuleType) -> list[str]:
    """What ggml can compute on, as it describes it; empty where it does not report."""
    try:
        count, get, describe = (
            native._lib[f"ggml_backend_dev_{name}"] for name in ("count", "get", "description")
        )
    except AttributeError:
        return []
    count.argtypes, count.restype = [], ctypes.c_size_t
    get.argtypes, get.restype = [ctypes.c_size_t], ctypes.c_void_p
    describe.argtypes, describe.restype = [ctypes.c_void_p], ctypes.c_char_p
    return [describe(get(i)).decode(errors="replace") for i in range(count())]
