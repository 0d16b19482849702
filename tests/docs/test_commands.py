"""Do the commands and files that the README and the documentation show work?

Each page has a folder of its own. Its blocks come in their order: a block with a title is written as a file,
and a block in ``bash`` is run, command by command, unless a comment before it says why not.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.openai_server import fake_server

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")),
]
SERVER = "localhost:8000"
"""What stands for a server in the documentation."""

Blocks = Callable[[str, str], list[Any]]


def environment(*, watched: bool) -> dict[str, str]:
    """That of a person who types the commands, with the programs of this interpreter first."""
    left_out = ("PYTEST_", "LLMBENCH_STORE", "COLUMNS", "CI")
    found = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    found["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), found["PATH"]])
    # Plugins of our own tests, which take as long to import as pytest itself.
    options = [f"-p no:{name}" for name in ("cacheprovider", "hypothesispytest", "anyio", "timeout", "xdist")]
    # What else runs on the machine must not decide which baselines are accepted.
    options += [] if watched else ["--llm-monitor-rate=0"]
    found["PYTEST_ADDOPTS"] = " ".join(options)
    return found


@contextmanager
def server() -> Iterator[str]:
    """``HOST:PORT`` of a server for the commands that want one."""
    with fake_server(seconds_per_token=0.002) as running:
        yield running.url.removeprefix("http://").removesuffix("/v1")


def run(command: str, folder: Path, env: Mapping[str, str], allowed: tuple[int, ...], where: str) -> None:
    for name in re.findall(r"\b(?:benchmarks/test_|examples/)\w+\.py", command):
        if not (folder / name).exists():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = f"{where}: {command}\n{done.stdout}\n{done.stderr}"
    assert done.returncode in allowed, said
    # What fails by its verdict was measured all the same.
    assert len(allowed) == 1 or not command.startswith("pytest ") or "Results: " in done.stdout, said


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_shows_works(name: str, tmp_path: Path, blocks: Blocks) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    found = blocks(name, text)
    env = environment(watched="hw_monitor" in text)
    for block in found:
        if block.title is not None:
            path = tmp_path / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.language != "bash" or block.directive == "not run":
            continue
        allowed = (0, 1) if block.directive == "may fail" else (0,)
        for command in block.commands:
            if block.directive == "run with":
                assert SERVER in command, block.where
                with server() as address:
                    run(command.replace(SERVER, address), tmp_path, env, allowed, block.where)
            else:
                run(command, tmp_path, env, allowed, block.where)


@pytest.mark.parametrize("name", PAGES)
def test_what_is_no_command_can_be_read(name: str, blocks: Blocks) -> None:
    readers: dict[str, Callable[[str], object]] = {
        "python": ast.parse,
        "yaml": yaml.safe_load,
        "toml": tomllib.loads,
        "ini": str,
        "json": lambda text: [json.loads(line) for line in text.splitlines()],
        "text": str,
        "bash": str,
    }
    for block in blocks(name, (ROOT / name).read_text(encoding="utf-8")):
        assert block.language in readers, f"{block.where}: {block.language}"
        readers[block.language](block.text)


@pytest.mark.parametrize("name", PAGES)
def test_each_test_file_that_is_shown_is_run_on_its_page(name: str, blocks: Blocks) -> None:
    found = blocks(name, (ROOT / name).read_text(encoding="utf-8"))
    commands = [line for block in found if block.language == "bash" for line in block.commands]
    not_run = [line for block in found if block.directive == "not run" for line in block.commands]
    for block in found:
        if block.title is not None and Path(block.title).name.startswith("test_"):
            folder = str(Path(block.title).parent) + "/ "
            names = [line for line in commands if block.title in line or f" {folder}" in line]
            assert set(names) - set(not_run), f"{block.where}: no command on this page runs {block.title}"


def test_a_block_of_commands_is_run_unless_a_reason_is_given(blocks: Blocks) -> None:
    (block,) = blocks(
        "page.md", "text\n\n```bash\npytest \\\n    x.py  # why\n# nothing\nllmbench list\n```\n"
    )
    assert (block.where, block.directive) == ("page.md:3", None)
    assert [command.split() for command in block.commands] == [
        ["pytest", "x.py", "#", "why"],
        ["llmbench", "list"],
    ]
    (block,) = blocks("page.md", "<!-- not run: needs a GPU -->\n```bash\npytest\n```\n")
    assert (block.directive, block.reason) == ("not run", "needs a GPU")


@pytest.mark.parametrize("comment", ["not run", "not run:", "never run: too slow", "skip"])
def test_a_comment_that_gives_no_reason_is_refused(comment: str, blocks: Blocks) -> None:
    with pytest.raises(ValueError, match=r"page\.md:2"):
        blocks("page.md", f"<!-- {comment} -->\n```bash\npytest\n```\n")


def test_a_block_without_a_language_is_refused(blocks: Blocks) -> None:
    with pytest.raises(ValueError, match="no language"):
        blocks("page.md", "```\npytest\n```\n")
