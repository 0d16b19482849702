"""Is a server that wants other words measured, and is what it was asked in the results?"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

BOTH = """
import pytest

@pytest.mark.llm(requests=4, warmup_requests=0, prompt_length=20, max_new_tokens=3)
def test_load(llm_load):
    llm_load.measure()

def test_speed(llm_model):
    llm_model.measure("hello", rounds=2, warmup_rounds=0, max_new_tokens=3)
"""


def test_a_server_of_other_words_is_measured_in_them_and_the_protocol_says_so(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(BOTH)
    for test in ("test_load", "test_speed"):
        with fake_server() as server:
            server.refuses = ("max_tokens", "seed", "cache_salt")
            result = run(f"--llm-base-url={server.url}", "-k", test, backend=None)
            measured = [body for body in server.bodies if body["max_completion_tokens"] == 3]
        result.assert_outcomes(passed=1)
        (case,) = document()["cases"]
        assert not case["processes"][0]["failures"]
        assert len(case["processes"][0]["rounds"]) == len(measured)
        assert all(body["temperature"] == 0 and body["ignore_eos"] for body in measured)
        words = case["protocol"]["words"]
        assert (words["max_tokens"], words["seed"]) == ("max_completion_tokens", None)
        assert case["protocol"]["seed"] is None
        result.stdout.fnmatch_lines(["*the server refuses 'seed'*, so it is asked without*"])


def test_a_refusal_that_cannot_be_got_round_fails_before_the_level_and_names_the_option(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(BOTH)
    with fake_server() as server:
        server.refuses = ("temperature",)
        result = run(f"--llm-base-url={server.url}", backend=None)
        assert server.bodies == []
        result.assert_outcomes(failed=2)
        lines = [line for line in result.outlines if line.startswith("E ")]
        helps = """--llm-option 'server.body={"temperature": null}'"""
        assert sum(helps in line for line in lines) == 2
        option = """--llm-option=server.body={"temperature": null}"""
        run(f"--llm-base-url={server.url}", option, backend=None).assert_outcomes(passed=2)


def test_what_a_user_adds_goes_out_and_only_what_is_not_secret_is_kept(
    bench: pytest.Pytester, run: Run, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TENANT", "sesame-opens")
    bench.makepyfile(BOTH)
    body = {"chat_template_kwargs": {"enable_thinking": False}, "top_p": None}
    with fake_server() as server:
        result = run(
            f"--llm-base-url={server.url}",
            f"--llm-option=server.body={json.dumps(body)}",
            "--llm-option=server.headers=X-Org=acme X-Tenant=${MY_TENANT}",
            backend=None,
        )
        bodies, headers = server.bodies, server.headers
    result.assert_outcomes(passed=2)
    assert all(b["chat_template_kwargs"] == {"enable_thinking": False} and "top_p" not in b for b in bodies)
    assert {(h["x-org"], h["x-tenant"]) for h in headers} == {("acme", "sesame-opens")}
    for case in document()["cases"]:
        assert case["protocol"]["options"]["body"] == body
        assert case["protocol"]["options"]["headers"] == ["X-Org", "X-Tenant"]
        assert case["protocol"]["top_p"] is None
    kept = [path for path in bench.path.rglob("*") if path.is_file() and b"sesame-opens" in path.read_bytes()]
    assert kept == []
    assert "sesame-opens" not in result.stdout.str()


def test_another_body_is_another_protocol(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(BOTH)
    with fake_server() as server:
        run(f"--llm-base-url={server.url}", "-k", "speed", backend=None).assert_outcomes(passed=1)
        (bench.path / "out.json").rename(bench.path / "base.json")
        result = run(
            f"--llm-base-url={server.url}",
            *("-k", "speed", "--llm-compare=base.json", """--llm-option=server.body={"user": "me"}"""),
            backend=None,
        )
    (case,) = document()["cases"]
    assert case["verdict"] == "new"
    result.stdout.fnmatch_lines(["*options.body*"])


def test_both_sides_of_a_comparison_are_asked_in_the_same_words(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(BOTH)
    with fake_server() as base, fake_server() as now:
        now.refuses = ("seed",)
        run(
            f"--llm-base-url={now.url}",
            *(f"--llm-ab=base_url={base.url}", "--llm-budget=1", "--llm-concurrency=1", "-k", "load"),
            backend=None,
        )
        assert not [body for body in base.bodies if body["max_tokens"] == 3 and "seed" in body]
    assert [case["protocol"]["words"] for case in document()["cases"]] == [{"seed": None}] * 2


def test_an_option_of_the_base_side_is_that_of_its_server(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BOTH)
    with fake_server() as base, fake_server() as now:
        ab = f"--llm-ab=base_url={base.url} server.endpoint=chat"
        run(f"--llm-base-url={now.url}", ab, "--llm-budget=1", "-k", "speed", backend=None)
        assert all("messages" in body for body in base.bodies)
        assert base.bodies
        assert all("prompt" in body for body in now.bodies)


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--llm-option=server.body={seed: null}", "option server.body: it is not JSON"),
        ("""--llm-option=server.body={"stream": false}""", "'stream' cannot be set"),
        ("--llm-option=server.headers=X-Org", "write NAME=VALUE"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    bench: pytest.Pytester, run: Run, argument: str, told: str
) -> None:
    bench.makepyfile(BOTH)
    result = run(argument, backend=None)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert told in result.stderr.str()
