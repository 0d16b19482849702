"""Is every secret found, wherever it is written, and nothing else taken for one?"""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from pytest_llmbench import secrets
from pytest_llmbench.errors import LLMBenchWarning, UsageError
from pytest_llmbench.secrets import (
    is_secret_name,
    learn,
    learn_command,
    learn_environment,
    learn_headers,
    learn_url,
    mask,
    mask_command,
    mask_data,
    mask_json,
    mask_setting,
)

KEY = "S3cr3t'k\"ey/with+odd\\chars=42ß"


@pytest.mark.parametrize(
    "name",
    [
        "--api-key", "api_key", "apikey", "openaiApiKey", "HF_TOKEN", "hf_token", "MY_PASS",
        "DB_PWD", "GH_PAT",
        "AWS_SECRET_ACCESS_KEY", "X-Auth", "Set-Cookie", "sig", "AZURE_SAS", "dbpassword", "MYSQL_PASSWD",
        "openai.api_key", "PROXY_AUTHORIZATION", "SERVICE_CREDENTIALS", "SSH_PASSPHRASE", "TOKENIZERS_TOKEN",
    ],
)  # fmt: skip
def test_a_name_tells_a_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens", "--llm-max-new-tokens", "tokenizer", "TOKENIZERS_PARALLELISM", "passes",
        "pattern", "keep",
        "monkey", "keyboard", "compass", "author", "path", "eos_token", "num_key_value_heads", "pass_at_1",
        "pin_memory", "api_key_env", "ssl_keyfile", "PWD", "OLDPWD", "time_per_token", "design", "signal",
    ],
)  # fmt: skip
def test_a_name_that_only_looks_alike_tells_none(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "written",
    [
        KEY, quote(KEY), quote(KEY, safe=""), quote_plus(KEY), json.dumps(KEY),
        json.dumps(KEY, ensure_ascii=False),
        repr(KEY), repr({"said": repr(KEY)}), html.escape(KEY), base64.b64encode(KEY.encode()).decode(),
        json.dumps({"error": json.dumps({"key": KEY})}), KEY[:-5], KEY[5:], f"x{KEY}{KEY}x",
    ],
)  # fmt: skip
def test_a_known_value_is_masked_however_it_is_written(written: str) -> None:
    learn(KEY)
    shown = mask(f"refused: {written} is unknown")
    assert "***" in shown
    assert "r3t" not in shown
    assert "odd" not in shown
    assert shown.startswith("refused: ")
    assert shown.endswith(" is unknown")


def test_a_short_value_is_masked_as_a_word_and_a_placeholder_is_none() -> None:
    learn("abcd", "EMPTY", "x", "")
    assert mask("abcd abcdef EMPTY x") == "*** abcdef EMPTY x"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["--api-key", "S3cr3t0123456789"], ["--api-key", "***"]),
        (["--api-key=S3cr3t0123456789=="], ["--api-key=***"]),
        (["MY_PASS=S3cr3t0123456789"], ["MY_PASS=***"]),
        (["-H", "Authorization: Bearer S3cr3t0123456789"], ["-H", "Authorization: ***"]),
        (["X-Api-Key:S3cr3t0123456789"], ["X-Api-Key:***"]),
        (["--llm-option=openai.arguments=--api-key S3cr3t0123456789 --port 3"], None),
        (["--llm-option", "openai.arguments=--api-key=S3cr3t0123456789 --port 3"], None),
        (["--llm-ab", "openai.arguments='--port 3 --api-key S3cr3t0123456789' model=x"], None),
        (["--llm-option", 'server.headers={"X-Api-Key": "S3cr3t0123456789", "B": "--port 3"}'], None),
        (["--llm-option", "openai.api_key_env=S3cr3t0123456789"], ["--llm-option", "openai.api_key_env=***"]),
        (["http://u:S3cr3t0123456789@h/v1"], ["http://***@h/v1"]),
        (["http://u:p@S3cr3t0123456789@h"], ["http://***@h"]),
        (["http://u:S3/cr3t0123456789@h/v1"], ["http://***@h/v1"]),
        (["http://S3cr3t0123456789@h/v1"], ["http://***@h/v1"]),
        (["http://h/v1?a=1&key=S3cr3t0123456789&b=2#x"], ["http://h/v1?a=1&key=***&b=2#x"]),
        (["http://h/v1#access_token=S3cr3t0123456789"], ["http://h/v1#access_token=***"]),
        (["base_url=http://u:S3cr3t0123456789@h/v1 model=x"], ["base_url=http://***@h/v1 model=x"]),
    ],
)  # fmt: skip
def test_a_command_line_is_shown_without_its_secrets(command: list[str], shown: list[str] | None) -> None:
    masked = mask_command(command)
    assert not any(part in " ".join(masked) for part in ("S3", "cr3t"))
    assert masked == shown if shown else "--port 3" in masked[-1]
    learn_command(command)
    said = "S3cr3t0123456789, or S3/cr3t0123456789"
    assert mask(said) != said


