"""Is a server measured whatever its base URL has behind the path, before the host and for models?"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

LEVEL = """
import pytest

@pytest.mark.llm(requests=4, prompt_length=20, max_new_tokens=4, concurrency=[1])
def test_load(llm_load):
    assert llm_load.measure().failed == 0
"""


def test_a_deployment_behind_a_query_is_measured(
    bench: pytest.Pytester, run: Run, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(LEVEL)
    with fake_server() as server:
        paths = server.asked
        host = server.url.removesuffix("/v1")
        url = f"{host}/openai/deployments/x?api-version=2024-06-01"
        result = run(
            f"--llm-base-url={url}", "--llm-model=fake", "--llm-option=server.endpoint=chat", backend=None
        )
    result.assert_outcomes(passed=1)
    assert "POST /openai/deployments/x/chat/completions?api-version=2024-06-01" in paths
    assert "GET /openai/deployments/x/models?api-version=2024-06-01" in paths
    (case,) = document()["cases"]
    assert case["processes"][0]["engine"]["base_url"] == url


def test_user_and_password_of_a_url_are_sent_and_kept_nowhere(
    bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-this-server")
    bench.makepyfile(LEVEL)
    with fake_server() as server:
        url = server.url.replace("//", "//me:open%40sesame@")
        result = run(f"--llm-base-url={url}", backend=None)
        basic = base64.b64encode(b"me:open@sesame").decode()
        assert server.keys == {f"Basic {basic}"}
    result.assert_outcomes(passed=1)
    kept = [p.read_bytes().decode() for p in (bench.path / ".llmbench").rglob("*") if p.is_file()]
    for text in (*kept, result.stdout.str(), result.stderr.str()):
        assert not any(secret in text for secret in ("sesame", basic))


def test_a_server_without_a_list_of_models_needs_the_name_of_one(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(LEVEL)
    with fake_server() as server:
        url = server.url.replace("/v1", "/gateway/v1")
        run(f"--llm-base-url={url}", backend=None).stdout.fnmatch_lines(
            ["*needs the name of one: --llm-model*"]
        )
        run(f"--llm-base-url={url}", "--llm-model=fake", backend=None).assert_outcomes(passed=1)


def test_a_fragment_is_refused_before_anything_runs(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(LEVEL)
    result = run("--llm-base-url=http://127.0.0.1:9/v1#x", backend=None)
    result.stderr.fnmatch_lines(["*what follows '#' is not sent*"])
