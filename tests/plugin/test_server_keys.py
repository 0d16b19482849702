"""Is a server that wants a key asked with it from its start on?"""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Run

LEVEL = """
import pytest

@pytest.mark.llm(models=["tiny"], requests=4, concurrency=2, max_new_tokens=4, warmup_requests=0)
def test_load(llm_load):
    assert llm_load.measure("Name a river.").failed == 0
"""
KEY = "sk-0123456789"


@pytest.fixture
def serve(engine: str) -> tuple[str, ...]:
    # A minute and more would be waited for one that is not ready.
    start = ("--llm-option=server.start_timeout=3600", f"--llm-option=server.arguments=--api-key {KEY}")
    return (f"--llm-serve={engine}", *start)


def test_a_server_that_is_started_with_a_key_is_measured(
    bench: pytest.Pytester, run: Run, serve: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(LEVEL)
    monkeypatch.setenv("THE_KEY", KEY)
    result = run(*serve, "--llm-option=server.api_key_env=THE_KEY", backend=None)
    result.assert_outcomes(passed=1)


def test_without_the_key_that_is_said_at_once(
    bench: pytest.Pytester, run: Run, serve: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(LEVEL)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    result = run(*serve, backend=None)
    result.assert_outcomes(failed=1)
    said = "*is up, but * wants an API key (status 401)*--llm-option server.api_key_env=NAME*"
    result.stdout.fnmatch_lines([said])
