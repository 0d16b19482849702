"""Is a user told what a server has to be started with, where we know it and only there?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.servers import needs
from pytest_llmbench.servers.plan import ServerSpec, make_plan
from pytest_llmbench.servers.table import ENGINES

ROW = ENGINES["llamacpp-server"]
COMMAND = ["/usr/bin/python3", "-m", "llama_cpp.server", "--model", "m.gguf"]


def test_we_start_a_server_with_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.touch()
    model = ResolvedModel(ModelSpec("m"), "gguf", path, "sha256:0", 5, "q8_0", 6)
    command = make_plan(ServerSpec("llamacpp-server", model), 8000, tmp_path).command
    assert needs.is_of(ROW, command)
    assert needs.lacking(ROW, command) == ()


@pytest.mark.parametrize(
    ("more", "lacks"),
    [
        ([], True),
        (["--interrupt_requests"], True),
        (["--interrupt_requests", "true"], True),
        (["--interrupt_requests", "false", "--interrupt_requests", "True"], True),
        (["--interrupt_requests", "False"], False),
        (["--interrupt_requests=false", "--port", "1"], False),
    ],
)
def test_a_command_line_tells_what_is_lacking(more: list[str], lacks: bool) -> None:
    assert bool(needs.lacking(ROW, [*COMMAND, *more])) == lacks


def test_of_a_command_line_that_is_not_known_or_not_the_servers_nothing_is_said() -> None:
    assert not needs.is_of(ROW, None)
    assert not needs.is_of(ROW, ["/usr/bin/docker-proxy", "-host-port", "8000"])
    assert not needs.is_of(None, COMMAND)
    assert needs.lacking(ROW, None) == ROW.needs
    assert needs.lacking(None, None) == ()


def test_a_failure_that_a_need_explains_comes_with_it() -> None:
    told = needs.advice(ROW, ROW.needs, {"truncated": "the stream ended"}, started=False)
    assert told.endswith("unless it is started with --interrupt_requests false")
    assert needs.advice(ROW, ROW.needs, {"timeout": "late"}, started=False) == ""
    # It was started with it, so that is not why.
    assert needs.advice(ROW, (), {"truncated": "the stream ended"}, started=True) == ""
    assert needs.advice(None, (), {"truncated": "the stream ended"}, started=False) == ""


TOO_LONG = {"status": "400 This model's maximum context length is 2048 tokens, however you requested 6470"}


@pytest.mark.parametrize(
    ("engine", "how"),
    [
        ("llamacpp-server", "--n_ctx TOKENS"),
        ("vllm", "--max-model-len TOKENS"),
        ("ollama", "OLLAMA_CONTEXT_LENGTH=TOKENS"),
    ],
)
def test_a_context_that_is_too_short_comes_with_the_option_of_that_server(engine: str, how: str) -> None:
    assert f"start the server with {how}," in needs.advice(ENGINES[engine], (), TOO_LONG, started=False)
    assert "server.context=TOKENS" in needs.advice(ENGINES[engine], (), TOO_LONG, started=True)
    assert needs.advice(ENGINES[engine], (), {"status": "503 context length"}, started=False) == ""


def test_a_server_without_such_an_option_is_said_nothing_of() -> None:
    assert needs.advice(ENGINES["transformers-serve"], (), TOO_LONG, started=False) == ""
