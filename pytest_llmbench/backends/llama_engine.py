"""How is a GGUF model run by llama.cpp, in this process, with nothing between?

The engine stands on the low-level API of llama-cpp-python, which mirrors ``llama.h``. Its
high-level ``Llama`` class is not used: it costs up to 40% of the decode speed of small models,
and it silently reuses the prompt's KV cache from call to call.

Greedy decoding takes the largest logit with numpy, straight from llama.cpp's buffer.
``llama_sampler_sample`` would first copy the vocabulary into an array of candidates: 0.3 ms a
token for 128 k entries, against 8 µs. Both take the first of equal logits. With a temperature,
llama.cpp's own sampler chain is used, in its default order: top-k, top-p, temperature, draw.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_llmbench.backends import llama_native
from pytest_llmbench.backends.base import Facts, GenerationParams, Options, Reuse, SavedState, Sink
from pytest_llmbench.backends.checks import check_depth, check_length
from pytest_llmbench.backends.llama_choices import DEFAULT_CONTEXT
from pytest_llmbench.backends.llama_native import Pointer
from pytest_llmbench.backends.llama_vocabulary import LlamaVocabulary
from pytest_llmbench.backends.prefix import common_prefix
from pytest_llmbench.errors import EngineError

_CUT = "cut"
_NOT_CUT = (
    "the memory of this model (recurrent or hybrid) cannot be cut back to where the prompt left what it "
    "held: the prompt was evaluated whole"
)
_MISCOUNTED = (
    "by llama.cpp's count (n_p_eval) {counted} tokens of the prompt were evaluated, and {expected} were to "
    "be: its KV cache is not what it was taken for"
)

if TYPE_CHECKING:
    from types import ModuleType


class LlamaCppEngine(LlamaVocabulary):
    """A GGUF model and one context of one sequence.

    ``generate`` keeps in mind which tokens lie in the KV cache and evaluates only what differs;
    after :meth:`reset` that is everything.
    """

    def __init__(self, native: ModuleType, model: Pointer, options: Options) -> None:
        """Make a context for *model*; frees neither if it raises."""
        super().__init__(native, model)
        if native.llama_model_has_encoder(model) or not native.llama_model_has_decoder(model):
            msg = "llamacpp runs models that only decode; this one has an encoder, or no decoder"
            raise EngineError(msg)
        trained = int(native.llama_model_n_ctx_train(model))
        asked = options["n_ctx"] or min(trained, DEFAULT_CONTEXT)
        self._trained_context = trained
        llama_native.check_memory(native, model, options, asked)
        self._context, self._flash_attention = llama_native.make_context(native, model, options, asked)
        self._options = dict(options)
        # llama.cpp rounds a context up to a multiple of 256; what was asked for stays the bound.
        self.context_length: int = min(asked, int(native.llama_n_ctx(self._context)))
        self._memory = native.llama_get_memory(self._context)
        self._n_batch = int(native.llama_n_batch(self._context))
        self._n_vocab = int(native.llama_vocab_n_tokens(self._vocab))
        self._eog = [t for t in range(self._n_vocab) if native.llama_vocab_is_eog(self._vocab, t)]
        self._in_cache: list[int] | None = None
        self._reused = Reuse(None, _CUT, "no prompt was evaluated")
        self._bind_decode_loop()

    def _bind_decode_loop(self) -> None:
        import numpy as np

        native = self._native
        self._decode = native.llama_decode
        # The binding of the package makes a pointer object a call; an address costs half.
        self._logits_address = native._lib["llama_get_logits_ith"]
        self._logits_address.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        self._logits_address.restype = ctypes.c_void_p
        self._slot = (ctypes.c_int32 * 1)()
        self._one = native.llama_batch_get_one(self._slot, 1)
        self._banned = np.array(self._eog, dtype=np.intp)
        self._view: Pointer = None
        self._view_address = 0

    @property
    def info(self) -> Facts:
        """What llama.cpp says of the model, the context and its own build."""
        native, context, model = self._native, self._context, self._model
        return {
            "n_threads": int(native.llama_n_threads(context)),
            "n_threads_batch": int(native.llama_n_threads_batch(context)),
            "n_ctx": self.context_length,
            "n_ctx_train": self._trained_context,
            "n_batch": self._n_batch,
            "n_ubatch": int(native.llama_n_ubatch(context)),
            "n_vocab": self._n_vocab,
            "gpu_offload": bool(native.llama_supports_gpu_offload()),
            "n_gpu_layers": llama_native.gpu_layers(native, self._options),
            "on_gpu": llama_native.gpu_layers(native, self._options) != 0,
            "devices": llama_native.devices(native),
            "flash_attn": self._flash_attention,
            "type_k": self._options["type_k"],
            "type_v": self._options["type_v"],
            "use_mmap": self._options["use_mmap"],
            "use_mlock": self._options["use_mlock"],
            "parameters": int(native.llama_model_n_params(model)),
            "size": int(native.llama_model_size(model)),
            "description": llama_native.description(native, model),
            "file_type": llama_native.file_type(native, model),
            "llama_cpp": native.llama_version().decode() if hasattr(native, "llama_version") else None,
            "system_info": native.llama_print_system_info().decode(),
        }

    def reset(self) -> None:
        """Forget what lies in the KV cache."""
        # The cells' contents need no zeroing: what is not marked as used is never read.
        self._native.llama_memory_clear(self._memory, False)
        self._in_cache = []

    def reused(self) -> Reuse:
        """Where the KV cache was cut for the last prompt."""
        return self._reused

    def evaluate(self, tokens: Sequence[int], room: int = 1) -> None:
        """Have the KV cache hold *tokens*, and nothing else."""
        ids = list(tokens)
        check_depth(
            tokens=len(ids),
            room=room,
            context=self.context_length,
            trained=self._trained_context,
            option="llamacpp.n_ctx",
        )
        self.reset()
        self._in_cache = None
        self._prefill(ids)
        self._in_cache = ids

    def save_state(self) -> SavedState:
        """A copy of the sequence's state, in memory of this process."""
        native = self._native
        size = int(native.llama_state_seq_get_size(self._context, 0))
        buffer = (ctypes.c_uint8 * size)()
        if not size or not native.llama_state_seq_get_data(self._context, buffer, size, 0):
            msg = f"llama.cpp cannot copy the state of this model's KV cache{llama_native.log_tail()}"
            raise EngineError(msg)
        return SavedState(tuple(self._in_cache or ()), size, buffer)

    def restore_state(self, state: SavedState) -> None:
        """Put a copy back in the place of what the KV cache holds."""
        native = self._native
        native.llama_memory_clear(self._memory, False)
        self._in_cache = None
        if not native.llama_state_seq_set_data(self._context, state.data, state.size, 0):
            msg = f"llama.cpp cannot restore the state of its KV cache{llama_native.log_tail()}"
            raise EngineError(msg)
        self._in_cache = list(state.tokens)

    def logits(self, tokens: Sequence[int], at_once: int, params: GenerationParams) -> Sequence[float]:
        """The logits after *tokens*, the first *at_once* evaluated as a prompt and the others one by one."""
        ids = list(tokens)
        check_length(
            prompt=len(ids),
            output=1,
            context=self.context_length,
            trained=self._trained_context,
            option="llamacpp.n_ctx",
        )
        self.reset()
        self._in_cache = None
        self._prefill(ids[:at_once])
        for token in ids[at_once:]:
            self._prefill([token])
        self._greedy(params)()
        logits: list[float] = self._view.tolist()
        return logits

    def generate(self, prompt: Sequence[int], params: GenerationParams, sink: Sink) -> str:
        """Evaluate *prompt* in steps of ``n_batch``, then sample and decode token by token.

        With ``ignore_eos`` the end-of-generation tokens get a logit of minus infinity, as by
        llama.cpp's own ``--ignore-eos``. The last token is not decoded: what follows is not needed.
        """
        ids = list(prompt)
        check_length(
            prompt=len(ids),
            output=params.max_new_tokens,
            context=self.context_length,
            trained=self._trained_context,
            option="llamacpp.n_ctx",
        )
        sampler = self._make_sampler(params) if params.temperature > 0 else None
        try:
            start = self._reuse(ids)
            self._native.llama_perf_context_reset(self._context)
            self._prefill(ids[start:])
            sink.prefilled()
            pick = (
                self._greedy(params)
                if sampler is None
                else partial(self._native.llama_sampler_sample, sampler, self._context, -1)
            )
            output, reason = self._decode_tokens(pick, params, sink)
        finally:
            if sampler is not None:
                self._native.llama_sampler_free(sampler)
        self._in_cache = ids + output[:-1]
        # Not before the answer is there: it would be in the time to its first token.
        self._hold_against_count(len(ids) - start)
        return reason

    def _hold_against_count(self, expected: int) -> None:
        """Doubt what was reused unless llama.cpp counted *expected* tokens of a prompt.

        Single tokens it counts apart, with those of an answer: a prompt of one, and maybe the last of a
        prompt that is alone in its batch. Its count is never below 1. Of batches of one it cannot tell.
        """
        counted = int(self._native.llama_perf_context(self._context).n_p_eval)
        alone = expected % self._n_batch == 1
        if self._n_batch == 1 or counted == expected or (alone and counted == max(1, expected - 1)):
            return
        self._reused = replace(self._reused, doubt=_MISCOUNTED.format(counted=counted, expected=expected))

    def _reuse(self, ids: list[int]) -> int:
        """Cut the KV cache down to what it shares with *ids*; returns how many tokens that are.

        The last prompt token is always evaluated again: its logits are needed.
        """
        cached, self._in_cache = self._in_cache, None
        self._reused = Reuse(0, _CUT)
        if cached == []:
            return 0
        shared = 0 if cached is None else common_prefix(cached, ids[:-1])
        # A recurrent state cannot be cut back; llama.cpp says so by False.
        if shared and self._native.llama_memory_seq_rm(self._memory, 0, shared, -1):
            self._reused = Reuse(shared, _CUT)
            return shared
        if shared:
            self._reused = Reuse(None, _CUT, _NOT_CUT)
        self._native.llama_memory_clear(self._memory, False)
        return 0

    def _prefill(self, ids: list[int]) -> None:
        native = self._native
        for first in range(0, len(ids), self._n_batch):
            part = ids[first : first + self._n_batch]
            # A batch only points to its tokens: they have to live as long as the call.
            tokens = (ctypes.c_int32 * len(part))(*part)
            code = self._decode(self._context, native.llama_batch_get_one(tokens, len(part)))
            if code:
                raise llama_native.decode_error(code)
        # llama_decode only queues the work where there is a GPU.
        native.llama_synchronize(self._context)

    def _decode_tokens(
        self, pick: Callable[[], int], params: GenerationParams, sink: Sink
    ) -> tuple[list[int], str]:
        """Pick and decode until enough: the tokens, and why it ended."""
        context, decode, slot, one = self._context, self._decode, self._slot, self._one
        token_known = sink.token
        eog = () if params.ignore_eos else frozenset(self._eog)
        output: list[int] = []
        left = params.max_new_tokens
        while True:
            token = pick()
            token_known(token)
            output.append(token)
            if token in eog:
                return output, "stop"
            left -= 1
            if not left:
                return output, "length"
            slot[0] = token
            code = decode(context, one)
            if code:
                raise llama_native.decode_error(code)

    def _greedy(self, params: GenerationParams) -> Callable[[], int]:
        """Picks the largest of the last logits."""
        context, logits_address = self._context, self._logits_address
        banned = self._banned if params.ignore_eos and len(self._banned) else None
        minus_infinity = float("-inf")

        def pick() -> int:
            address = logits_address(context, -1)
            if address != self._view_address:
                self._look_at(address)
            view = self._view
            if banned is not None:
                view[banned] = minus_infinity
            return int(view.argmax())

        return pick

    def _look_at(self, address: int | None) -> None:
        import numpy as np

        if not address:
            msg = f"llama.cpp has no logits: the model does not generate text{llama_native.log_tail()}"
            raise EngineError(msg)
        buffer = (ctypes.c_float * self._n_vocab).from_address(address)
        self._view, self._view_address = np.ctypeslib.as_array(buffer), address

    def _make_sampler(self, params: GenerationParams) -> Pointer:
        native = self._native
        chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
        links = []
        if params.ignore_eos and self._eog:
            bias = (native.llama_logit_bias * len(self._eog))(*((t, float("-inf")) for t in self._eog))
            links.append(native.llama_sampler_init_logit_bias(self._n_vocab, len(self._eog), bias))
        if params.top_k > 0:
            links.append(native.llama_sampler_init_top_k(params.top_k))
        if params.top_p < 1:
            links.append(native.llama_sampler_init_top_p(params.top_p, 1))
        links.append(native.llama_sampler_init_temp(params.temperature))
        # 0xFFFFFFFF would ask llama.cpp for a random seed.
        links.append(native.llama_sampler_init_dist(params.seed % 0xFFFFFFFF))
        for link in links:
            native.llama_sampler_chain_add(chain, link)
        return chain

    def close(self) -> None:
        """Free the context and the model; the engine is of no use afterwards."""
        self._view, self._view_address = None, 0
        if self._context is not None:
            self._native.llama_free(self._context)
            self._context = None
        super().close()
