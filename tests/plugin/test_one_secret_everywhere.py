"""Is a secret in anything that a session writes or shows, wherever a user has put it?

Prompts are data, and apart: what a test asks is the user's own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app
from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

SECRET = "S3cr3t'of+all/Places"
QUOTED = quote(SECRET, safe="")

TEST = """
import psutil
import pytest

@pytest.mark.llm(requests=4, warmup_requests=0, prompt_length=20, max_new_tokens=4, concurrency=[1] MARKER)
@pytest.mark.parametrize("size", ["s"])
def test_load(llm_load, size):
    try:
        llm_load.measure("hello")
    finally:
        with open("ps.txt", "a") as file:
            for process in psutil.Process().children(recursive=True):
                print(process.cmdline(), file=file)
"""

Place = Callable[[str, pytest.Pytester, pytest.MonkeyPatch], list[str]]


def _with_user(url: str) -> str:
    return url.replace("//", f"//me:{QUOTED}@")


def _addopts(url: str, bench: pytest.Pytester, _: pytest.MonkeyPatch) -> list[str]:
    bench.makeini(f"[pytest]\naddopts = --llm-base-url={_with_user(url)}\n")
    return []


def _ini(url: str, bench: pytest.Pytester, _: pytest.MonkeyPatch) -> list[str]:
    bench.makeini(f"[pytest]\nllm_base_url = {_with_user(url)}\n")
    return []


def _key(url: str, _: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("MY_SERVER", SECRET)
    return [f"--llm-base-url={url}", "--llm-option=server.api_key_env=MY_SERVER"]


def _header_variable(url: str, _: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("MY_SERVER", SECRET)
    return [f"--llm-base-url={url}", "--llm-option=server.headers='X-Name=Token ${MY_SERVER}'"]


def _environment(url: str, _: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name in ("VLLM_MY_PASS", "VLLM_MY_PWD", "GGML_MY_PAT", "HF_HUB_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("HF_ENDPOINT", f"https://me:{QUOTED}@hub.example.org")
    return [f"--llm-base-url={url}"]


PLACES: dict[str, Place] = {
    "user of the URL": lambda url, *_: [f"--llm-base-url={_with_user(url)}"],
    "two URLs": lambda url, *_: [
        f"--llm-base-url={_with_user(url)}",
        f"--llm-base-url={_with_user(url).replace('127.0.0.1', 'localhost')}",
    ],
    "query": lambda url, *_: [f"--llm-base-url={url}?key={QUOTED}", "--llm-model=fake"],
    "arguments": lambda url, *_: [
        f"--llm-base-url={url}",
        f'--llm-option=server.arguments=--port 3 --api-key "{SECRET}"',
    ],
    "header": lambda url, *_: [
        f"--llm-base-url={url}",
        f'--llm-option=server.headers="X-Api-Key={SECRET}"',
    ],
    "body": lambda url, *_: [
        f"--llm-base-url={url}",
        f"--llm-option=server.body={json.dumps({'api_key': SECRET})}",
    ],
    "key in place of its variable's name": lambda url, *_: [
        f"--llm-base-url={url}",
        f"--llm-option=server.api_key_env={SECRET}",
    ],
    "key": _key,
    "variable of a header": _header_variable,
    "environment": _environment,
    "addopts": _addopts,
    "ini": _ini,
    "a password not encoded": lambda url, *_: [f"--llm-base-url={url.replace('//', f'//me:{SECRET}@')}"],
    "base side": lambda url, *_: [
        f"--llm-base-url={url}",
        f'--llm-ab=base_url={_with_user(url)} server.body=\'{{"api_key": "{QUOTED}"}}\'',
        "--llm-budget=6",
    ],
}

NEEDLES = (
    SECRET,
    QUOTED,
    "S3cr3t",
    "3cr3t",
    "/Places",
    quote("/Places", safe=""),
    base64.b64encode(SECRET.encode()).decode().rstrip("="),
    base64.b64encode(f"me:{SECRET}".encode()).decode()[:16],
)


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_in_nothing_that_is_written_or_shown(
    place: str, bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(TEST.replace("MARKER", ""))
    fails = place not in ("two URLs", "environment", "base side")
    # Where some requests succeed, it is the gate that repeats what the others were told.
    every = 3 if place in ("user of the URL", "query", "header") else 1
    before = {path for path in bench.path.rglob("*") if path.is_file()}
    with fake_server(fail_every=every if fails else 0) as server:
        server.echoes = True
        given = PLACES[place](server.url, bench, monkeypatch)
        before |= set(bench.path.glob("*.ini"))
        result = run(*given, "-v", "-rA", "--setup-show", "--junit-xml=junit.xml", backend=None)
    shown = {"stdout": result.stdout.str(), "stderr": result.stderr.str()}
    store = [f"--store={bench.path / '.llmbench'}"]
    for words in (
        ["list"],
        ["show"],
        ["show", "--case", "test_load"],
        ["history"],
        ["recover"],
        *(["export", "--format", form] for form in ("csv", "csv-long", "jsonl", "markdown")),
    ):
        shown[" ".join(words)] = CliRunner().invoke(app, [*words, *store]).output
    for path in set(bench.path.rglob("*")) - before:
        if path.is_file() and path.suffix != ".pyc":
            shown[str(path.relative_to(bench.path))] = path.read_bytes().decode(errors="replace")
    leaks = {(name, needle) for name, text in shown.items() for needle in NEEDLES if needle in text}
    assert leaks == set(), {name: _around(shown[name], needle) for name, needle in leaks}
    if place not in ("key in place of its variable's name", "a password not encoded"):
        assert "junit.xml" in shown
        assert Path(bench.path / "out.json").exists()
        if fails:
            assert "the fake is overloaded: " in shown["stdout"]


def _around(text: str, needle: str) -> str:
    at = text.find(needle)
    return text[max(0, at - 120) : at + 120]


def test_a_secret_among_the_users_own_parameters_is_not_in_the_document(
    bench: pytest.Pytester, run: Run
) -> None:
    marker = f", base_url=['BASE?key={QUOTED}'], models=['fake']"
    with fake_server() as server:
        text = TEST.replace("MARKER", marker.replace("BASE", server.url))
        bench.makepyfile(
            text.replace('"size", ["s"]', f'"api_key", [{SECRET!r}]').replace(", size", ", api_key")
        )
        result = run(backend=None)
    result.assert_outcomes(passed=1)
    kept = (bench.path / "out.json").read_text()
    assert "test_load" in kept
    assert not any(needle in kept for needle in NEEDLES)
