"""What does llama.cpp offer, and with which options, on GGUF files?

Only described here; :mod:`pytest_llmbench.backends.llama_engine` runs it, in the worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pytest_llmbench.backends.base import Availability, Engine, Options, OptionSpec, Vocabulary, at_most
from pytest_llmbench.backends.llama_choices import DEFAULT_CONTEXT, FLASH_ATTENTION, KV_TYPES
from pytest_llmbench.backends.versions import installed_versions
from pytest_llmbench.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmbench.models.attention import KVBits
    from pytest_llmbench.models.outline import Outline
    from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel

MOST_THREADS = 512
"""GGML_MAX_N_THREADS, in ggml.h: with more, the process is aborted."""

QUANTIZATIONS = (
    *("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0"),
    *("q4_k_m", "q4_k_s", "q4_1", "q4_0", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k", "q2_k_s"),
    *("iq4_nl", "iq4_xs", "iq3_m", "iq3_s", "iq3_xs", "iq3_xxs", "iq2_m", "iq2_s", "iq2_xs", "iq2_xxs"),
    *("iq1_m", "iq1_s", "tq2_0", "tq1_0", "mxfp4", "nvfp4"),
)
"""The file types of llama.cpp's ``llama_ftype``, as GGUF file names write them."""


class LlamaCppBackend:
    """llama.cpp in process, on GGUF files."""

    name: str = "llamacpp"
    extra: str = "llamacpp"
    form: Form = "gguf"
    quantizations: tuple[str, ...] = QUANTIZATIONS
    modules: tuple[str, ...] = ("llama_cpp",)
    options: tuple[OptionSpec, ...] = (
        OptionSpec(
            "n_threads",
            int,
            None,
            "threads that decode; default: physical cores minus one, at least one",
            minimum=1,
            maximum=MOST_THREADS,
            also=("threads",),
        ),
        OptionSpec(
            "n_threads_batch",
            int,
            None,
            "threads that evaluate the prompt; default: n_threads",
            minimum=1,
            maximum=MOST_THREADS,
            also=("threads-batch",),
        ),
        OptionSpec(
            "n_ctx",
            int,
            None,
            "context in tokens; default: what the model was trained for, at most 4096 or what the test needs",
            minimum=1,
            also=("ctx-size",),
            context=True,
            default_context=DEFAULT_CONTEXT,
        ),
        OptionSpec(
            "n_batch",
            int,
            2048,
            "prompt tokens handed to llama_decode at once",
            minimum=1,
            also=("batch-size",),
            holds=at_most,
        ),
        OptionSpec(
            "n_ubatch",
            int,
            512,
            "prompt tokens computed at once",
            minimum=1,
            also=("ubatch-size",),
            holds=at_most,
        ),
        OptionSpec(
            "n_gpu_layers",
            int,
            None,
            "layers on the GPU, -1 is all; default: all where the build has a GPU",
            minimum=-1,
            also=("ngl", "gpu-layers"),
            holds=at_most,
        ),
        OptionSpec("flash_attn", str, "auto", "flash attention", tuple(FLASH_ATTENTION)),
        OptionSpec("type_k", str, "f16", "type of the K cache", tuple(KV_TYPES), also=("cache-type-k",)),
        OptionSpec(
            "type_v",
            str,
            "f16",
            "type of the V cache; a quantized one needs flash attention",
            tuple(KV_TYPES),
            also=("cache-type-v",),
        ),
        OptionSpec("use_mmap", bool, True, "map the file instead of reading it", also=("mmap",)),
        OptionSpec("use_mlock", bool, False, "keep the weights in memory", also=("mlock",)),
    )

    def availability(self) -> Availability:
        """Whether llama-cpp-python is installed."""
        if find_spec("llama_cpp") is None:
            reason = "llama-cpp-python is not installed: pip install 'pytest-llmbench[llamacpp]'"
            return Availability(False, reason)
        return Availability(True)

    def versions(self) -> Mapping[str, str]:
        """Version of llama-cpp-python, which says which llama.cpp it was built with."""
        return installed_versions("llama-cpp-python")

    def kv_bits(self, outline: Outline, quantization: str | None, options: Options) -> KVBits:
        """As the options say, whatever the model is stored as."""
        del outline, quantization
        return KV_TYPES[options["type_k"]].bits, KV_TYPES[options["type_v"]].bits

    def load_vocabulary(self, spec: ModelSpec, path: Path, options: Options) -> Vocabulary:
        """The vocabulary in the GGUF file at *path*.

        :raises ModelError: for a file that llama.cpp cannot read, with llama.cpp's own words.
        """
        from pytest_llmbench.backends import llama_native
        from pytest_llmbench.backends.llama_vocabulary import LlamaVocabulary

        del spec
        native = llama_native.import_native()
        return LlamaVocabulary(native, llama_native.load_model(native, path, options, vocab_only=True))

    def load(self, model: ResolvedModel, options: Options) -> Engine:
        """Load the GGUF file at ``model.path``.

        :raises ModelError: for a file that llama.cpp cannot read, with llama.cpp's own words.
        :raises EngineError: for a context that cannot be made, or options that this build cannot follow.
        """
        from pytest_llmbench.backends import llama_native
        from pytest_llmbench.backends.llama_engine import LlamaCppEngine

        native = llama_native.import_native()
        if options["n_gpu_layers"] and not native.llama_supports_gpu_offload():
            msg = (
                "llamacpp.n_gpu_layers asks for a GPU, but this llama-cpp-python was built without one; "
                "reinstall it with CMAKE_ARGS=-DGGML_CUDA=on (or Metal, Vulkan, ...), or leave the option out"
            )
            raise EngineError(msg)
        handle = llama_native.load_model(native, model.path, options)
        try:
            return LlamaCppEngine(native, handle, options)
        except BaseException:
            native.llama_model_free(handle)
            raise
