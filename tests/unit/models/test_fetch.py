"""Is a hub's model fetched ahead as a benchmark would get it, and is it told what is missing?

Each command runs in a process of its own, since huggingface_hub reads its environment when it is imported.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.models.spec import ResolvedModel
from tests.fakes.hub import Hub

pytest.importorskip("huggingface_hub")

Tiny = Callable[..., ResolvedModel]
Call = Callable[..., "subprocess.CompletedProcess[str]"]

ALIASES = """
toy: tiny
giant: {gguf_repo: org/tiny, recommended_memory_gb: 1000000}
small: {hf_repo: org/none, gguf_repo: org/tiny, gguf_file: tiny-F16.gguf, recommended_memory_gb: 0.1}
only: {hf_repo: org/tiny}
"""


@pytest.fixture
def files(hub: Hub, tiny: Tiny) -> dict[str, Path]:
    """``org/tiny``, in both forms, and ``org/ggufs``, in one."""
    folder = tiny("hf").path
    ggufs = {"tiny-F16.gguf": tiny("gguf", "f16").path, "tiny-f32.gguf": tiny("gguf", "f32").path}
    hub.repositories["org/tiny"] = {path.name: path for path in folder.iterdir()} | ggufs
    hub.repositories["org/ggufs"] = {**ggufs, "README.md": folder / "config.json"}
    return hub.repositories["org/tiny"]


@pytest.fixture
def models(hub: Hub, tmp_path: Path) -> Call:
    """``llmbench models ...``."""
    (tmp_path / "models.yaml").write_text(ALIASES)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("HF_", "HUGGING")) and "proxy" not in key.lower()
        }
        own = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "LLMBENCH_CACHE": str(tmp_path / "cache"),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        return subprocess.run(
            [sys.executable, "-m", "pytest_llmbench", "models", *arguments],
            env={**kept, **own, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def test_the_quantization_picks_the_file_and_what_is_here_is_not_fetched_again(
    hub: Hub, files: dict[str, Path], models: Call, tiny: Tiny
) -> None:
    first = models("download", "org/tiny", "--quant", "f16")
    assert first.returncode == 0, first.stderr
    said, path, about = first.stdout.splitlines()
    assert said == "org/tiny: 1 file, 11.9 MiB"
    assert Path(path).name == "tiny-F16.gguf"
    assert about.endswith(tiny("gguf", "f16").digest)
    again = models("download", "org/tiny", "--quant", "f16").stdout.splitlines()
    assert again == ["org/tiny: 1 file, 11.9 MiB, 11.9 MiB of it here already", path, about]
    assert hub.downloads == ["tiny-F16.gguf"]


def test_a_repository_of_one_form_is_fetched_in_that(files: dict[str, Path], models: Call) -> None:
    several = models("download", "org/ggufs")
    assert several.returncode == 2
    assert (
        "org/ggufs holds several GGUF files, say which quantization you mean (--quant NAME)" in several.stderr
    )
    del files["tiny-F16.gguf"], files["tiny-f32.gguf"]
    whole = models("download", "org/tiny")
    assert whole.returncode == 0, whole.stderr
    assert "files, " in whole.stdout
    assert models("download", "org/tiny", "--form", "gguf").returncode == 2


def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    hub: Hub, files: dict[str, Path], models: Call, tiny: Tiny
) -> None:
    # huggingface_hub keeps what came in parts of 10 MiB.
    hub.cut["tiny-f32.gguf"] = 15_000_000
    done = models("download", "org/tiny", "--quant", "f32")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(tiny("gguf", "f32").digest)
    (part,) = hub.ranges
    assert 0 < int(part.removeprefix("bytes=").rstrip("-")) <= 15_000_000


def test_what_came_whole_is_kept_for_the_next_time(hub: Hub, files: dict[str, Path], models: Call) -> None:
    last = max(name for name in files if name.startswith("model-0"))
    hub.missing.add(last)
    failed = models("download", "org/tiny", "--form", "hf")
    assert failed.returncode == 2
    assert "What came whole is kept: the same command goes on from there" in failed.stderr
    hub.missing.clear()
    before = set(hub.downloads)
    hub.downloads.clear()
    assert before
    done = models("download", "org/tiny", "--form", "hf")
    assert done.returncode == 0, done.stderr
    assert "of it here already" in done.stdout
    assert last in hub.downloads
    assert not before & set(hub.downloads)


def test_an_alias_is_fetched_as_it_says(hub: Hub, files: dict[str, Path], models: Call) -> None:
    done = models("download", "small", "--form", "gguf", "--models-file", "models.yaml")
    assert done.returncode == 0, done.stderr
    assert hub.downloads == ["tiny-F16.gguf"]
    for arguments, said in (
        (("download", "only", "--quant", "f16"), "only has no files with a quantization to choose"),
        (("download", "only", "--form", "gguf"), "the models file names no GGUF files for only (gguf_repo)"),
        (("download", "toy"), "toy is not a hub's model, it is built here: llmbench models build tiny"),
        (("download", "org/none"), "there is no model org/none"),
        (("download", "org/tiny", "--form", "hf", "--quant", "f16"), "--quant is for GGUF"),
        (("download", "org/tiny", "--form", "ggfu"), "there is no form 'ggfu'; did you mean 'gguf'"),
    ):
        refused = models(*arguments, "--models-file", "models.yaml")
        assert refused.returncode == 2
        assert said in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_the_first_alias_that_fits_is_set_up(hub: Hub, files: dict[str, Path], models: Call) -> None:
    hub.repositories["org/none"] = {"README.md": files["config.json"]}
    done = models("setup", "--models-file", "models.yaml")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "toy needs no download: it is passed over"
    assert lines[1].startswith(
        "giant needs 909 TiB of memory (recommended_memory_gb in the models file), and "
    )
    assert lines[2].startswith("small fits: it needs 95.4 MiB of memory, and this machine has ")
    assert hub.downloads == ["tiny-F16.gguf"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there are no aliases to choose from"),
        ("toy: tiny", "none of the aliases that are on a hub fits this machine"),
    ],
)
def test_nothing_to_set_up_is_told(models: Call, tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "models.yaml").write_text(text)
        (tmp_path / "pytest.ini").write_text("[pytest]\nllm_models_file = models.yaml\n")
    done = models("setup")
    assert done.returncode == 2
    assert said in done.stderr


def test_a_hub_that_says_nothing_is_not_waited_for(models: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        failed = models("download", "org/tiny", HF_ENDPOINT=url, HF_HUB_ETAG_TIMEOUT="1")
        built = models("build", "org/tiny", HF_ENDPOINT=url, HF_HUB_ETAG_TIMEOUT="1")
    for one in (failed, built):
        assert one.returncode == 2
        assert f"org/tiny cannot be fetched from {url}: " in one.stderr
        assert len(one.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["setup", "download", "build"])
def test_a_models_file_before_the_command_is_not_passed_over(models: Call, command: str) -> None:
    refused = models("--models-file", "models.yaml", command, *(["small"] if command != "setup" else []))
    assert refused.returncode == 2
    assert "--models-file stands behind a command, in those that take it" in refused.stderr


def test_an_alias_that_cannot_be_used_hides_no_other(models: Call, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("gone: ./gone.gguf\ntoy: tiny\n")
    lines = models("--models-file", "models.yaml").stdout.splitlines()
    assert lines[0].startswith("gone cannot be used: ")
    assert "no such file or folder" in lines[0]
    assert lines[1] == "toy, alias of tiny"


def test_aliases_and_cached_models_are_listed_with_what_fits(
    files: dict[str, Path], models: Call, tmp_path: Path
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nllm_models_file = models.yaml\n")
    assert models("download", "org/tiny", "--quant", "f16").returncode == 0
    lines = models().stdout.splitlines()
    (tmp_path / "pytest.ini").write_text("[pytest]\nllm_models_file = ~/models.yaml\n")
    assert models(HOME=str(tmp_path)).stdout.splitlines() == lines
    assert lines[0] == "toy, alias of tiny"
    assert lines[1] == "giant, alias of org/tiny, needs 909 TiB of memory: too much for this machine"
    assert lines[2] == "small, alias of org/none and org/tiny, needs 95.4 MiB of memory"
    assert lines[4] == "org/tiny, in the hub's cache, 11.9 MiB (tiny-F16.gguf)"
    assert any(line.startswith("This machine has ") for line in lines)


def test_a_file_in_the_place_of_the_cache_is_no_cache(models: Call, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "hub").touch()
    listed = models()
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.startswith("tiny, ")
