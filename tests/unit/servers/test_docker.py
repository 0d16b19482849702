from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.errors import BackendUnavailableError, EngineCrashedError, UsageError
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.servers import docker
from pytest_llmbench.servers.launch import Server, ServerSpec
from pytest_llmbench.servers.plan import make_plan
from pytest_llmbench.servers.table import ENGINES, ServerEngine
from tests.fakes import fake_engine

CONTAINED = [name for name, row in ENGINES.items() if row.container is not None]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "nvidia_gpus", lambda: None)


def model(folder: Path, engine: str) -> ResolvedModel:
    form = ENGINES[engine].form
    path = folder / "files" / ("tiny.gguf" if form == "gguf" else "tiny")
    path.parent.mkdir(exist_ok=True)
    path.write_text("") if form == "gguf" else path.mkdir()
    return ResolvedModel(ModelSpec("tiny"), form, path, "sha256:0", 5, None, 6)


def command(engine: str, folder: Path, **more: object) -> str:
    spec = ServerSpec(f"docker:{engine}", more.pop("model", None) or model(folder, engine), **more)  # type: ignore[arg-type]
    return " ".join(make_plan(spec, 4711, folder).command)


@pytest.mark.parametrize("engine", CONTAINED)
def test_a_container_is_reached_from_this_machine_alone_and_cannot_write_its_model(
    engine: str, tmp_path: Path
) -> None:
    said = command(engine, tmp_path)
    container = ENGINES[engine].container
    assert container is not None
    assert said.startswith("docker run --rm --name llmbench-")
    assert f"--publish 127.0.0.1:4711:{container.port} " in said
    assert f"--mount type=bind,source={tmp_path / 'files'}" in said
    assert "target=/models,readonly" in said
    assert "--gpus" not in said
    image = container.cpu_image or container.image
    arguments = said.partition(f" {image} ")[2]
    assert str(tmp_path) not in arguments
    assert "127.0.0.1" not in arguments


def test_vllm_is_run_as_its_documentation_says(tmp_path: Path) -> None:
    assert command("vllm", tmp_path, gpus="all", context=2048, arguments=("--seed", "1")).endswith(
        f"--gpus all --ipc=host --mount type=bind,source={tmp_path}/files/tiny,target=/models,readonly "
        "--env VLLM_NO_USAGE_STATS=1 --env VLLM_CPU_KVCACHE_SPACE=4 --env HF_HUB_OFFLINE=1 "
        "vllm/vllm-openai:latest --model /models --served-model-name tiny --host 0.0.0.0 --port 8000 "
        "--enable-prompt-tokens-details --max-model-len 2048 --seed 1"
    )


def test_llama_server_is_run_as_its_documentation_says(tmp_path: Path) -> None:
    assert command("llama-server", tmp_path).endswith(
        "ghcr.io/ggml-org/llama.cpp:server --model /models/tiny.gguf --alias tiny --host 0.0.0.0 --port 8080 "
        "--metrics"
    )
    (tmp_path / "again").mkdir()
    assert " ghcr.io/ggml-org/llama.cpp:server-cuda " in command(
        "llama-server", tmp_path / "again", gpus="all"
    )


def test_all_gpus_are_given_where_there_are_any_unless_none_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "nvidia_gpus", lambda: "all")
    assert " --gpus all " in command("vllm", tmp_path, model="org/name")
    assert " --gpus device=1 " in command("vllm", tmp_path, model="org/name", gpus="device=1")
    assert "--gpus" not in command("vllm", tmp_path, model="org/name", gpus="none")


def test_ollama_imports_its_model_inside(tmp_path: Path) -> None:
    plan = make_plan(ServerSpec("docker:ollama", model(tmp_path, "ollama"), context=99), 4711, tmp_path)
    assert [w for w in plan.command if w.startswith("OLLAMA")] == [
        "OLLAMA_KEEP_ALIVE=-1",
        "OLLAMA_CONTEXT_LENGTH=99",
    ]
    assert (tmp_path / "Modelfile").read_text() == "FROM /models/tiny.gguf\n"
    assert plan.setup == [
        ["docker", "exec", plan.container, "ollama", "create", "tiny", "-f", "/llmbench/Modelfile"]
    ]
    assert f"source={tmp_path},target=/llmbench,readonly" in " ".join(plan.command)


