"""Does the schema take what the readers take, and refuse what they refuse?"""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.presets import Presets
from pytest_llmbench.settings.schema import presets_schema, settings_schema

SCHEMA = settings_schema()
KNOWN = settings_schema(Registry())


def fits(settings: Any, schema: dict[str, Any] = SCHEMA) -> bool:
    return not list(jsonschema.Draft202012Validator(schema).iter_errors(settings))


GOOD: list[tuple[str, Any]] = [
    ("preset", "chatbot"),
    ("models", "tiny"),
    ("models", ["tiny", "synthetic/llama-82m"]),
    ("quantizations", []),
    ("backend_options", {"llamacpp": {"n_threads": 2}, "server": {"endpoint": "chat"}}),
    ("backend_options", ["llamacpp.n_threads=2"]),
    ("max_new_tokens", 64),
    ("timeout", 0.5),
    ("isolation", "model"),
    ("seed", 2**63 - 1),
    ("top_p", 1),
    ("ignore_eos", False),
    ("concurrency", 8),
    ("concurrency", [1, 8]),
    ("conversations", [8, 256]),
    ("turns", "uniform:3:7"),
    ("think_time", 0),
    ("request_rate", 0.5),
    ("arrivals", "burst:8"),
    ("arrivals", "ramp:0.5"),
    ("arrivals", "trace"),
    ("duration", 30),
    ("slo", {"ttft": "500ms", "tpot": 0.05}),
    ("slo", "ttft:500ms,tpot:50ms"),
    ("failures", "1%"),
    ("failures", 0.01),
    ("failures", 3),
    ("prompt_length", 128),
    ("prompt_length", "uniform:64:256"),
    ("prompt_length", "normal:512:128"),
    ("output_length", "lognormal:128:0.5:512"),
    ("dataset", "prompts.jsonl"),
    ("time_unit", "ms"),
    ("block_size", 16),
    ("clock", "cpu"),
    ("thresholds", {"ttft": ["10%", "<300ms"], "peak_rss": 0.02, "ttft.p99": "<1s"}),
]

BAD: list[tuple[str, Any]] = [
    ("preset", ["chatbot"]),
    ("models", 3),
    ("models", [""]),
    ("backend_options", {"llamacpp": 2}),
    ("backend_options", "llamacpp=2"),
    ("max_new_tokens", 0),
    ("max_new_tokens", 2.5),
    ("max_new_tokens", True),
    ("timeout", 0),
    ("isolation", "thread"),
    ("top_p", 0),
    ("top_p", 1.5),
    ("ignore_eos", "perhaps"),
    ("concurrency", [0]),
    ("conversations", 0),
    ("turns", 0),
    ("think_time", -1),
    ("request_rate", 0),
    ("arrivals", "bursts"),
    ("slo", {"itl": 0.5}),
    ("slo", {"ttft": 0}),
    ("failures", 1.5),
    ("failures", "many"),
    ("prompt_length", 0),
    ("prompt_length", "uniform:64"),
    ("dataset", ""),
    ("time_unit", "min"),
    ("block_size", 0),
    ("clock", "sun"),
    ("thresholds", {"tftt": "5%"}),
    ("thresholds", "5%"),
]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator.check_schema(KNOWN)
    assert list(SCHEMA["properties"]) == list(SETTINGS)


def test_every_setting_is_tried() -> None:
    tried = {key for key, _ in GOOD + BAD}
    same = {"backends", "base_url", "serve", "rounds", "warmup_rounds", "processes", "temperature", "top_k"}
    same |= {
        "prefix_cache",
        "requests",
        "warmup_requests",
        "shared_prefix",
        "depth",
        "needle",
        "cache",
        "history",
    }
    same |= {"placement", "same_output"}
    assert tried | same == SETTINGS.keys()


@pytest.mark.parametrize(("key", "value"), GOOD)
def test_what_the_schema_takes_the_reader_takes(key: str, value: Any) -> None:
    assert fits({key: value})
    SETTINGS[key].read(value, "here")


@pytest.mark.parametrize(("key", "value"), BAD)
def test_what_the_reader_refuses_the_schema_refuses(key: str, value: Any) -> None:
    assert not fits({key: value})
    with pytest.raises(UsageError, match=r"^here"):
        SETTINGS[key].read(value, "here")


def test_a_key_that_there_is_not_is_refused() -> None:
    assert fits({})
    assert not fits({"round": 3})


def test_options_of_known_backends_have_their_types() -> None:
    assert fits({"backend_options": {"llamacpp": {"n_threads": 2}, "server": {"retries": 1}}}, KNOWN)
    assert fits({"backend_options": {"server": {"headers": {"X-Key": "${KEY}"}}}}, KNOWN)
    assert not fits({"backend_options": {"llamacpp": {"n_threads": "two"}}}, KNOWN)
    assert not fits({"backend_options": {"llamacpp": {"n_thread": 2}}}, KNOWN)
    assert not fits({"backend_options": {"lamacpp": {}}}, KNOWN)
    assert fits({"backend_options": {"lamacpp": {"anything": 1}}})


@pytest.mark.parametrize(
    ("presets", "good"),
    [
        ({}, True),
        ({"mine": {"extends": "mine2", "description": "x", "rounds": 3}, "mine2": {}}, True),
        ({"chatbot": {"duration": None, "concurrency": [2, 4]}}, True),
        ({"mine": {"preset": "chatbot"}}, False),
        ({"mine": {"round": 3}}, False),
        ({"mine": {"rounds": 0}}, False),
        ({"none": {}}, False),
        ({"my preset": {}}, False),
        ({"mine": 3}, False),
        ([], False),
    ],
)
def test_the_schema_of_presets_takes_what_is_read(presets: Any, good: bool) -> None:
    schema = presets_schema(Registry())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert fits(presets, schema) == good
    try:
        Presets().extended(presets, ".".join, Registry(), folder=None, origin="a file")
        read = True
    except UsageError:
        read = False
    assert read == good
