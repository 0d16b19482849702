"""Is what a user changes in requests read and merged, and is refused what would spoil the numbers?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmbench.backends.options import backend_of, kept_options, option_values, parse_option
from pytest_llmbench.errors import LLMBenchWarning, UsageError
from pytest_llmbench.gate.ab import parse_base_side
from pytest_llmbench.servers.options import SERVER_OPTIONS
from pytest_llmbench.servers.overrides import header_values, merge_patch, read_body, read_headers
from pytest_llmbench.settings.case import SETTINGS


# RFC 7396, appendix A.
@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_body_is_merged_as_the_standard_says(target: Any, patch: Any, merged: Any) -> None:
    before = json.dumps(target)
    assert merge_patch(target, patch) == merged
    assert json.dumps(target) == before


@pytest.mark.parametrize(
    "value", ['{"seed": null, "chat_template_kwargs": {"thinking": false}}', {"seed": None}]
)
def test_a_body_is_json_or_what_json_makes_of_it(value: Any) -> None:
    assert read_body(value)["seed"] is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{seed: null}", "it is not JSON .*write an object such as"),
        ('{"a": NaN}', "it is not JSON .*NaN is not a number"),
        ({"a": object()}, "it is not JSON"),
        ("[1]", "it is not a JSON object"),
        ("7", "it is not a JSON object"),
        ('{"a": ' * 100_000, "it is not JSON"),
        (json.dumps({"a": "x" * 70_000}), "longer than 64 KiB"),
        ('{"a":' + "[" * 40 + "]" * 40 + "}", "more than 32 deep"),
        ({"stream": False}, "'stream' cannot be set: the client decides"),
        ({"stream": None}, "'stream' cannot be set"),
        ({"n": 2}, "'n' cannot be set: one answer"),
        ({"max_tokens": 5}, "--llm-max-new-tokens"),
        ({"max_completion_tokens": None}, "--llm-max-new-tokens"),
        ({"model": "x"}, "--llm-model"),
        ({"messages": []}, "the prompt is given by the test"),
        ({"temperature": 0.5}, "--llm-temperature, so that the results say .*null leaves it out"),
        ({"min_tokens": 3}, "--llm-ignore-eos"),
    ],
)
def test_a_body_that_cannot_be_meant_or_would_spoil_the_numbers_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"option server.body: .*{message}"):
        option_values(SERVER_OPTIONS, {"body": value})


def test_headers_are_words_of_a_shell_or_a_mapping() -> None:
    assert read_headers("X-Org=acme 'X-Note=two words' X-Eq=a=b") == {
        "X-Org": "acme",
        "X-Note": "two words",
        "X-Eq": "a=b",
    }
    assert read_headers({"X-Org": "acme"}) == {"X-Org": "acme"}


@pytest.mark.parametrize(
    "value",
    [
        "X-Org",
        "=x",
        "'X",
        {"X-Org": 7},
        7,
        {"Content-Length": "3"},
        {"X Y": "a"},
        {"X": "a\r\nY: b"},
        {"X": "a" * 40_000},
        {f"X-{n}": "a" for n in range(33)},
    ],
)
def test_headers_that_cannot_be_sent_are_refused_without_their_values(value: Any) -> None:
    with pytest.raises(UsageError, match=r"option server\.headers: ") as caught:
        option_values(SERVER_OPTIONS, {"headers": value})
    assert "Y: b" not in str(caught.value)


def test_a_header_takes_its_value_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sesame\n")
    assert header_values({"X-Key": "Basic ${A_KEY}"}) == {"X-Key": "Basic sesame"}
    monkeypatch.setenv("A_KEY", "se\r\nX: same")
    with pytest.raises(UsageError, match="value of the header X-Key") as caught:
        header_values({"X-Key": "${A_KEY}"})
    assert "same" not in str(caught.value)
    monkeypatch.delenv("A_KEY")
    with pytest.raises(UsageError, match="environment variable A_KEY is not set"):
        header_values({"X-Key": "${A_KEY}"})


def test_the_document_has_no_value_that_is_nobodys_business() -> None:
    values = option_values(
        SERVER_OPTIONS,
        {
            "headers": "X-Key=sesame X-Org=acme",
            "body": {"api_key": "sesame", "user": {"token": "sesame", "tokens": 3}, "top_k": None},
            "proxy": "http://u:sesame@h:1",
            "api_key_env": "SESAME",
        },
    )
    kept = kept_options(SERVER_OPTIONS, values)
    assert kept["headers"] == ["X-Key", "X-Org"]
    assert kept["body"] == {"api_key": "***", "user": {"token": "***", "tokens": 3}, "top_k": None}
    assert "sesame" not in json.dumps(kept).lower()
    assert kept["endpoint"] == "completions"
    values = option_values(SERVER_OPTIONS, {"body": {"a": [{"secret": 1}, 2]}})
    assert kept_options(SERVER_OPTIONS, values)["body"] == {"a": [{"secret": "***"}, 2]}


def test_what_options_of_servers_were_called_is_taken_and_told() -> None:
    assert backend_of("llamacpp") == "llamacpp"
    write = "write server instead of openai"
    with pytest.warns(LLMBenchWarning, match=write):
        assert parse_option("openai.endpoint=chat") == ("server", "endpoint", "chat")
    given = {"server": {"endpoint": "chat"}, "openai": {"retries": 2}}
    with pytest.warns(LLMBenchWarning, match=write):
        read = SETTINGS["backend_options"].read(given, "here")
    assert read.given == {"server": {"endpoint": "chat", "retries": 2}}
    with pytest.warns(LLMBenchWarning, match=write):
        assert parse_base_side("openai.endpoint=chat").options == {"server": {"endpoint": "chat"}}
    with pytest.warns(LLMBenchWarning, match=write):
        assert SETTINGS["backends"].read("llamacpp,openai", "here") == ("llamacpp", "server")


def test_an_option_of_a_server_is_called_so_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    assert parse_option("server.endpoint=chat") == ("server", "endpoint", "chat")
    assert parse_base_side("server.endpoint=chat").options == {"server": {"endpoint": "chat"}}
    assert not recwarn.list
