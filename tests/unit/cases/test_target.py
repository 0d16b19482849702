"""Is a target called, started and compared as what it is, and is refused what it cannot be?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.cases.case import Case, LoadLevel
from pytest_llmbench.cases.target import EngineTarget, Resources, ServerTarget
from pytest_llmbench.errors import LLMBenchError, UsageError
from pytest_llmbench.gate.ab import parse_base_side
from pytest_llmbench.models.resolve import parse_spec
from pytest_llmbench.models.spec import Form, ModelSpec
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.servers.keep import ServerChoice, Servers
from pytest_llmbench.servers.starts import Starts
from pytest_llmbench.settings.options import BackendOptions

URL = "http://127.0.0.1:8000/v1"
OTHER = "http://127.0.0.1:9000/v1"


class Lent:
    """Resources of which nothing is started."""

    registry = Registry()
    python = "/new/python"
    progress = Progress()

    @property
    def servers(self) -> Servers:
        raise AssertionError

    def spec(self, name: str) -> ModelSpec:
        return parse_spec(name)

    def resolve(self, spec: ModelSpec, form: Form) -> Any:
        raise AssertionError

    def looked_up(self, spec: ModelSpec, form: Form) -> ModelSpec:
        return spec


LENT: Resources = Lent()


def base_of(ab: str, *, engine: str | None = None, **spec: Any) -> tuple[ServerChoice, ServerChoice]:
    """The servers of both sides, (base, now)."""
    target = ServerTarget(base_url=URL, alone=False) if engine is None else ServerTarget(engine=engine)
    now = target.choice(
        ModelSpec(spec.pop("name", "tiny"), **spec), BackendOptions({"server": {"retries": 2}}), LENT
    )
    return target.base_choice("test_x[a]", now, parse_base_side(ab), LENT), now


def test_a_case_is_called_by_target_model_and_load() -> None:
    tiny, level = ModelSpec("tiny", "q8_0"), LoadLevel(concurrency=8)
    engine = EngineTarget(LENT.registry.get("llamacpp"))
    assert Case(engine, tiny).id == "llamacpp-tiny-q8_0"
    assert Case(ServerTarget(engine="docker:vllm"), tiny, level).id == "docker-vllm-tiny-q8_0-c8"
    # A preset of its start is neither a part of the engine's name nor of the model's.
    assert Case(ServerTarget(engine="vllm:debug"), tiny).id == "vllm+debug-tiny-q8_0"
    assert Case(ServerTarget(engine="docker:vllm:debug"), tiny).id == "docker-vllm+debug-tiny-q8_0"
    assert Case(ServerTarget(base_url=URL), ModelSpec(""), LoadLevel(request_rate=2.5)).id == "server-r2.5"
    other = ServerTarget(base_url=URL, alone=False)
    assert Case(other, ModelSpec("m"), LoadLevel()).id == "server@127.0.0.1:8000-m-trace"


def test_a_preset_of_a_start_is_of_both_sides_and_of_no_server_that_runs() -> None:
    start = Starts().find("vllm:single-user")
    target = ServerTarget(engine="vllm:single-user", start=start)
    assert (target.form, target.kinds) == ("hf", {"started"})
    now = target.choice(ModelSpec("tiny"), BackendOptions(), LENT)
    assert now.start is start
    plain = ServerTarget(engine="vllm").choice(ModelSpec("tiny"), BackendOptions(), LENT)
    assert now.key != plain.key
    base = target.base_choice("test_x[a]", now, parse_base_side("server.arguments='--max-num-seqs 8'"), LENT)
    assert (base.engine, base.start, base.options["arguments"]) == (now.engine, start, "--max-num-seqs 8")
    runs = target.base_choice("test_x[a]", now, parse_base_side(f"base_url={OTHER}"), LENT)
    assert (runs.engine, runs.start) == (None, None)
    inside = ServerTarget(engine="docker:vllm:single-user", start=start)
    assert inside.kinds == {"started", "docker"}


def test_a_target_says_which_files_it_reads_and_of_which_kind_its_cases_are() -> None:
    targets = [
        EngineTarget(LENT.registry.get("llamacpp")),
        ServerTarget(engine="vllm"),
        ServerTarget(engine="docker:llama-server"),
        ServerTarget(base_url=URL),
        ServerTarget(base_url="https://h/v1"),
    ]
    assert [(target.form, sorted(target.kinds)) for target in targets] == [
        ("gguf", ["engine"]),
        ("hf", ["started"]),
        ("gguf", ["docker", "started"]),
        (None, ["running"]),
        (None, ["https", "running"]),
    ]


def test_an_engine_has_one_thread_for_its_cpu_time_and_a_server_what_it_was_given() -> None:
    assert EngineTarget(LENT.registry.get("llamacpp")).one_thread.given == {"llamacpp": {"n_threads": 1}}
    assert not ServerTarget(base_url=URL).one_thread.given


def test_a_target_knows_which_quantizations_it_cannot_have() -> None:
    awq = ModelSpec("tiny", "awq")
    assert ServerTarget(base_url=URL).misfit(awq, LENT.registry) is None
    for target, said in (
        (EngineTarget(LENT.registry.get("llamacpp")), "llamacpp has no quantization 'awq'"),
        (ServerTarget(engine="llama-server"), "llama-server has no quantization 'awq'"),
        (ServerTarget(engine="vllm"), "vllm takes a model as it is"),
    ):
        assert said in str(target.misfit(awq, LENT.registry))
        assert target.misfit(ModelSpec("tiny"), LENT.registry) is None


def test_a_server_is_no_base_side_of_an_engine_nor_an_engine_one_of_a_server() -> None:
    spec, engine = ModelSpec("tiny"), EngineTarget(LENT.registry.get("llamacpp"))
    with pytest.raises(UsageError, match=r"base_url=.* is a base side for a server, and this case has none"):
        engine.base_startable(spec, BackendOptions(), parse_base_side(f"base_url={URL}"), LENT)
    with pytest.raises(UsageError, match="a server's base side is another server"):
        ServerTarget(base_url=URL).base_startable(spec, BackendOptions(), parse_base_side("model=x"), LENT)


def test_a_server_that_is_started_has_another_interpreter_and_other_variables() -> None:
    base, now = base_of("python=/old/python env.A=1 env.B=2", engine="vllm")
    assert (base.python, now.python) == ("/old/python", "/new/python")
    assert base.environment == {"A": "1", "B": "2"}
    assert (base.engine, base.spec, base.options) == (now.engine, now.spec, now.options)
    assert base.key != now.key


def test_a_server_that_is_started_has_another_model_or_quantization() -> None:
    base, _ = base_of("model=synthetic/llama-82m", engine="llamacpp-server", quantization="q8_0")
    assert (base.spec.name, base.spec.quantization) == ("synthetic/llama-82m", "q8_0")
    base, _ = base_of("quantization=q4_0", engine="llamacpp-server", quantization="q8_0")
    assert (base.spec.name, base.spec.quantization) == ("tiny", "q4_0")


def test_options_of_the_base_side_come_over_those_of_the_case() -> None:
    base, _ = base_of("server.arguments=--enforce-eager", engine="vllm")
    assert (base.options["arguments"], base.options["retries"]) == ("--enforce-eager", 2)


def test_another_server_that_runs_is_asked_with_the_options_of_the_case() -> None:
    base, _ = base_of(f"base_url={OTHER} model=other")
    assert (base.base_url, base.spec.name, base.options["retries"]) == (OTHER, "other", 2)
    assert not base.starts
    base, _ = base_of(f"base_url={OTHER}", engine="vllm")
    assert not base.starts


def test_one_server_that_runs_can_be_asked_for_two_models() -> None:
    base, now = base_of("model=adapter")
    assert base.base_url == now.base_url
    assert (base.spec.name, now.spec.name) == ("adapter", "tiny")


def test_sides_that_are_the_same_server_share_it() -> None:
    base, now = base_of("server.retries=2")
    assert base.key == now.key


@pytest.mark.parametrize("key", ["python=x", "env.A=1", "quantization=q8_0", "server.arguments=--x"])
def test_what_is_of_a_start_is_refused_for_a_server_that_runs(key: str) -> None:
    name = key.partition("=")[0]
    with pytest.raises(UsageError, match=f"{name} cannot be set, because {URL} runs already: .*base_url="):
        base_of(key)
    with pytest.raises(UsageError, match=f"{name} cannot be set, because {OTHER} runs already: leave it out"):
        base_of(f"base_url={OTHER} {key}", engine="vllm")


@pytest.mark.parametrize(
    ("ab", "engine", "message"),
    [
        ("python=x", "docker:vllm", "docker:vllm is not run by an interpreter .* server.image=IMAGE"),
        ("python=x", "llama-server", "llama-server is not run by an interpreter .* base_url="),
        ("server.image=x", "vllm", "vllm is started without a container; serve docker:vllm"),
        ("quantization=q8_0", "vllm", "vllm takes a model as it is: quantization 'q8_0' is not made"),
        ("quantization=q9", "llamacpp-server", "llamacpp-server has no quantization 'q9'"),
        ("model=tinny", "vllm", "tinny.*tiny"),
        ("server.argumens=x", "vllm", "has no option 'argumens'; did you mean 'arguments'"),
        ("llamacpp.n_threads=1", "vllm", "llamacpp.n_threads does not change: give base_url="),
    ],
)
def test_what_a_server_that_is_started_cannot_have_is_refused(ab: str, engine: str, message: str) -> None:
    with pytest.raises(LLMBenchError, match=message):
        base_of(ab, engine=engine)
