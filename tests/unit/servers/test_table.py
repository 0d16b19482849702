from __future__ import annotations

from pathlib import Path
from string import Formatter

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.servers.plan import ServerSpec, make_plan
from pytest_llmbench.servers.scrape import KINDS
from pytest_llmbench.servers.table import ENGINES, find_engine

KNOWN = {"python", "model", "basename", "name", "host", "port", "context", "scratch"}


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def model(folder: Path, engine: str) -> ResolvedModel:
    form = ENGINES[engine].form
    path = folder / ("tiny.gguf" if form == "gguf" else "tiny")
    path.write_text("") if form == "gguf" else path.mkdir()
    return ResolvedModel(ModelSpec("tiny", "q8_0"), form, path, "sha256:0", 5, "q8_0", 6)


def test_the_engines_that_users_know_are_there() -> None:
    assert set(ENGINES) == {
        *("vllm", "llamacpp-server", "transformers-serve", "llama-server", "sglang", "tgi", "lmdeploy"),
        *("trtllm", "ollama"),
    }


def test_templates_use_what_is_known(engine: str) -> None:
    row = ENGINES[engine]
    templates = [
        *row.program,
        *row.arguments,
        *row.context,
        *(w for one in row.setup for w in one),
        row.served,
    ]
    templates += [value for value in row.fixed_environment.values() if value is not None]
    used = {name for one in templates for _, name, _, _ in Formatter().parse(one) if name is not None}
    assert used <= KNOWN


def test_counters_have_names_of_ours(engine: str) -> None:
    row = ENGINES[engine]
    assert set(row.counters) <= set(KINDS)
    assert bool(row.counters) == (row.metrics is not None)


def test_every_row_says_where_it_comes_from(engine: str) -> None:
    assert ENGINES[engine].docs.startswith("https://")


def test_a_server_is_told_its_model_and_its_port_on_the_loopback_interface(
    engine: str, tmp_path: Path
) -> None:
    given = model(tmp_path, engine)
    plan = make_plan(ServerSpec(engine, given, python="/usr/bin/python"), 4711, tmp_path)
    said = [*plan.command, *(w for one in plan.setup for w in one), *plan.environment.values()]
    said += [file.read_text() for file in tmp_path.glob("Modelfile")]
    assert any(str(given.path) in word for word in said)
    assert any("4711" in word for word in said)
    assert any("127.0.0.1" in word for word in said)
    assert "0.0.0.0" not in " ".join(plan.command)
    assert "None" not in plan.command


def test_a_context_is_told_or_refused(engine: str, tmp_path: Path) -> None:
    spec = ServerSpec(engine, model(tmp_path, engine), context=777)
    if engine == "transformers-serve":
        with pytest.raises(UsageError, match="has no option that limits the context"):
            make_plan(spec, 4711, tmp_path)
        return
    plan = make_plan(spec, 4711, tmp_path)
    assert "777" in [*plan.command, *plan.environment.values()]


def test_the_python_server_of_llama_cpp_lets_no_request_interrupt_another(tmp_path: Path) -> None:
    plan = make_plan(ServerSpec("llamacpp-server", model(tmp_path, "llamacpp-server")), 4711, tmp_path)
    at = plan.command.index("--interrupt_requests")
    assert plan.command[at + 1] == "false"


def test_variables_that_would_move_the_python_server_of_llama_cpp_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOST", "PORT", "CONFIG_FILE"):
        monkeypatch.setenv(name, "elsewhere")
    plan = make_plan(ServerSpec("llamacpp-server", model(tmp_path, "llamacpp-server")), 4711, tmp_path)
    assert (plan.environment["HOST"], plan.environment["PORT"]) == ("127.0.0.1", "4711")
    assert "CONFIG_FILE" not in plan.environment


def test_a_model_of_the_other_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"vllm takes Hugging Face folders, and .*gguf is none"):
        make_plan(ServerSpec("vllm", model(tmp_path, "llama-server")), 4711, tmp_path)


def test_an_unknown_engine_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"there is no server 'vlm' to start; did you mean 'vllm'.*ollama"):
        find_engine("vlm")
    assert find_engine("docker:vllm") is ENGINES["vllm"]