def test_an_image_of_the_users_own_is_run_instead(tmp_path: Path) -> None:
    assert " my/vllm:7 --model /models " in command("vllm", tmp_path, image="my/vllm:7")


def test_an_engine_without_a_published_image_needs_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no published image of transformers-serve.*server.image"):
        command("transformers-serve", tmp_path, model="org/name")
    assert command("transformers-serve", tmp_path, image="my/tf").endswith(
        " my/tf python3 -m transformers.cli.transformers serve /models --host 0.0.0.0 --port 8000"
    )


def test_a_model_of_the_hub_is_kept_in_this_machines_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    said = command("tgi", tmp_path, model="org/name")
    assert f"--volume {tmp_path}/hub:/data " in said
    assert " --env HF_TOKEN " in said
    assert "hf_secret" not in said
    assert "HF_HUB_OFFLINE" not in said


def test_values_of_the_callers_variables_are_not_on_the_command_line(tmp_path: Path) -> None:
    spec = ServerSpec("docker:vllm", model(tmp_path, "vllm"), environment={"A_TOKEN": "secret"})
    plan = make_plan(spec, 4711, tmp_path)
    assert "--env A_TOKEN" in " ".join(plan.command)
    assert "secret" not in " ".join(plan.command)
    assert plan.environment["A_TOKEN"] == "secret"


def test_links_of_a_hubs_cache_lead_somewhere_inside(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--name"
    (repository / "blobs").mkdir(parents=True)
    (repository / "blobs" / "abc").write_text("weights")
    snapshot = repository / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    said = command("vllm", tmp_path, model=str(snapshot))
    assert f"source={repository},target=/models,readonly" in said
    assert "--model /models/snapshots/main " in said


DOCKER = """#!{python}
import subprocess, sys
words = sys.argv[1:]
log = open({log!r}, "a")
print(" ".join(words[:2] if words[0] != "run" else words[:1]), file=log, flush=True)
if words[0] == "version":
    sys.exit({version_status} and "Cannot connect to the Docker daemon. Is it running?")
if words[0] == "inspect":
    sys.exit(print("sha256:feed" if "Image" in words[2] else "0"))
if words[0] == "stop":
    open({log!r} + ".stop", "w").close()
if words[0] == "run":
    port = words[words.index("--publish") + 1].split(":")[1]
    at = words.index("example/fake:1-cpu")
    arguments = words[at + 1:]
    arguments[arguments.index("--port") + 1] = port
    sys.exit(subprocess.call([sys.executable, {fake!r}, *arguments]))
"""


@pytest.fixture
def a_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``a_docker()``: a program called docker that runs the fake engine; returns its log."""

    def make(version_status: int = 0) -> Path:
        log = tmp_path / "docker.log"
        program = tmp_path / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(
            DOCKER.format(
                python=sys.executable,
                log=str(log),
                version_status=version_status,
                fake=fake_engine.__file__,
            )
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        return log

    return make


def test_a_container_is_started_asked_and_stopped(
    a_docker: Callable[..., Path], start: Callable[..., Server]
) -> None:
    log = a_docker()
    server = start(engine="docker:fake")
    assert server.model_name == "model"
    assert server.versions == {"fake": "1.2.3", "image": "sha256:feed"}
    assert server.pid is None
    server.close()
    said = log.read_text().splitlines()
    assert said[:2] == ["version --format", "run"]
    assert said[-1] == "stop -t"


def test_a_container_that_ends_says_why(a_docker: Callable[..., Path], start: Callable[..., Server]) -> None:
    a_docker()
    with pytest.raises(
        EngineCrashedError, match=r"docker:fake \(model\) exited with status 4[\s\S]*no such thing"
    ):
        start("--say", "no such thing", "--die", "4", engine="fake", docker=True)


def test_a_daemon_that_does_not_run_is_said_in_dockers_words(
    a_docker: Callable[..., Path], start: Callable[..., Server]
) -> None:
    a_docker(version_status=1)
    with pytest.raises(
        BackendUnavailableError, match="does not work here: Cannot connect to the Docker daemon"
    ):
        start(engine="docker:fake")


def test_a_machine_without_docker_is_told_so(
    fake_row: ServerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailableError, match="there is no docker on the PATH"):
        Server(ServerSpec(f"docker:{fake_row.name}", str(tmp_path)))
