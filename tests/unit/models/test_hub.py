"""Does a hub's model get here through huggingface_hub, and does what fails say what to do?

A small hub on loopback answers as the real one does. huggingface_hub reads its environment when it
is imported, so each question is asked in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_llmbench.models.hub import _explained, file_sizes
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from tests.fakes.hub import COMMIT, REVISIONS, Hub

pytest.importorskip("huggingface_hub")

Tiny = Callable[..., ResolvedModel]


@pytest.fixture
def repository(hub: Hub, tiny: Tiny) -> dict[str, Path]:
    """``org/tiny``: a model in both forms, and what a loader must not take."""
    folder = tiny("hf").path
    files = {path.name: path for path in folder.iterdir()}
    files["pytorch_model.bin"] = folder / "config.json"
    files["original/consolidated.safetensors"] = folder / "config.json"
    files["model.fp16.safetensors"] = folder / "config.json"
    files["tiny-F16.gguf"] = tiny("gguf", "f16").path
    files["tiny-f32.gguf"] = tiny("gguf", "f32").path
    files["mmproj-f16.gguf"] = folder / "config.json"
    hub.repositories["org/tiny"] = files
    return files


_SCRIPT = """
import json, sys
from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.models.forms import find_form
from pytest_llmbench.models.hub import commit_of
from pytest_llmbench.models.resolve import ModelSpec, resolve
name, revision, quantization, form, quiet, local, look_up = json.loads(sys.argv[1])
spec = ModelSpec(name, quantization, revision, local_files_only=local)
try:
    if look_up:
        print(json.dumps({"commit": commit_of(spec, find_form(form))}))
        raise SystemExit
    model = resolve(spec, form, quiet=quiet)
except LLMBenchError as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
else:
    found = {"path": str(model.path), "digest": model.digest, "parameters": model.parameters}
    print(json.dumps({**found, "quantization": model.quantization, "size": model.size}))
