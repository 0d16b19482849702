"""Is each field of the settings a whole row, and is everything made from it?"""

from __future__ import annotations

from dataclasses import fields

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.errors import UsageError
from pytest_llmbench.plugin.options import marker_help
from pytest_llmbench.settings.case import SETTINGS, CaseSettings, call_keys
from pytest_llmbench.settings.kinds import KINDS, Fixture
from pytest_llmbench.settings.synonyms import other_names

WORK = ["max_new_tokens", "seed", "temperature", "top_k", "top_p", "ignore_eos", "prefix_cache"]
REPEATS = ["rounds", "warmup_rounds", "processes", "timeout"]
OF_A_LOAD = [
    "history",
    "placement",
    "turns",
    "think_time",
    "arrivals",
    "slo",
    "prompt_length",
    "output_length",
    "dataset",
    "time_unit",
    "block_size",
    "shared_prefix",
]


def test_each_field_is_a_row_with_its_default() -> None:
    settings = CaseSettings()
    assert list(SETTINGS) == [one.name for one in fields(CaseSettings)]
    assert all(getattr(settings, key) == row.default for key, row in SETTINGS.items())


def test_a_default_is_what_its_reader_makes_of_it() -> None:
    for row in SETTINGS.values():
        if row.default is not None and not row.none_by_default:
            assert row.read(row.default, "here") == row.default, row.key


def test_no_two_rows_share_a_name() -> None:
    names = [name for row in SETTINGS.values() for name in row.also]
    assert len(names) == len(set(names))
    assert other_names()["num-prompts"] == "requests"
    flags = [row.flag for row in SETTINGS.values() if row.flag]
    assert len(flags) == len(set(flags))


def test_a_row_is_for_kinds_that_there_are() -> None:
    assert {kind for row in SETTINGS.values() for kind in row.only} <= KINDS.keys()


@pytest.mark.parametrize(
    ("fixture", "work", "repeats"),
    [
        ("llm_model", [*WORK, "depth", "needle"], REPEATS),
        ("llm_chat", [*WORK[:-1], "cache", "history", "placement"], REPEATS),
        (
            "llm_load",
            [*WORK, *OF_A_LOAD],
            ["processes", "timeout", "requests", "duration", "warmup_requests"],
        ),
    ],
)
def test_a_call_can_set_what_its_cases_can_be(fixture: Fixture, work: list[str], repeats: list[str]) -> None:
    assert call_keys(fixture) == [*work, *repeats]


def test_an_engine_is_told_what_has_the_same_name() -> None:
    params = CaseSettings(max_new_tokens=3, temperature=0.5, seed=7).params
    assert params == GenerationParams(max_new_tokens=3, temperature=0.5, seed=7)
    assert CaseSettings().params == GenerationParams()


def test_the_help_of_the_marker_names_every_key() -> None:
    assert [key for key in SETTINGS if f"{key}=" not in marker_help()] == []
    assert marker_help().endswith("thresholds is a key of the marker only")


def test_an_objective_of_a_metric_that_has_none_is_refused_with_those_that_have() -> None:
    with pytest.raises(UsageError, match="here: 'goodput' cannot be an objective; there are ttft, tpot, e2e"):
        SETTINGS["slo"].read("goodput:1s", "here")
