"""Does whatever a server sends stay one failed request, and act on nothing?"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\x00"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


def level(settings: str = "", call: str = "") -> str:
    return f"""
import pytest

@pytest.mark.llm(requests=8, prompt_length=20, max_new_tokens=4, concurrency=2, {settings})
def test_load(llm_load):
    llm_load.measure({call})
"""


def shown(result: pytest.RunResult, *files: Path) -> str:
    """What reached a person."""
    return "".join([result.stdout.str(), result.stderr.str(), *(file.read_text() for file in files)])


def test_what_a_server_says_does_not_act_on_the_terminal(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(level())
    junit = bench.path / "junit.xml"
    with fake_server(fail_every=1) as server:
        server.error = f"no: {HOSTILE}"
        result = run(f"--llm-base-url={server.url}", f"--junit-xml={junit}", "-rA", backend=None)
    result.assert_outcomes(failed=1)
    assert not RAW.search(shown(result, junit))
    assert r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\x00" in result.stdout.str()


def test_the_names_of_a_servers_models_do_not_act_on_the_terminal(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(level())
    junit = bench.path / "junit.xml"
    with fake_server(*(f"{HOSTILE}{n}" for n in range(1000))) as server:
        result = run(f"--llm-base-url={server.url}", f"--junit-xml={junit}", backend=None)
        named = run(f"--llm-base-url={server.url}", "--llm-model=other", backend=None)
    for one in (result, named):
        one.assert_outcomes(failed=1)
        assert not RAW.search(shown(one, junit))
        assert "and 990 more" in one.stdout.str()
        assert "evil999" not in one.stdout.str()


def test_a_model_with_a_hostile_name_is_measured_and_kept_as_it_is(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(level())
    junit = bench.path / "junit.xml"
    with fake_server(HOSTILE) as server:
        result = run(f"--llm-base-url={server.url}", f"--junit-xml={junit}", "-rA", backend=None)
    result.assert_outcomes(passed=1)
    assert not RAW.search(shown(result, junit))
    assert document()["cases"][0]["model"]["name"] == HOSTILE


def test_a_count_beyond_reason_fails_its_requests_and_not_the_session(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(level(call="'Name a river.'"))
    with fake_server() as server:
        server.completion_tokens = 10**400
        result = run(f"--llm-base-url={server.url}", backend=None)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*all 8 requests failed: malformed: * is a number of 401 digits*"])
    failures = document()["cases"][0]["processes"][0]["failures"]
    assert [one["kind"] for one in failures] == ["malformed"] * 8


def test_models_that_cannot_be_read_are_a_clear_error(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(level())
    with fake_server() as server:
        server.models_text = "[" * 100_000
        result = run(f"--llm-base-url={server.url}", backend=None)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*does not answer with a list of models*"])