"""


class Screen:
    """A terminal that a process can write to, and what it wrote."""

    def __enter__(self) -> Screen:
        self._ours, self._theirs = os.openpty()
        termios.tcsetwinsize(self._theirs, (24, 80))
        self._written = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ours)

    def _read(self) -> None:
        # Linux says by an error that the last writer is gone.
        with contextlib.suppress(OSError):
            while part := os.read(self._ours, 4096):
                self._written += part

    def fileno(self) -> int:
        return self._theirs

    def seek(self, _: int) -> None:
        os.close(self._theirs)
        self._reader.join()

    def read(self) -> bytes:
        return self._written


Ask = Callable[..., dict[str, object]]


@pytest.fixture
def ask(hub: Hub, tmp_path: Path) -> Ask:
    """Resolve a model of the hub in a fresh process."""

    def ask(
        form: str = "hf",
        quantization: str | None = None,
        *,
        name: str = "org/tiny",
        revision: str | None = None,
        url: str = hub.url,
        quiet: bool = False,
        terminal: bool = False,
        local: bool = False,
        look_up: bool = False,
        **environment: str,
    ) -> dict[str, object]:
        env = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()
        }
        env |= {
            "HF_ENDPOINT": url,
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "LLMBENCH_CACHE": str(tmp_path / "cache"),
            **environment,
        }
        spec = [name, revision, quantization, form, quiet, local, look_up]
        command = [sys.executable, "-c", _SCRIPT, json.dumps(spec)]
        with Screen() if terminal else (tmp_path / "stderr").open("w+b") as stderr:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, env=env, check=False)
            stderr.seek(0)
            logged = stderr.read().decode()
        assert done.returncode == 0, logged
        return {**json.loads(done.stdout), "stderr": logged}

    return ask


def test_a_huggingface_model_is_fetched_with_its_safetensors_only(
    hub: Hub, repository: dict[str, Path], ask: Ask, tiny: Tiny
) -> None:
    model = ask("hf")

    assert model["digest"] == tiny("hf").digest
    assert model["parameters"] == tiny("hf").parameters
    assert model["quantization"] == "f16"
    assert {name for name in hub.downloads if name.endswith(".safetensors")} == {
        name for name in repository if name.startswith("model-0")
    }
    assert {"config.json", "tokenizer.json", "model.safetensors.index.json"} <= set(hub.downloads)
    assert not {name for name in hub.downloads if name.endswith((".bin", ".gguf")) or "/" in name}


def test_the_quantization_picks_the_gguf_file(
    hub: Hub, repository: dict[str, Path], ask: Ask, tiny: Tiny
) -> None:
    model = ask("gguf", "f16")

    assert model["digest"] == tiny("gguf", "f16").digest
    assert hub.downloads == ["tiny-F16.gguf"]


def test_several_gguf_files_or_none_that_fits_are_listed(repository: dict[str, Path], ask: Ask) -> None:
    several = str(ask("gguf")["error"])
    assert "ModelError: org/tiny holds several GGUF files" in several
    assert "tiny-F16.gguf, tiny-f32.gguf" in several
    assert "mmproj" not in several

    assert "no GGUF file for the quantization q4_k_m; there are: tiny-F16.gguf" in str(
        ask("gguf", "q4_k_m")["error"]
    )


def test_a_split_gguf_model_is_fetched_whole(hub: Hub, ask: Ask, tiny: Tiny) -> None:
    file = tiny("gguf", "f16").path
    hub.repositories["org/split"] = {f"F16/m-F16-{i:05d}-of-00002.gguf": file for i in (1, 2)}
    model = ask("gguf", "f16", name="org/split")

    assert str(model["path"]).endswith("F16/m-F16-00001-of-00002.gguf")
    assert model["size"] == 2 * tiny("gguf", "f16").size


def test_a_model_is_fetched_once_and_then_had_without_the_hub(
    hub: Hub, repository: dict[str, Path], ask: Ask
) -> None:
    first = ask("hf")
    fetched = list(hub.downloads)
    again = ask("hf")
    hub.broken = True
    broken = ask("hf")
    offline = ask("hf", HF_HUB_OFFLINE="1")
    unreachable = ask("hf", url="http://127.0.0.1:9")

    assert hub.downloads == fetched
    for model in (again, broken, offline, unreachable):
        assert model.get("digest") == first["digest"], model
        assert model["path"] == first["path"]


def test_a_gguf_file_in_the_cache_is_had_offline(repository: dict[str, Path], ask: Ask) -> None:
    first = ask("gguf", "f32")

    assert ask("gguf", "f32", HF_HUB_OFFLINE="1")["digest"] == first["digest"]


def test_a_commit_is_looked_up_without_fetching_anything(
    tmp_path: Path, repository: dict[str, Path], ask: Ask
) -> None:
    del repository
    found = ask(look_up=True)
    assert len(str(found["commit"])) == 40
    assert not list((tmp_path / "hub").rglob("*.safetensors"))


def test_a_commit_of_what_is_not_there_is_refused(hub: Hub, repository: dict[str, Path], ask: Ask) -> None:
    del repository
    hub.repositories["org/pickles"] = {"pytorch_model.bin": hub.repositories["org/tiny"]["config.json"]}
    assert "there is no model org/absent" in str(ask(name="org/absent", look_up=True)["error"])
    assert "error" in ask(name="org/pickles", look_up=True)


def test_a_commit_is_that_of_the_cache_where_the_hub_is_not_asked(
    repository: dict[str, Path], ask: Ask
) -> None:
    del repository
    assert "error" in ask(look_up=True, HF_HUB_OFFLINE="1")
    ask()
    assert ask(look_up=True, HF_HUB_OFFLINE="1") == ask(look_up=True)


def test_a_revision_is_another_snapshot(repository: dict[str, Path], ask: Ask) -> None:
    assert COMMIT in str(ask("gguf", "f16")["path"])
    assert REVISIONS["v2"] in str(ask("gguf", "f16", revision="v2")["path"])


def test_a_file_that_was_truncated_on_its_way_is_noticed(
    hub: Hub, ask: Ask, tiny: Tiny, tmp_path: Path
) -> None:
    (tmp_path / "half.gguf").write_bytes(tiny("gguf", "f16").path.read_bytes()[:100_000])
    hub.repositories["org/half"] = {"half-f16.gguf": tmp_path / "half.gguf"}

    assert "half-f16.gguf is truncated" in str(ask("gguf", "f16", name="org/half")["error"])


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(
    hub: Hub, repository: dict[str, Path], ask: Ask
) -> None:
    hub.repositories["org/old"] = {
        name: repository[name] for name in ("config.json", "tokenizer.json", "pytorch_model.bin")
    }

    assert "org/old has its weights as pickles only (pytorch_model.bin)" in str(ask(name="org/old")["error"])
    assert hub.downloads == []


def test_a_gguf_repository_is_told_which_backend_takes_it(hub: Hub, ask: Ask, tiny: Tiny) -> None:
    hub.repositories["org/tiny-GGUF"] = {"tiny-f16.gguf": tiny("gguf", "f16").path}

    assert "run it on the backend llamacpp" in str(ask("hf", name="org/tiny-GGUF")["error"])


def test_a_repository_without_gguf_says_so(hub: Hub, repository: dict[str, Path], ask: Ask) -> None:
    hub.repositories["org/plain"] = {"config.json": repository["config.json"]}

    assert "org/plain holds no GGUF file" in str(ask("gguf", name="org/plain")["error"])


def test_what_does_not_exist_may_be_private_or_a_folder(hub: Hub, ask: Ask) -> None:
    error = str(ask(name="org/nothing")["error"])

    assert f"ModelError: there is no model org/nothing on {hub.url}, or it is private" in error
    assert "./org/nothing" in error
    assert "HF_TOKEN" in error


def test_a_gated_model_says_where_its_terms_are(hub: Hub, repository: dict[str, Path], ask: Ask) -> None:
    hub.gated.add("org/tiny")

    assert f"org/tiny is gated: accept its terms at {hub.url}/org/tiny" in str(ask()["error"])


def test_an_unknown_revision_is_named(repository: dict[str, Path], ask: Ask) -> None:
    assert "org/tiny has no revision nightly" in str(ask(revision="nightly")["error"])


def test_offline_without_the_model_says_how_to_get_it(repository: dict[str, Path], ask: Ask) -> None:
    error = str(ask(HF_HUB_OFFLINE="1")["error"])

    assert "HF_HUB_OFFLINE is set" in error
    assert "hf download org/tiny" in error


def test_local_files_only_does_not_ask_the_hub(hub: Hub, repository: dict[str, Path], ask: Ask) -> None:
    """Neither for what it has not fetched yet, nor for what it has."""
    error = str(ask("gguf", "f16", local=True)["error"])
    assert "org/tiny is not complete in the hub's cache" in error
    assert "local_files_only" in error
    assert "hf download org/tiny" in error
    assert hub.downloads == []

    fetched = ask("gguf", "f16")
    hub.broken = True
    assert ask("gguf", "f16", local=True)["digest"] == fetched["digest"]


def test_half_a_model_in_the_cache_is_not_enough_offline(repository: dict[str, Path], ask: Ask) -> None:
    ask("gguf", "f16")

    assert "HF_HUB_OFFLINE is set" in str(ask("hf", HF_HUB_OFFLINE="1")["error"])


def test_a_hub_that_cannot_be_reached_says_what_to_check(ask: Ask) -> None:
    error = str(ask(url="http://127.0.0.1:9")["error"])

    assert "org/tiny cannot be fetched from http://127.0.0.1:9" in error
    assert "check the network and HF_ENDPOINT" in error


def test_a_hub_that_is_out_of_order_says_its_status(hub: Hub, ask: Ask) -> None:
    hub.broken = True

    assert f"{hub.url} answered 503 when asked for org/tiny: try again later" in str(ask()["error"])


@pytest.mark.parametrize("quiet", [True, False])
def test_there_is_no_progress_bar_where_there_is_no_terminal(
    repository: dict[str, Path], ask: Ask, quiet: bool
) -> None:
    model = ask("gguf", "f16", quiet=quiet)

    assert "digest" in model
    assert "%|" not in str(model["stderr"])


def test_on_a_terminal_there_is_a_progress_bar_unless_it_is_unwanted(
    repository: dict[str, Path], ask: Ask
) -> None:
    written = str(ask("gguf", "f16", terminal=True)["stderr"])
    assert "%|" in written
    # It draws over one line, and clears that one: what is left of it is blanks.
    assert not written.replace("\x1b[A", "").rpartition("\r")[0].rpartition("\r")[2].strip()
    assert "%|" not in str(ask("gguf", "f32", terminal=True, quiet=True)["stderr"])


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (410, "check the name and the revision"),
        (429, "try again later"),
        (500, "try again later"),
        (403, "token"),
    ],
)
def test_what_is_advised_follows_from_the_status(status: int, advice: str) -> None:
    error = RuntimeError("no")
    error.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
    assert advice in str(_explained(ModelSpec("org/tiny"), error))


def test_a_size_that_a_hub_cannot_mean_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    said = {"a.gguf": 5, "b.gguf": None, "c.gguf": -5, "d.gguf": "5", "e.gguf": 5.5, "../f.gguf": 5}
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in said.items()]
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda *_args, **_more: SimpleNamespace(siblings=siblings)
    )
    sizes = file_sizes(ModelSpec("org/sizes-of-all-kinds"))
    assert sizes == {"a.gguf": 5, "b.gguf": 0, "c.gguf": 0, "d.gguf": 0, "e.gguf": 0}
