"""How is each server started, when is it ready, and what does it call its counters?

One row an engine, from its documentation (``docs``). Templates know ``{python}``, ``{model}`` (a
path or a hub id), ``{basename}`` (its last part), ``{name}`` (what requests are to call it),
``{host}``, ``{port}``, ``{context}`` and ``{scratch}`` (a folder that lives as long as the server).

No row has an option that only a machine without a GPU needs, but for what an engine built for CPUs
alone reads: what else suits such a machine is passed as options or arguments.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.servers.prefix_cache import PrefixCache

if TYPE_CHECKING:
    from pytest_llmbench.models.spec import Form

DOCKER = "docker:"

OFFLINE = {"HF_HUB_OFFLINE": "1"}
"""For a model whose files are here, so that no engine asks a hub about it."""


@dataclass(frozen=True, slots=True)
class Container:
    """How an engine runs in a container."""

    image: str
    port: int
    """Where it listens, inside."""
    program: tuple[str, ...] = ()
    """What comes before the engine's arguments; empty where the image's entrypoint is the engine."""
    flags: tuple[str, ...] = ()
    """Of ``docker run``: the shared memory that the engine's documentation asks for."""
    cpu_image: str | None = None
    """For a machine without an NVIDIA GPU; None where there is only ``image``."""
    hub_cache: str = "/root/.cache/huggingface"
    """Where it keeps what it downloads."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a server has to be started with, by whomever, so that its answers under a load are whole."""

    arguments: tuple[str, ...]
    failure: str
    """The kind of failure by which its absence shows."""
    why: str
    """What the server does without it; comes after its name."""


@dataclass(frozen=True, slots=True)
class Start:
    """How an engine is started for one use: a preset of starts, ``vllm:single-user``."""

    name: str
    description: str = ""
    options: tuple[tuple[str, str], ...] = ()
    """The engine's own options without dashes, each with its value; ``""`` for one that takes none."""
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """What it adds to a start, as a shell would have it; equal texts, equal starts."""
        return shlex.join(
            [
                *(f"{name}={value}" for name, value in self.environment),
                *(word for name, value in self.options for word in (f"--{name}", value) if word),
            ]
        )


@dataclass(frozen=True, slots=True)
class ServerEngine:
    """A server with an OpenAI-compatible API, and all that is needed to start and to ask it."""

    name: str
    """As in ``--llm-serve NAME``."""
    form: Form
    """The model files that it takes."""
    program: tuple[str, ...]
    """What is run, before the arguments."""
    arguments: tuple[str, ...]
    install: str
    """What to do where it is missing."""
    docs: str
    """Where all this is documented."""
    needs: tuple[Need, ...] = ()
    """Further arguments, of which whoever starts it without us is told."""
    context: tuple[str, ...] = ()
    """The arguments that limit the context, used where one was asked for."""
    default_context: int | None = None
    """Tokens that it has without them; None for as many as the model was trained for."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for whoever has not set them."""
    fixed_environment: Mapping[str, str | None] = field(default_factory=dict)
    """Variables that win over the caller's, or (None) that must not be there. A container inherits none
    of the caller's and gets only those with ``{context}``; these are left out where none was asked for."""
    health: str = "/health"
    """The path that answers 200 when the model is loaded."""
    base_path: str = "/v1"
    served: str = "{name}"
    """What requests have to call the model, unless ``/v1/models`` says otherwise."""
    extensions: bool = True
    """Whether it takes requests with ``ignore_eos``, ``min_tokens`` and ``top_k``."""
    lists_models: bool = True
    """Whether ``/v1/models`` lists the model that is served, and not what else lies around."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files that are written into ``{scratch}`` before the start, by name."""
    setup: tuple[tuple[str, ...], ...] = ()
    """Commands to run once it answers, before it can serve the model."""
    hub: bool = True
    """Whether it loads a model by its hub id."""
    container: Container | None = None
    """None where no image is published."""
    metrics: str | None = None
    """The path of its Prometheus metrics."""
    counters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Our names (:data:`.scrape.KINDS`) to the sample names whose sum they are."""
    prefix_cache: PrefixCache = field(default_factory=PrefixCache)
    """What is known of its cache of prompts."""
    version: tuple[str, str] | None = None
    """A path, and the key in its JSON (dots descend) that holds the version."""
    distributions: tuple[str, ...] = ()
    """Python distributions whose versions matter, the engine's own first."""
    owned_by: str | None = None
    """What ``/v1/models`` says in ``owned_by``; tells a running server's engine."""
    starts: tuple[Start, ...] = ()
    """Its presets; users have further ones, see :mod:`.starts`."""

    def chooses(self, name: str, *, variable: bool = False) -> bool:
        """Whether each start says itself what an option (without dashes) or a *variable* has: the model and
        its name, the address. What limits the context is left to whoever asks for none."""
        if variable:
            return name in self.fixed_environment and "{context}" not in str(self.fixed_environment[name])
        words = zip(self.arguments, self.arguments[1:], strict=False)
        said = {option.lstrip("-") for option, value in words if option.startswith("-") and "{" in value}
        return name.replace("_", "-") in {one.replace("_", "-") for one in said}

    ran: bool = False
    """Whether this project's tests run the real one; the other rows stand on its documentation."""