@pytest.mark.parametrize(
    "word",
    [
        "http://127.0.0.1:8000/a@b", "http://[::1]:80/a@b", "http://h:8000, see a@b.example",
        "https://h/v1?api-version=2024-06-01", "tests/test_auth.py::test_key[a=b]", "--llm-requests=5",
        "openai.api_key_env=MY_KEY",
    ],
)  # fmt: skip
def test_what_holds_no_secret_is_kept(word: str) -> None:
    assert mask_command([word]) == [word]


def test_a_password_of_a_url_is_known_in_every_form() -> None:
    learn_url("http://me:p%40ss%2Bword@h/v1?sig=a%2Fsignature")
    basic = base64.b64encode(b"me:p@ss+word").decode()
    for said in ("p@ss+word", "p%40ss%2Bword", basic, "a/signature", "a%2Fsignature"):
        assert mask(f"<{said}>") == "<***>"


def test_headers_and_variables_are_known_by_their_names() -> None:
    learn_headers({"X-Auth": "Token header-secret", "Accept": "text/html"})
    learn_environment({"MY_PAT": "pat-secret", "SSH_KEY": "/home/me/.ssh/id", "PROXY": "http://u:proxypw@h"})
    said = "header-secret pat-secret proxypw text/html /home/me/.ssh/id"
    assert mask(said) == "*** *** *** text/html /home/me/.ssh/id"


def test_settings_and_data_keep_what_is_none() -> None:
    assert mask_setting("arguments", "--api-key x1y2z3 --port 3") == "--api-key *** --port 3"
    assert mask_setting("proxy", "http://u:pw@h:1") == "http://***@h:1"
    data = {"api_key": "x", "max_tokens": 5, "nested": [{"token": "y"}, "http://u:p@h"], "auth": None}
    expected = {"api_key": "***", "max_tokens": 5, "nested": [{"token": "***"}, "http://***@h"], "auth": None}
    assert mask_data(data) == expected


def test_numbers_of_a_document_are_no_secrets() -> None:
    learn("12345678")
    line = b'{"n":12345678,"text":"12345678","x":[0.123456789]}'
    assert mask_json(line) == b'{"n":12345678,"text":"***","x":[0.123456789]}'
    assert mask_json(b'{"a":  1}') == b'{"a":  1}'


def test_no_message_of_ours_has_a_known_secret() -> None:
    learn(KEY)
    error = UsageError(f"refused {KEY!r}")
    error.add_note(KEY)
    assert "S3cr" not in f"{error} {error!r} {error.__notes__} {LLMBenchWarning(KEY)}"


def test_what_is_known_is_bounded() -> None:
    learn(*(f"secret-number-{number}" for number in range(1000)))
    assert mask("secret-number-999") == "***"
    assert len(secrets._known) == 256
