"""What can be set for a server, and what does each option do?

One table for all servers: those that run already, and those that a session starts.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from pytest_llmbench.backends.base import Options, OptionSpec
from pytest_llmbench.servers.overrides import read_body, read_headers
from pytest_llmbench.servers.urls import read_proxy

if TYPE_CHECKING:
    from pytest_llmbench.backends.options import Configurable
    from pytest_llmbench.backends.registry import Registry

SERVER = "server"
"""What stands before the options of servers: ``server.NAME``."""


class ServerOptions:
    """The options of servers, as :func:`pytest_llmbench.backends.options.option_values` takes them."""

    name: str = SERVER
    options: tuple[OptionSpec, ...] = (
        OptionSpec(
            "endpoint",
            str,
            "completions",
            "which API: /v1/completions, or /v1/chat/completions",
            choices=("completions", "chat"),
            also=("endpoint-type",),
        ),
        OptionSpec(
            "api_key_env",
            str,
            None,
            "environment variable with the API key; default: OPENAI_API_KEY where it is set",
            also=("api-key",),
            kept=None,
        ),
        OptionSpec(
            "headers",
            str,
            None,
            "further headers, NAME=VALUE ...; ${VARIABLE} in a value is that of the environment",
            also=("header",),
            parse=read_headers,
            kept=sorted,
        ),
        OptionSpec(
            "body",
            str,
            None,
            "JSON object that is merged over each request's body; null takes a key away",
            also=("extra-body", "extra-inputs"),
            parse=read_body,
        ),
        OptionSpec("verify", bool, True, "whether a TLS certificate has to be valid", only=("https",)),
        OptionSpec(
            "ca_file",
            str,
            None,
            "PEM file of the authority to trust; default: the system's",
            path=True,
            kept=None,
            only=("https",),
        ),
        OptionSpec(
            "proxy", str, None, "http://HOST:PORT; default: none, whatever the environment says", kept=None
        ),
        OptionSpec("usage", bool, True, "ask for token counts at a stream's end (stream_options)"),
        OptionSpec(
            "extensions",
            bool,
            True,
            "send ignore_eos, min_tokens and top_k; turn it off for a server that refuses them",
        ),
        OptionSpec(
            "tokenizer",
            str,
            None,
            "folder with the tokenizer.json that counts tokens where a server sends no usage",
            path=True,
            # Another checkout has it elsewhere.
            kept=lambda path: PurePath(path).name,
        ),
        OptionSpec(
            "retries", int, 0, "how often a request is sent again after 429 or 503", minimum=0, maximum=1000
        ),
        OptionSpec(
            "start_timeout",
            float,
            600.0,
            "seconds that a server of --llm-serve has to become ready",
            minimum=1,
            maximum=1_000_000,
            only=("started",),
            kept=None,
        ),
        OptionSpec(
            "arguments",
            str,
            "",
            "further arguments of a server of --llm-serve, in a shell's words",
            only=("started",),
        ),
        OptionSpec(
            "context",
            int,
            None,
            "tokens that prompt and output may have together in a server of --llm-serve; default: the "
            "engine's own, or what the test needs",
            minimum=1,
            context=True,
            only=("started",),
            also=("max-model-len",),
        ),
        OptionSpec(
            "gpus",
            str,
            None,
            "of docker run --gpus, or none; default: all NVIDIA GPUs there are",
            only=("docker",),
        ),
        OptionSpec(
            "image",
            str,
            None,
            "image of --llm-serve=docker:ENGINE; default: the engine's own",
            only=("docker",),
        ),
    )

    def check_options(self, values: Options) -> None:
        """Refuse a proxy that is not a URL.

        :raises UsageError: saying what it must be.
        """
        proxy = values["proxy"]
        if proxy is not None:
            read_proxy(proxy)


SERVER_OPTIONS = ServerOptions()


def options_of(name: str, registry: Registry) -> Configurable:
    """Whose options *name* stands before: a backend of the *registry*, or servers.

    :raises UsageError: if there is none of that name; it lists what there is.
    """
    return SERVER_OPTIONS if name == SERVER else registry.get(name)