def _rows() -> list[ServerEngine]:
    return [
        ServerEngine(
            name="vllm",
            form="hf",
            # Not the command "vllm": it looks for a distribution of that name, which the builds for
            # CPUs do not have. https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
            program=("{python}", "-m", "vllm.entrypoints.openai.api_server"),
            arguments=(
                *("--model", "{model}", "--served-model-name", "{name}"),
                *("--host", "{host}", "--port", "{port}"),
            ),
            context=("--max-model-len", "{context}"),
            # Builds for CPUs alone read the second one; they would take nine tenths of the machine's
            # memory. https://docs.vllm.ai/en/latest/getting_started/installation/cpu.html
            environment={"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "4"},
            install="pip install vllm",
            docs="https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
            container=Container(
                # https://docs.vllm.ai/en/latest/deployment/docker.html
                image="vllm/vllm-openai:latest",
                port=8000,
                flags=("--ipc=host",),
            ),
            # https://docs.vllm.ai/en/latest/usage/metrics.html
            metrics="/metrics",
            counters={
                "running": ("vllm:num_requests_running",),
                "waiting": ("vllm:num_requests_waiting",),
                "kv_cache_use": ("vllm:kv_cache_usage_perc",),
                "prefix_cache_queries": ("vllm:prefix_cache_queries_total",),
                "prefix_cache_hits": ("vllm:prefix_cache_hits_total",),
                "preemptions": ("vllm:num_preemptions_total",),
                "prompt_tokens": ("vllm:prompt_tokens_total",),
                "generation_tokens": ("vllm:generation_tokens_total",),
                "draft_tokens": ("vllm:spec_decode_num_draft_tokens_total",),
                "accepted_tokens": ("vllm:spec_decode_num_accepted_tokens_total",),
            },
            # https://docs.vllm.ai/en/latest/design/prefix_caching.html
            prefix_cache=PrefixCache(
                apart="cache_salt",
                tokenizes="messages",
                answer_ids="return_token_ids",
                block=("vllm:cache_config_info", "block_size"),
                enabled="enable_prefix_caching",
                counts_tokens=True,
                reports=("--enable-prompt-tokens-details",),
            ),
            version=("/version", "version"),
            distributions=("vllm", "vllm-cpu", "torch", "transformers"),
            owned_by="vllm",
            # https://docs.vllm.ai/en/latest/configuration/engine_args.html
            starts=(
                Start(
                    "single-user",
                    "for one person: little memory, no time spent on compiling, and a cache of prefixes",
                    options=(
                        ("max-num-batched-tokens", "512"),
                        ("max-num-seqs", "2"),
                        ("enforce-eager", ""),
                        ("enable-prefix-caching", ""),
                    ),
                ),
                Start(
                    "debug",
                    "to look for errors: nothing is compiled, and the log says all; not for figures",
                    options=(("enforce-eager", ""),),
                    # https://docs.vllm.ai/en/latest/configuration/env_vars.html
                    environment=(("VLLM_LOGGING_LEVEL", "DEBUG"),),
                ),
            ),
            ran=True,
        ),
        ServerEngine(
            name="llamacpp-server",
            form="gguf",
            program=("{python}", "-m", "llama_cpp.server"),
            arguments=(
                *("--model", "{model}", "--model_alias", "{name}"),
                *("--host", "{host}", "--port", "{port}"),
            ),
            needs=(
                Need(
                    ("--interrupt_requests", "false"),
                    "truncated",
                    "cuts a stream short as soon as another request comes in",
                ),
            ),
            context=("--n_ctx", "{context}"),
            default_context=2048,
            # These win over its arguments.
            fixed_environment={"HOST": "{host}", "PORT": "{port}", "CONFIG_FILE": None},
            health="/v1/models",
            hub=False,
            install="pip install 'llama-cpp-python[server]'",
            docs="https://llama-cpp-python.readthedocs.io/en/latest/server/",
            container=Container(
                image="ghcr.io/abetlen/llama-cpp-python:latest",
                port=8000,
                program=("python3", "-m", "llama_cpp.server"),
            ),
            version=("/openapi.json", "info.version"),
            distributions=("llama-cpp-python",),
            owned_by="me",
            ran=True,
        ),
        ServerEngine(
            name="transformers-serve",
            form="hf",
            program=("{python}", "-m", "transformers.cli.transformers", "serve"),
            # A model that is named here stays loaded, and is the only one that requests may ask for.
            arguments=("{model}", "--host", "{host}", "--port", "{port}"),
            environment={"HF_HUB_DISABLE_UPDATE_CHECK": "1"},
            served="{model}",
            extensions=False,
            lists_models=False,
            install="pip install 'transformers[serving]>=5'",
            docs="https://huggingface.co/docs/transformers/main/en/serving",
            distributions=("transformers", "torch"),
            ran=True,
        ),
        ServerEngine(
            name="llama-server",
            form="gguf",
            program=("llama-server",),
            arguments=(
                *("--model", "{model}", "--alias", "{name}"),
                *("--host", "{host}", "--port", "{port}", "--metrics"),
            ),
            context=("--ctx-size", "{context}"),
            hub=False,
            install="see https://github.com/ggml-org/llama.cpp/blob/master/docs/install.md, "
            "and put llama-server on the PATH",
            docs="https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
            container=Container(
                # https://github.com/ggml-org/llama.cpp/blob/master/docs/docker.md
                image="ghcr.io/ggml-org/llama.cpp:server-cuda",
                cpu_image="ghcr.io/ggml-org/llama.cpp:server",
                port=8080,
            ),
            metrics="/metrics",
            counters={
                "running": ("llamacpp:requests_processing",),
                "waiting": ("llamacpp:requests_deferred",),
                "prompt_tokens": ("llamacpp:prompt_tokens_total",),
                "generation_tokens": ("llamacpp:tokens_predicted_total",),
            },
            prefix_cache=PrefixCache(apart="cache_prompt", slots=True, tokenizes="rendered"),
            version=("/props", "build_info"),
            owned_by="llamacpp",
        ),
        ServerEngine(
            name="sglang",
            form="hf",
            program=("{python}", "-m", "sglang.launch_server"),
            arguments=(
                *("--model-path", "{model}", "--served-model-name", "{name}"),
                *("--host", "{host}", "--port", "{port}", "--enable-metrics"),
            ),
            context=("--context-length", "{context}"),
            install="pip install sglang",
            docs="https://docs.sglang.io/advanced_features/server_arguments.html",
            container=Container(
                # https://docs.sglang.io/get_started/install.html
                image="lmsysorg/sglang:latest",
                port=30000,
                program=("python3", "-m", "sglang.launch_server"),
                flags=("--shm-size", "32g", "--ipc=host"),
            ),
            # https://docs.sglang.io/references/production_metrics.html
            metrics="/metrics",
            counters={
                "running": ("sglang:num_running_reqs",),
                "waiting": ("sglang:num_queue_reqs",),
                "kv_cache_use": ("sglang:token_usage",),
                "prefix_cache_queries": ("sglang:prompt_tokens_total",),
                "prefix_cache_hits": ("sglang:cached_tokens_total",),
                "preemptions": ("sglang:num_retracted_requests_total",),
                "prompt_tokens": ("sglang:prompt_tokens_total",),
                "generation_tokens": ("sglang:generation_tokens_total",),
                "acceptance": ("sglang:spec_accept_rate",),
            },
            prefix_cache=PrefixCache(
                apart="cache_salt", counts_tokens=True, reports=("--enable-cache-report",)
            ),
            version=("/server_info", "version"),
            distributions=("sglang", "torch", "transformers"),
            owned_by="sglang",
        ),
        ServerEngine(
            name="tgi",
            form="hf",
            program=("text-generation-launcher",),
            arguments=("--model-id", "{model}", "--hostname", "{host}", "--port", "{port}"),
            context=("--max-total-tokens", "{context}"),
            served="{model}",
            install="see https://huggingface.co/docs/text-generation-inference/installation, "
            "or start docker:tgi",
            docs="https://huggingface.co/docs/text-generation-inference/reference/launcher",
            container=Container(
                image="ghcr.io/huggingface/text-generation-inference:latest",
                port=80,
                flags=("--shm-size", "1g"),
                hub_cache="/data",
            ),
            # https://huggingface.co/docs/text-generation-inference/reference/metrics
            metrics="/metrics",
            counters={
                "running": ("tgi_batch_current_size",),
                "waiting": ("tgi_queue_size",),
                "prompt_tokens": ("tgi_request_input_length_sum",),
                "generation_tokens": ("tgi_request_generated_tokens_sum",),
            },
            version=("/info", "version"),
        ),
        ServerEngine(
            name="lmdeploy",
            form="hf",
            program=("{python}", "-m", "lmdeploy", "serve", "api_server"),
            arguments=(
                *("{model}", "--model-name", "{name}"),
                *("--server-name", "{host}", "--server-port", "{port}"),
            ),
            context=("--session-len", "{context}"),
            install="pip install lmdeploy",
            docs="https://lmdeploy.readthedocs.io/en/latest/llm/api_server.html",
            container=Container(
                image="openmmlab/lmdeploy:latest",
                port=23333,
                program=("lmdeploy", "serve", "api_server"),
                flags=("--ipc=host",),
            ),
            # https://lmdeploy.readthedocs.io/en/latest/advance/metrics.html
            metrics="/metrics",
            counters={
                "running": ("lmdeploy:num_requests_running",),
                "waiting": ("lmdeploy:num_requests_waiting",),
                "kv_cache_use": ("lmdeploy:gpu_cache_usage_perc",),
                "prompt_tokens": ("lmdeploy:prompt_tokens_total",),
                "generation_tokens": ("lmdeploy:generation_tokens_total",),
            },
            distributions=("lmdeploy", "torch", "transformers"),
            owned_by="lmdeploy",
        ),
        ServerEngine(
            name="trtllm",
            form="hf",
            program=("{python}", "-m", "tensorrt_llm.commands.serve"),
            arguments=("{model}", "--host", "{host}", "--port", "{port}"),
            context=("--max_seq_len", "{context}"),
            served="{basename}",
            install="pip install tensorrt-llm",
            docs="https://nvidia.github.io/TensorRT-LLM/commands/trtllm-serve/trtllm-serve.html",
            container=Container(
                # The registry has no tag "latest".
                image="nvcr.io/nvidia/tensorrt-llm/release:1.2.1",
                port=8000,
                program=("trtllm-serve",),
                flags=("--ipc=host", "--ulimit", "memlock=-1", "--ulimit", "stack=67108864"),
            ),
            # Filled only with return_perf_metrics in a file given with --config; names as in
            # https://github.com/NVIDIA/TensorRT-LLM/blob/main/tensorrt_llm/metrics/collector.py
            metrics="/prometheus/metrics",
            counters={
                "running": ("trtllm_num_requests_running",),
                "waiting": ("trtllm_num_requests_waiting",),
                "kv_cache_use": ("trtllm_kv_cache_utilization",),
                "prefix_cache_queries": (
                    "trtllm_kv_cache_reused_blocks_total",
                    "trtllm_kv_cache_missed_blocks_total",
                ),
                "prefix_cache_hits": ("trtllm_kv_cache_reused_blocks_total",),
                "prompt_tokens": ("trtllm_prompt_tokens_total",),
                "generation_tokens": ("trtllm_generation_tokens_total",),
                "draft_tokens": ("trtllm_spec_decode_num_draft_tokens_total",),
                "accepted_tokens": ("trtllm_spec_decode_num_accepted_tokens_total",),
            },
            prefix_cache=PrefixCache(apart="cache_salt"),
            version=("/version", "version"),
            distributions=("tensorrt-llm", "torch", "transformers"),
            owned_by="tensorrt_llm",
        ),
        ServerEngine(
            name="ollama",
            form="gguf",
            program=("ollama", "serve"),
            arguments=(),
            # https://docs.ollama.com/context-length; with much GPU memory it takes more.
            default_context=4096,
            environment={"OLLAMA_KEEP_ALIVE": "-1"},
            # Its store is the scratch folder, so that nothing is left of the model afterwards.
            fixed_environment={
                "OLLAMA_HOST": "{host}:{port}",
                "OLLAMA_MODELS": "{scratch}/models",
                "OLLAMA_CONTEXT_LENGTH": "{context}",
            },
            health="/api/version",
            # https://docs.ollama.com/import
            files={"Modelfile": "FROM {model}\n"},
            setup=(("ollama", "create", "{name}", "-f", "{scratch}/Modelfile"),),
            hub=False,
            install="see https://docs.ollama.com/linux, and put ollama on the PATH",
            docs="https://docs.ollama.com/api/openai-compatibility",
            # https://docs.ollama.com/docker
            container=Container(image="ollama/ollama:latest", port=11434),
            version=("/api/version", "version"),
            owned_by="library",
        ),
    ]


ENGINES: dict[str, ServerEngine] = {row.name: row for row in _rows()}
"""Every engine that ``--llm-serve`` can start, by name."""


def without_preset(text: str) -> tuple[str, str]:
    """``NAME`` or ``docker:NAME`` of what ``--llm-serve`` names, and its preset; ``""`` for none."""
    inside = DOCKER if text.startswith(DOCKER) else ""
    name, colon, preset = text.removeprefix(DOCKER).partition(":")
    return inside + name, preset if preset or not colon else ":"


def start_label(text: str) -> str:
    """What test ids call that which ``--llm-serve`` names: ``docker-vllm``, ``vllm+single-user``.

    No engine has a plus in its name, so that no preset is taken for a part of it, or of the model's.
    """
    served, preset = without_preset(text)
    return served.replace(":", "-") + (preset and f"+{preset}")


def find_engine(text: str) -> ServerEngine:
    """The engine of ``NAME``, ``docker:NAME`` or either with ``:PRESET``, whose preset is not looked at.

    :raises UsageError: if there is none of that name; it lists what there is.
    """
    name = without_preset(text)[0].removeprefix(DOCKER)
    if name not in ENGINES:
        hint = suggest(name, list(ENGINES))
        msg = (
            f"there is no server {text!r} to start{hint}; there are: {', '.join(ENGINES)}; "
            f"{DOCKER}NAME starts one in a container"
        )
        raise UsageError(msg)
    return ENGINES[name]
