"""How is a Hugging Face model run by Transformers, in this process, as its users run it?

The engine calls ``model.generate`` with a streamer, which gets each token when it is on the host,
and a logits processor, whose first call marks the end of the prompt's evaluation. It hands over the KV
cache of the call before, cut down to what the prompts share (:mod:`.transformers_cache`); after a
reset that is an empty one.

Quantization names: ``f32``, ``f16`` and ``bf16`` load the weights in that type.
``int8_torchao`` keeps 8-bit weights and computes in the model's type, ``int8_dynamic_torchao``
also quantizes activations on the fly, ``int4_torchao`` keeps 4-bit weights in groups of 32; these
three come with torchao. ``bnb_int8`` (LLM.int8) and ``bnb_nf4`` come with bitsandbytes. The output
layer stays unquantized in all of them, which is what Transformers does by default.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pytest_llmbench.backends.base import (
    FILTERS,
    Availability,
    Engine,
    Facts,
    GenerationParams,
    Options,
    OptionSpec,
    Reuse,
    SavedState,
    Sink,
    Vocabulary,
)
from pytest_llmbench.backends.checks import check_depth, check_length
from pytest_llmbench.backends.options import truth
from pytest_llmbench.backends.threads import default_threads
from pytest_llmbench.backends.transformers_cache import KeptCache
from pytest_llmbench.backends.transformers_loading import (
    BITSANDBYTES,
    DTYPES,
    TORCHAO,
    choose_device,
    explained,
    import_library,
    load_model,
    load_tokenizer,
    quiet,
)
from pytest_llmbench.backends.transformers_vocabulary import TransformersVocabulary
from pytest_llmbench.backends.versions import installed_versions
from pytest_llmbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    import torch
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

    from pytest_llmbench.models.attention import KVBits
    from pytest_llmbench.models.outline import Outline
    from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel

_NO_BOUND = 2**31 - 1


class TransformersBackend:
    """Transformers on PyTorch, in process, on Hugging Face folders."""

    name: str = "transformers"
    extra: str = "transformers"
    form: Form = "hf"
    quantizations: tuple[str, ...] = (*DTYPES, *TORCHAO, *BITSANDBYTES)
    modules: tuple[str, ...] = (
        "torch",
        "transformers",
        "transformers.modeling_utils",
        "transformers.generation.utils",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
    )
    options: tuple[OptionSpec, ...] = (
        OptionSpec(
            "dtype",
            str,
            "auto",
            "type of the weights; auto: as stored",
            ("auto", *DTYPES),
            holds=lambda asked, told: asked == "auto" or DTYPES[asked] == told,
        ),
        OptionSpec("device", str, "auto", "cpu, cuda, cuda:1, mps, ...; auto: a GPU where there is one"),
        OptionSpec(
            "attn_implementation", str, "auto", "sdpa, eager, flash_attention_2, ...; auto: the model's"
        ),
        OptionSpec("compile", bool, False, "torch.compile the decoding step, with a static KV cache"),
        OptionSpec(
            "n_threads", int, None, "threads; default: physical cores minus one, at least one", minimum=1
        ),
        OptionSpec(
            "n_ctx",
            int,
            None,
            "bound on prompt and output together; default: what the model knows",
            minimum=1,
            context=True,
        ),
        OptionSpec("trust_remote_code", str, None, "name of the model whose own Python code may run"),
    )

    def availability(self) -> Availability:
        """Whether torch and transformers are installed."""
        missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
        if missing:
            what = " and ".join(missing)
            verb = "are" if len(missing) > 1 else "is"
            reason = f"{what} {verb} not installed: pip install 'pytest-llmbench[transformers]'"
            return Availability(False, reason)
        return Availability(True)

    def versions(self) -> Mapping[str, str]:
        """Versions of what computes, as far as it is installed."""
        return installed_versions("transformers", "torch", "tokenizers", "torchao", "bitsandbytes")

    def check_options(self, values: Options) -> None:
        """Refuse ``trust_remote_code=true``: it takes the name of the one model that is trusted."""
        trusted = values["trust_remote_code"]
        if trusted is not None and truth(trusted) is not None:
            msg = (
                f"option transformers.trust_remote_code={trusted}: it takes the name of the model whose code "
                "may run, such as transformers.trust_remote_code=org/name; leave it out to run none"
            )
            raise UsageError(msg)

    def kv_bits(self, outline: Outline, quantization: str | None, options: Options) -> KVBits:
        """Those of the type that is computed in; of quantized weights, it is seldom 32 bits."""
        plain = quantization if quantization in DTYPES else None
        computed = plain or (outline.dtype if options["dtype"] == "auto" else options["dtype"])
        bits = 32.0 if computed == "f32" and (plain or quantization is None) else 16.0
        return bits, bits

    def load_vocabulary(self, spec: ModelSpec, path: Path, options: Options) -> Vocabulary:
        """The tokenizer in the folder *path*.

        :raises ModelError: for files that Transformers cannot read.
        """
        quiet()
        with explained(f"load {path}", out_of_memory="end what else uses memory"):
            return TransformersVocabulary(load_tokenizer(path, options["trust_remote_code"] == spec.name))

    def load(self, model: ResolvedModel, options: Options) -> Engine:
        """Load the folder at ``model.path``; only safetensors weights are read.

        :raises ModelError: for files that Transformers cannot read, or that lack weights.
        :raises BackendUnavailableError: if a quantization's library is missing.
        :raises EngineError: for the rest, such as a full GPU.
        """
        torch = import_library("torch")
        quiet()
        torch.set_num_threads(options["n_threads"] or default_threads())
        device = choose_device(torch, options["device"])
        trusted = options["trust_remote_code"] == model.spec.name
        with explained(f"load {model.path}", out_of_memory="use a smaller model or quantization"):
            tokenizer = load_tokenizer(model.path, trusted)
            network = load_model(torch, model, options, device, trusted)
        return TransformersEngine(torch, network, tokenizer, model, options)


class TransformersEngine(TransformersVocabulary):
    """A causal language model and its tokenizer."""

    def __init__(
        self,
        torch: ModuleType,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        resolved: ResolvedModel,
        options: Options,
    ) -> None:
        """Take over a loaded *model*; its generation defaults are replaced."""
        super().__init__(tokenizer)
        self._torch = torch
        self._model = model
        self._options = dict(options)
        self._quantization = resolved.spec.quantization
        self._device = model.device
        self._trained_context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.context_length: int = options["n_ctx"] or self._trained_context or _NO_BOUND
        self._eos = _end_tokens(model, tokenizer)
        self._eos_tensor = torch.tensor(self._eos, device=self._device) if self._eos else None
        self._configs: dict[GenerationParams, GenerationConfig] = {}
        # The checkpoint's own sampling defaults (temperature, penalties) must not leak into a round.
        self._config_class = type(model.generation_config)
        model.generation_config = self._config_class(pad_token_id=0)
        static = bool(options["compile"])
        self._kept = KeptCache(torch, import_library("transformers"), model, static=static)

    @property
    def info(self) -> Facts:
        """What was loaded, where to, and what PyTorch says of itself."""
        torch, model = self._torch, self._model
        on_gpu = self._device.type == "cuda"
        return {
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "device": str(self._device),
            "on_gpu": self._device.type != "cpu",
            "device_name": torch.cuda.get_device_name(self._device) if on_gpu else None,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "dtype": str(model.dtype).removeprefix("torch."),
            "quantization": self._quantization,
            "attn_implementation": model.config._attn_implementation,
            "compile": self._options["compile"],
            "n_threads": torch.get_num_threads(),
            "n_ctx": self.context_length,
            "n_ctx_train": self._trained_context,
            "n_vocab": model.config.get_text_config().vocab_size,
            "parameters": model.num_parameters(),
            "size": sum(_bytes(t) for t in (*model.parameters(), *model.buffers())),
            "architecture": type(model).__name__,
        }

    def reset(self) -> None:
        """Drop the KV cache."""
        self._kept.clear()

    def reused(self) -> Reuse:
        """Where the KV cache was cut for the last prompt."""
        return self._kept.reused

    def evaluate(self, tokens: Sequence[int], room: int = 1) -> None:
        """Have the KV cache hold *tokens*, and nothing else; ``generate`` evaluates them."""
        self.reset()
        check_depth(
            tokens=len(tokens),
            room=room,
            context=self.context_length,
            trained=self._trained_context,
            option="transformers.n_ctx",
        )
        self._generate(list(tokens), GenerationParams(max_new_tokens=1), _Unmeasured())

    def save_state(self) -> SavedState:
        """A copy of the KV cache, on its device."""
        return self._kept.save()

    def restore_state(self, state: SavedState) -> None:
        """Put a copy of a copy in the place of the KV cache."""
        self._kept.restore(state)

    def logits(self, tokens: Sequence[int], at_once: int, params: GenerationParams) -> Sequence[float]:
        """The logits after *tokens*, the first *at_once* evaluated as a prompt.

        The others are evaluated by ``generate`` too, which is made to take them.
        """
        self.reset()
        prompt, follow = list(tokens[:at_once]), list(tokens[at_once:])
        taken = GenerationParams(max_new_tokens=len(follow) + 1)
        check_length(
            prompt=len(prompt),
            output=taken.max_new_tokens,
            context=self.context_length,
            trained=self._trained_context,
            option="transformers.n_ctx",
        )
        leads = _Leads(follow, self._eos_tensor if params.ignore_eos else None)
        self._generate(prompt, taken, _Unmeasured(), leads)
        return leads.logits

    def generate(self, prompt: Sequence[int], params: GenerationParams, sink: Sink) -> str:
        """``model.generate`` on one prompt.

        With ``ignore_eos`` the end-of-sequence tokens get a score of minus infinity and stop nothing.
        On the GPU a token counts as known when it has arrived on the host. ``generate`` turns gradients
        off by itself; ``torch.inference_mode`` around it would be 2 to 6% faster than what a user of
        ``generate`` gets, so it is left out.
        """
        check_length(
            prompt=len(prompt),
            output=params.max_new_tokens,
            context=self.context_length,
            trained=self._trained_context,
            option="transformers.n_ctx",
        )
        return self._generate(list(prompt), params, sink)

    def _generate(
        self, prompt: list[int], params: GenerationParams, sink: Sink, leads: _Leads | None = None
    ) -> str:
        torch = self._torch
        if params.temperature > 0:
            torch.manual_seed(params.seed)
        banned = self._eos_tensor if params.ignore_eos else None
        observer = _Observer(sink, banned, _synchronizer(torch, self._device))
        streamer = _Streamer(sink)
        with explained("generate", out_of_memory="shorten the prompt"):
            cache = self._kept.take(prompt)
            ids = torch.tensor([prompt], device=self._device)
            self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=self._generation_config(params),
                logits_processor=[leads or observer],
                streamer=streamer,
                **({} if cache is None else {"past_key_values": cache}),
            )
            self._kept.keep(cache, prompt, streamer.tokens)
        stopped = not params.ignore_eos and streamer.tokens[-1] in self._eos
        return "stop" if stopped else "length"

    def _generation_config(self, params: GenerationParams) -> GenerationConfig:
        config = self._configs.get(params)
        if config is None:
            choices: dict[str, object] = {"do_sample": False}
            if params.temperature > 0:
                choices = {"do_sample": True, "temperature": params.temperature}
                choices |= {name: getattr(params, name) for name in FILTERS}
            if self._options["compile"]:
                choices |= self._compile_choices()
            config = self._configs[params] = self._config_class(
                max_new_tokens=params.max_new_tokens,
                eos_token_id=None if params.ignore_eos or not self._eos else self._eos,
                pad_token_id=self._eos[0] if self._eos else 0,
                use_cache=True,
                **choices,
            )
        return config

    def _compile_choices(self) -> dict[str, object]:
        compile_config = import_library("transformers").CompileConfig()
        # Without this, generate compiles on accelerators only.
        compile_config._compile_all_devices = True
        if self._device.type != "cuda":
            compile_config.mode = "default"
        return {"cache_implementation": "static", "compile_config": compile_config}

    def close(self) -> None:
        """Free the model, and what PyTorch keeps of the GPU for itself."""
        if self._model is None:
            return
        self._kept.clear()
        self._model = self._tokenizer = self._eos_tensor = None
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()


class _Unmeasured:
    """A sink for what is not measured."""

    def prefilled(self) -> None: ...

    def token(self, token: int) -> None: ...


class _Observer:
    """A logits processor: reports when the prompt is evaluated, and forbids the *banned* tokens."""

    def __init__(
        self, sink: Sink, banned: torch.Tensor | None, synchronize: Callable[[], None] | None
    ) -> None:
        self._sink = sink
        self._banned = banned
        self._synchronize = synchronize
        self._prefilled = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not self._prefilled:
            self._prefilled = True
            if self._synchronize is not None:
                self._synchronize()
            self._sink.prefilled()
        if self._banned is not None:
            # In place is safe: generate hands over its own copy of the logits.
            scores.index_fill_(1, self._banned, float("-inf"))
        return scores


class _Leads:
    """A logits processor: has *tokens* taken one after the other, and keeps the logits after them.

    :param banned: tokens that must not be taken then.
    """

    def __init__(self, tokens: Sequence[int], banned: torch.Tensor | None) -> None:
        self._left = deque(tokens)
        self._banned = banned
        self.logits: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._left:
            scores.fill_(float("-inf"))
            scores[:, self._left.popleft()] = 0
            return scores
        if self._banned is not None:
            scores.index_fill_(1, self._banned, float("-inf"))
        self.logits = scores[0].tolist()
        return scores


class _Streamer:
    """What ``generate`` hands every token to; the prompt comes first and is left out."""

    def __init__(self, sink: Sink) -> None:
        self._token = sink.token
        self._prompt_seen = False
        self.tokens: list[int] = []

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt's ids, shape (1, n), or one token, shape (1,), on the host."""
        if self._prompt_seen:
            token = value.item()
            self._token(token)
            self.tokens.append(token)
        self._prompt_seen = True

    def end(self) -> None:
        """Nothing is held back."""


def _synchronizer(torch: ModuleType, device: torch.device) -> Callable[[], None] | None:
    """What waits until *device* has done its work; None on the CPU, where nothing is queued."""
    if device.type == "cpu":
        return None
    return lambda: torch.accelerator.synchronize(device)


def _bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor; one that wraps others (torchao's) claims the unquantized size for itself."""
    if hasattr(tensor, "__tensor_flatten__"):
        return sum(_bytes(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    return int(tensor.numel() * tensor.element_size())


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end a text: the model's, and the tokenizer's."""
    ends: set[int] = set()
    for token in (model.generation_config.eos_token_id, tokenizer.eos_token_id):
        if token is not None:
            ends.update(token if isinstance(token, list) else [token])
    return sorted(ends)
