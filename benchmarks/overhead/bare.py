"""How fast is an engine with nothing of ours around it?

``python bare.py ENGINE SETUP`` loads a model and answers each line ``{"prompt": TEXT, "tokens": N}``
on standard input with ``{"seconds": S, "output_hash": H}``: the time from the first of N tokens
to the last; of ``llamacpp-chat`` that from the text to the first token, after all that was asked and
generated since ``"begins": true``. It has its own loop and its own clock, and imports nothing of the package.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from array import array
from collections.abc import Callable
from time import perf_counter
from typing import Any

Generate = Callable[..., tuple[float, list[int]]]


def _loaded(setup: dict[str, Any]) -> tuple[Any, ...]:
    """llama.cpp's bindings, a context, its vocabulary, and what has to live as long as they do."""
    import llama_cpp.llama_cpp as native

    silent = native.llama_log_callback(lambda *_: None)
    native.llama_log_set(silent, ctypes.c_void_p(0))
    native.llama_backend_init()
    model_params = native.llama_model_default_params()
    model_params.n_gpu_layers = setup["n_gpu_layers"]
    model = native.llama_model_load_from_file(setup["path"].encode(), model_params)
    params = native.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = setup["n_ctx"], setup["n_batch"], setup["n_ubatch"]
    params.n_threads, params.n_threads_batch = setup["n_threads"], setup["n_threads_batch"]
    context = native.llama_init_from_model(model, params)
    return native, context, native.llama_model_get_vocab(model), silent


def llamacpp_chat(setup: dict[str, Any]) -> Generate:
    """A conversation: what was asked and generated stays in the KV cache, and the next text follows it."""
    native, context, vocab, silent = _loaded(setup)
    sampler = native.llama_sampler_init_greedy()
    last: list[int] = []

    def generate(prompt: str, count: int, *, begins: bool) -> tuple[float, list[int]]:
        # The function holds what llama.cpp only points to.
        assert silent is not None
        if begins:
            native.llama_memory_clear(native.llama_get_memory(context), False)
            last.clear()
        started = perf_counter()
        text = prompt.encode()
        room = (ctypes.c_int32 * (len(text) + 9))()
        # The last token of the answer before was never evaluated.
        for place, token in enumerate(last):
            room[place] = token
        behind = ctypes.cast(ctypes.byref(room, 4 * len(last)), ctypes.POINTER(ctypes.c_int32))
        found = native.llama_tokenize(vocab, text, len(text), behind, len(room) - 1, begins, True)
        native.llama_decode(context, native.llama_batch_get_one(room, len(last) + found))
        token = native.llama_sampler_sample(sampler, context, -1)
        seconds = perf_counter() - started
        output = [token]
        slot = (ctypes.c_int32 * 1)()
        one = native.llama_batch_get_one(slot, 1)
        for _ in range(count - 1):
            slot[0] = token
            native.llama_decode(context, one)
            token = native.llama_sampler_sample(sampler, context, -1)
            output.append(token)
        last[:] = [token]
        return seconds, output

    return generate


def llamacpp(setup: dict[str, Any]) -> Generate:
    """A loop over ``llama_decode`` and llama.cpp's own greedy sampler."""
    native, context, vocab, silent = _loaded(setup)
    sampler = native.llama_sampler_init_greedy()

    def generate(prompt: str, count: int) -> tuple[float, list[int]]:
        # The function holds what llama.cpp only points to.
        assert silent is not None
        text = prompt.encode()
        room = (ctypes.c_int32 * (len(text) + 8))()
        found = native.llama_tokenize(vocab, text, len(text), room, len(room), True, False)
        native.llama_memory_clear(native.llama_get_memory(context), False)
        native.llama_decode(context, native.llama_batch_get_one(room, found))
        token = native.llama_sampler_sample(sampler, context, -1)
        output = [token]
        slot = (ctypes.c_int32 * 1)()
        one = native.llama_batch_get_one(slot, 1)
        decode, sample = native.llama_decode, native.llama_sampler_sample
        started = perf_counter()
        for _ in range(count - 1):
            slot[0] = token
            decode(context, one)
            token = sample(sampler, context, -1)
            output.append(token)
        return perf_counter() - started, output

    return generate


def transformers(setup: dict[str, Any]) -> Generate:
    """``model.generate`` without a streamer: N tokens, and one token, which is not decoding."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(setup["n_threads"])
    tokenizer = AutoTokenizer.from_pretrained(setup["path"], local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        setup["path"], local_files_only=True, dtype=getattr(torch, setup["dtype"])
    )
    model = model.to(setup["device"]).eval()

    def timed(inputs: Any, count: int) -> tuple[float, list[int]]:
        started = perf_counter()
        output = model.generate(**inputs, max_new_tokens=count, min_new_tokens=count, do_sample=False)
        tokens = output[0, inputs["input_ids"].shape[1] :].tolist()
        return perf_counter() - started, tokens

    def generate(prompt: str, count: int) -> tuple[float, list[int]]:
        inputs = tokenizer(prompt, return_tensors="pt").to(setup["device"])
        whole, tokens = timed(inputs, count)
        first, _ = timed(inputs, 1)
        return whole - first, tokens

    return generate


def main() -> None:
    """Answer until standard input ends."""
    engines = {"llamacpp": llamacpp, "llamacpp-chat": llamacpp_chat, "transformers": transformers}
    generate = engines[sys.argv[1]](json.loads(sys.argv[2]))
    for line in sys.stdin:
        request = json.loads(line)
        seconds, tokens = generate(request.pop("prompt"), request.pop("tokens"), **request)
        digest = hashlib.sha256(array("q", tokens).tobytes()).hexdigest()
        print(json.dumps({"seconds": seconds, "output_hash": f"sha256:{digest}"}), flush=True)


if __name__ == "__main__":
    main()
