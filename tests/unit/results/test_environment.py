"""Is the machine described, and nothing that must not be known?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmbench.results.environment import commit, machine, snapshot, versions
from pytest_llmbench.results.privacy import environment_variables
from pytest_llmbench.secrets import mask_command

SECRET = "hunter2-do-not-keep"


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--initial-branch=trunk")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_a_clean_repository_is_described(repository: Path) -> None:
    found = commit(repository)
    assert found.id is not None
    assert len(found.id) == 40
    assert (found.branch, found.dirty, found.reason) == ("trunk", False, None)
    assert found.time is not None


def test_a_changed_file_makes_it_dirty_and_a_new_one_does_not(repository: Path) -> None:
    (repository / "new").write_text("")
    assert commit(repository).dirty is False
    (repository / "file").write_text("2")
    assert commit(repository).dirty is True


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    git(repository, "checkout", "--detach")
    assert commit(repository).branch is None
    assert commit(repository).id is not None


def test_a_repository_without_a_commit_says_so(tmp_path: Path) -> None:
    git(tmp_path, "init")
    found = commit(tmp_path)
    assert found.id is None
    assert found.reason == "the repository has no commit yet"


def test_a_folder_without_git_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = commit(tmp_path)
    assert (found.id, found.dirty) == (None, None)
    assert "not a git repository" in (found.reason or "")


def test_a_machine_without_git_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path).reason == "git is not installed"


def test_what_cannot_be_read_is_null_with_a_reason(tmp_path: Path) -> None:
    found = machine({}, root=tmp_path)
    assert found.cpu["governor"] is None
    assert found.cpu["flags"] is None
    assert found.memory["limit"] is None
    assert set(found.unknown) >= {"cpu.governor", "cpu.flags", "cpu.quota", "memory.limit"}
    assert all(found.unknown.values())


def test_proc_and_sys_are_read(tmp_path: Path) -> None:
    cpufreq = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    cgroup = tmp_path / "sys/fs/cgroup"
    proc = tmp_path / "proc"
    for folder in (cpufreq, cgroup / "a.slice", proc / "self"):
        folder.mkdir(parents=True)
    (proc / "self/cgroup").write_text("0::/a.slice\n")
    (proc / "self/mountinfo").write_text("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n")
    (proc / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Fast CPU\nflags\t\t: fpu avx2 hypervisor\n\n"
        "processor\t: 1\nmodel name\t: Other CPU\nflags\t\t: fpu\n"
    )
    (cpufreq / "scaling_governor").write_text("performance\n")
    (cpufreq / "cpuinfo_max_freq").write_text("3500000\n")
    (cgroup / "cpu.max").write_text("max 100000\n")
    (cgroup / "a.slice/cpu.max").write_text("150000 100000\n")
    (cgroup / "memory.max").write_text("1073741824\n")
    (tmp_path / ".dockerenv").touch()
    found = machine({}, root=tmp_path)
    assert found.cpu["model"] == "Fast CPU"
    assert found.cpu["flags"] == ["avx2", "hypervisor"]
    assert found.cpu["governor"] == "performance"
    assert found.cpu["max_frequency"] == 3_500_000_000
    assert found.cpu["quota"] == 1.5
    assert found.memory["limit"] == 2**30
    assert not {"cpu.quota", "memory.limit"} & set(found.unknown)
    assert found.os["virtual_machine"] == "unknown hypervisor"


def test_the_same_hardware_has_the_same_id_and_another_cpu_has_not(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("model name : One\n")
    one = machine({}, root=tmp_path).id
    assert machine({"OMP_NUM_THREADS": "3"}, root=tmp_path).id == one
    (tmp_path / "proc/cpuinfo").write_text("model name : Two\n")
    assert machine({}, root=tmp_path).id != one


def test_our_version_and_the_installed_ones_are_known() -> None:
    assert set(versions()) >= {"python", "pytest-llmbench", "pytest"}


def test_variables_that_steer_an_engine_are_kept() -> None:
    kept = environment_variables(
        {"OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "", "HOME": "x"}
    )
    assert kept == {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN", "HF_HUB_TOKEN", "VLLM_API_KEY", "LLAMA_ARG_API_KEY", "LLAMA_ARG_HF_TOKEN",
        "OPENAI_API_KEY", "TORCH_SECRET", "GGML_PASSWORD", "LLMBENCH_OPENAI_API_KEY", "TOKENIZERS_TOKEN",
        "TRANSFORMERS_AUTH", "llama_arg_api_key", "AWS_SECRET_ACCESS_KEY",
    ],
)  # fmt: skip
def test_a_secret_is_never_in_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, SECRET)
    taken = snapshot(tmp_path, command=["--llm-option", f"openai.api_key={SECRET}", "--api-token", SECRET])
    assert SECRET not in taken.model_dump_json()


@pytest.mark.parametrize(
    "value",
    [
        "https://user:PASSWORD@hub.example.org",
        "http://PASSWORD@hub.example.org/x",
        "hf_PASSWORDPASSWORDPASSWORD",
        "x=sk-proj-PASSWORDPASSWORD",
    ],
)
def test_a_secret_within_a_value_is_masked(value: str) -> None:
    assert "PASSWORD" not in str(environment_variables({"HF_ENDPOINT": value}))
    assert "PASSWORD" not in str(mask_command([value]))


@pytest.mark.parametrize(
    ("argument", "kept"),
    [
        ("--llm-ab=env.A=PASSWORD", "--llm-ab=env.A=***"),
        ("env.A=PASSWORD python=x env.B=PASSWORD", "env.A=*** python=x env.B=***"),
        ("--llm-ab=env.A='a PASSWORD' model=x", "--llm-ab=env.A=*** model=x"),
        ('env.A=x"a PASSWORD" model=x', "env.A=*** model=x"),
        ("--llm-ab=env.A= model=x", "--llm-ab=env.A= model=x"),
        ("tests/my.env.A=b", "tests/my.env.A=b"),
    ],
)
def test_the_values_of_variables_that_a_base_side_has_are_masked(argument: str, kept: str) -> None:
    assert mask_command(["--llm-ab", argument]) == ["--llm-ab", kept]


def test_a_command_line_without_secrets_is_kept_whole() -> None:
    command = [
        "benchmarks/test_auth.py::test_key[a=b]",
        "--llm-max-new-tokens=64",
        "--llm-prompt-tokens",
        "512",
        "-k",
        "tokens",
        "--llm-option=llamacpp.n_threads=2",
    ]
    assert mask_command(command) == command


def test_a_snapshot_imports_no_engine(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pytest_llmbench.results.environment import snapshot; "
        "snapshot(Path('.')); "
        "print([m for m in ('torch', 'transformers', 'llama_cpp', 'pandas', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"


def test_a_snapshot_names_this_process(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, session_id="20260102T030405Z-0a1b2c3d", command=["-q"])
    assert taken.session.id == "20260102T030405Z-0a1b2c3d"
    assert taken.session.pid == os.getpid()
    assert taken.session.command == ["-q"]
    assert taken.session.state == "running"
