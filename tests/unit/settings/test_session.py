"""Is each field of the settings of a session a whole row, and what holds of it?"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.budget import Budget
from pytest_llmbench.gate.thresholds import parse_thresholds
from pytest_llmbench.metrics.table import gated_metrics
from pytest_llmbench.results import DEFAULT_STORE
from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.kinds import KINDS
from pytest_llmbench.settings.session import SESSION_SETTINGS, SessionSettings, session_settings

HERE, INI, ROOT = Path("/here"), Path("/ini"), Path("/root")


def held(command_line: dict[str, Any] | None = None, ini: dict[str, Any] | None = None) -> SessionSettings:
    return session_settings(command_line or {}, ini or {}, Registry(), here=HERE, ini_folder=INI, root=ROOT)


def test_each_field_is_a_row_with_its_default() -> None:
    assert list(SESSION_SETTINGS) == [one.name for one in fields(SessionSettings)]
    assert all(getattr(SessionSettings(), key) == row.default for key, row in SESSION_SETTINGS.items())
    assert {kind for row in SESSION_SETTINGS.values() for kind in row.only} <= KINDS.keys()


def test_no_row_of_one_table_has_a_name_of_the_other() -> None:
    rows = [*SETTINGS.values(), *SESSION_SETTINGS.values()]
    for names in (
        [row.name for row in rows],
        [row.flag for row in rows if row.flag],
        [name for row in rows for name in row.also],
    ):
        assert len(names) == len(set(names))


def test_nothing_said_is_the_defaults_with_the_store_in_the_root() -> None:
    assert held() == SessionSettings(store=ROOT / DEFAULT_STORE)


def test_the_help_says_which_metrics_gate() -> None:
    assert ", ".join(gated_metrics()) in SESSION_SETTINGS["gate"].help


def test_the_command_line_holds_over_the_ini_file() -> None:
    settings = held({"monitor_rate": "5"}, {"monitor_rate": "50", "inconclusive": "fail"})
    assert (settings.monitor_rate, settings.inconclusive) == (5.0, "fail")
    typed = held({"threshold": ["ttft:10%"]}, {"threshold": ["tpot:1%"]})
    assert typed.threshold == parse_thresholds("ttft:10%")


def test_paths_are_meant_from_where_they_are_written() -> None:
    settings = held({"json": "out.json", "store": "kept"}, {"store": "elsewhere", "models_file": "m.yaml"})
    assert (settings.json, settings.store) == (HERE / "out.json", HERE / "kept")
    assert settings.models_file == INI / "m.yaml"
    assert held(ini={"store": "elsewhere"}).store == INI / "elsewhere"


def test_an_interpreter_is_a_name_or_a_path_from_here() -> None:
    assert held({"python": Path(sys.executable).name}).python == Path(sys.executable).name
    with pytest.raises(UsageError, match=r"^--llm-python=/here/venv/python: there is no such program"):
        held({"python": "./venv/python"})


def test_the_base_side_has_its_paths_from_here() -> None:
    base = held({"ab": "python=./old/python server.ca_file=ca.pem model=tiny"}).ab
    assert base is not None
    assert base.python == "/here/old/python"
    assert base.options == {"server": {"ca_file": "/here/ca.pem"}}


def test_values_are_parsed_once() -> None:
    settings = held(
        {
            "gate": "ttft, tpot",
            "columns": "size load_time",
            "compare": ["main", "a,b.json"],
            "update_baseline": False,
            "skip": True,
            "save": "main",
        },
        {"threshold": ["ttft:5%,<300ms", "tpot:off"]},
    )
    assert settings.gate == ("ttft", "tpot")
    assert settings.columns == ("size", "load_time")
    assert settings.compare == ("main", "a,b.json")
    assert settings.threshold == parse_thresholds("ttft:5%,<300ms") + parse_thresholds("tpot:off")
    assert (settings.skip, settings.save) == (True, "main")
    assert held({"ab": "model=tiny", "budget": "2h"}).budget == Budget(seconds=7200.0)
    assert held({"ab": "model=tiny", "budget": "20pairs"}).budget == Budget(pairs=20)


@pytest.mark.parametrize(
    ("command_line", "ini", "said"),
    [
        ({"monitor_rate": "often"}, {}, r"^--llm-monitor-rate: 'often' is not a number of samples a second"),
        ({}, {"monitor_rate": "nan"}, r"^ini option llm_monitor_rate: 'nan' is not a number of samples"),
        ({"columns": "speed"}, {}, r"^--llm-columns: there is no column 'speed'"),
        ({}, {"columns": ["speed"]}, r"^ini option llm_columns: there is no column 'speed'"),
        ({"gate": "tptt"}, {}, r"^--llm-gate: there is no metric 'tptt'; did you mean 'tpot'\?"),
        ({}, {"threshold": ["ttft"]}, r"^ini option llm_threshold: 'ttft' is not METRIC:VALUE, such as"),
        ({"missing": "maybe"}, {}, r"^--llm-missing: 'maybe' is not one of fail, warn$"),
        ({"ab": "speed"}, {}, r"^--llm-ab: 'speed' is not KEY=VALUE; the keys are python, model"),
        (
            {"ab": "model=tiny", "budget": "soon"},
            {},
            r"^--llm-budget: 'soon' is not a number of pairs \(20\)",
        ),
        ({"save": "../evil"}, {}, r"^--llm-save: '\.\./evil' cannot name a baseline"),
        ({"budget": "5"}, {}, r"^--llm-budget .*: give --llm-ab too$"),
        ({"ab": "model=tiny", "compare": ["main"]}, {}, r"^--llm-compare and --llm-ab .*; give one of them$"),
        ({"update_baseline": True}, {}, r"^--llm-update-baseline .* none is compared: give it one$"),
        (
            {"update_baseline": True, "compare": ["a", "b"]},
            {},
            r"^--llm-update-baseline .* several are compared: give it one$",
        ),
        ({"only": True, "skip": True}, {}, r"^--llm-only and --llm-skip leave no test; give one of them$"),
    ],
)
def test_what_cannot_be_is_refused_with_where_and_what_to_write(
    command_line: dict[str, Any], ini: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        held(command_line, ini)
