"""Does the cache hold only what is whole, whatever happens while it is filled?"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_llmbench.errors import ModelError
from pytest_llmbench.models.cache import (
    MANIFEST,
    _check_space,
    cache_folder,
    ensure,
    file_digest,
    read_entry,
    remembered_digest,
    weights_digest,
)


class Builder:
    """Writes two files, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "weights").write_bytes(b"w" * 1000)
        (folder / "config").write_text("{}")


@pytest.fixture
def build() -> Builder:
    return Builder()


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    return tmp_path / "models" / "entry"


def test_an_entry_is_built_once(entry: Path, build: Builder) -> None:
    first = ensure(entry, build, size=0)
    second = ensure(entry, build, size=0)

    assert first == second
    assert build.calls == 1
    assert set(first) == {"weights", "config"}
    assert first["weights"].size == 1000
    assert first["weights"].sha256 == file_digest(entry / "weights")


def test_nothing_but_the_entry_and_its_lock_is_left(entry: Path, build: Builder) -> None:
    ensure(entry, build, size=0)

    assert {path.name for path in entry.parent.iterdir()} <= {"entry", "entry.lock"}


def _truncate(entry: Path) -> None:
    os.truncate(entry / "weights", 10)


def _remove_a_file(entry: Path) -> None:
    (entry / "config").unlink()


def _change_without_changing_the_size(entry: Path) -> None:
    (entry / "weights").write_bytes(b"x" * 1000)
    os.utime(entry / "weights", ns=(1, 1))


def _remove_the_manifest(entry: Path) -> None:
    (entry / MANIFEST).unlink()


def _damage_the_manifest(entry: Path) -> None:
    (entry / MANIFEST).write_text('{"files": {"weights": 3}}')


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _remove_a_file,
        _change_without_changing_the_size,
        _remove_the_manifest,
        _damage_the_manifest,
    ],
    ids=lambda function: function.__name__.strip("_"),
)
def test_a_damaged_entry_is_built_again(entry: Path, build: Builder, damage) -> None:
    whole = ensure(entry, build, size=0)
    damage(entry)

    assert read_entry(entry) is None
    again = ensure(entry, build, size=0)

    assert build.calls == 2
    assert again["weights"].sha256 == whole["weights"].sha256
    assert (entry / "weights").read_bytes() == b"w" * 1000


def test_a_copied_entry_is_whole_although_its_times_are_new(entry: Path, build: Builder) -> None:
    ensure(entry, build, size=0)
    os.utime(entry / "weights", ns=(1, 1))

    assert read_entry(entry) is not None
    ensure(entry, build, size=0)
    assert build.calls == 1


def test_a_build_that_raises_leaves_nothing(entry: Path, build: Builder) -> None:
    def broken(folder: Path) -> None:
        build(folder)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        ensure(entry, broken, size=0)

    assert not entry.exists()
    assert {path.name for path in entry.parent.iterdir()} <= {"entry.lock"}


def test_a_disk_that_is_too_small_is_noticed_before_building(entry: Path, build: Builder) -> None:
    with pytest.raises(ModelError, match=r"needs 909000 TiB .* LLMBENCH_CACHE"):
        ensure(entry, build, size=10**18)

    assert build.calls == 0


def test_a_cache_that_cannot_be_made_says_what_to_set(tmp_path: Path, build: Builder) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ModelError, match="set LLMBENCH_CACHE"):
        ensure(tmp_path / "file" / "entry", build, size=0)


_SCRIPT = """
import sys, time
from pathlib import Path
from pytest_llmbench.models.cache import ensure

entry, log, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

def build(folder):
    with log.open("a") as stream:
        stream.write("building\\n")
    (folder / "weights").write_bytes(b"half")
    print("started", flush=True)
    time.sleep(seconds)
    (folder / "weights").write_bytes(b"w" * 1000)

print(ensure(entry, build, size=0)["weights"].size)
"""


def _process(entry: Path, log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _SCRIPT, str(entry), str(log), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_two_processes_one_builds_and_both_use_it(entry: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    # Long enough for the other one to come meanwhile, usually; if it is late, it finds what is there.
    processes = [_process(entry, log, 0.5) for _ in range(2)]
    outputs = [process.communicate()[0].split() for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert [output[-1] for output in outputs] == ["1000", "1000"]
    assert log.read_text().splitlines() == ["building"]


def test_a_killed_build_leaves_no_entry_and_is_cleared_away(
    entry: Path, tmp_path: Path, build: Builder
) -> None:
    process = _process(entry, tmp_path / "log", 600)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    assert not entry.exists()
    assert list(entry.parent.glob(".entry.building-*"))
    ensure(entry, build, size=0)

    assert build.calls == 1
    assert {path.name for path in entry.parent.iterdir()} <= {"entry", "entry.lock"}


def test_the_folder_is_the_users_unless_the_environment_says_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path

    monkeypatch.delenv("LLMBENCH_CACHE")
    assert cache_folder().name == "pytest-llmbench"


def test_a_digest_is_read_again_only_when_the_file_changed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    first = remembered_digest(file)
    assert first == file_digest(file)

    with monkeypatch.context() as patch:
        patch.setattr("pytest_llmbench.models.cache.file_digest", lambda _: pytest.fail("was read again"))
        assert remembered_digest(file) == first

    file.write_bytes(b"three")
    assert remembered_digest(file) == file_digest(file) != first


def test_a_cache_that_cannot_be_written_costs_no_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocked").touch()
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path / "blocked"))

    assert remembered_digest(tmp_path / "blocked") == file_digest(tmp_path / "blocked")


def test_the_digest_of_one_file_is_its_own_and_of_several_depends_on_each() -> None:
    assert weights_digest({"a": "11"}) == "sha256:11"
    two = weights_digest({"a": "11", "b": "22"})
    assert two == weights_digest({"b": "22", "a": "11"})
    assert two != weights_digest({"a": "22", "b": "11"})
    assert two.startswith("sha256:")
    assert len(two) == len("sha256:") + 64


@pytest.mark.parametrize(
    ("size", "free", "said"),
    [(24 * 2**20, 1000, "needs 24.0 MiB in {folder}, and 1000 B are free"), (2**34, 2**33, "needs 16.0 GiB")],
)
def test_what_is_missing_on_a_disk_is_said_in_fitting_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, free: int, said: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(ModelError) as caught:
        _check_space(tmp_path, size)
    assert said.format(folder=tmp_path) in str(caught.value)
    assert "0.0 GB" not in str(caught.value)


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/b", ".."])
def test_a_manifest_that_names_a_file_elsewhere_is_damage(entry: Path, build: Builder, name: str) -> None:
    ensure(entry, build, size=0)
    manifest = entry / MANIFEST
    manifest.write_text(manifest.read_text().replace('"weights"', f'"{name}"'))
    assert read_entry(entry) is None
    ensure(entry, build, size=0)
    assert build.calls == 2
