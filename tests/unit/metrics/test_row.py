"""Is a row refused that cannot be one, with a message that says why?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_llmbench.metrics.row import Metric, Shown, problem_of
from pytest_llmbench.metrics.table import METRICS

ROW = Metric(
    name="time_to_think",
    unit="s",
    better="lower",
    scope="round",
    formula="first answer token - first token",
    source="https://example.org",
    compute=lambda line: 1.0,
)


def test_every_row_of_the_table_is_one_but_the_gaps() -> None:
    assert {name: problem_of(row) for name, row in METRICS.items() if problem_of(row)} == {
        "itl": "of the time between two tokens there is itl alone; it has to be one of a round"
    }
    assert problem_of(ROW) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "time to think"}, "its name has to be an identifier"),
        ({"name": "_hidden"}, "its name has to be an identifier"),
        ({"name": 3}, "its name has to be an identifier"),
        ({"name": "a" * 81}, "may have 80 characters each"),
        ({"unit": "u" * 81}, "may have 80 characters each"),
        ({"unit": ""}, "unit is ''"),
        ({"unit": "tokens a second"}, "may not contain spaces"),
        ({"formula": " "}, "formula is ' '"),
        ({"source": None}, "source is None"),
        ({"better": "smaller"}, "better is 'smaller'; it has to be one of lower, higher"),
        ({"scope": "session"}, "scope is 'session'; it has to be one of gap, round, process, level, case"),
        ({"judged": "sometimes"}, "judged is 'sometimes'; it has to be one of noisy, exact, never"),
        ({"allowed": 5}, "allowed is 5; it has to be a share from 0 to below 1"),
        ({"gates": True, "judged": "never"}, "it cannot gate and be judged never"),
        ({"clock": "sun"}, "clock is 'sun'; it has to be one of wall, cpu"),
        ({"clock": "cpu", "on_cpu": "cpu_time_per_token"}, "it is of that clock itself"),
        ({"of_round": lambda part: 1.0}, "it has compute and of_round; one of them has to go"),
        ({"compute": 1.0}, "compute has to be a function"),
        ({"scope": "process"}, "compute gives the value of a round, and its scope is 'process'"),
        ({"scope": "gap"}, "of the time between two tokens there is itl alone"),
        ({"slo": True, "unit": "J"}, "an SLO limits what a timeline gives in seconds"),
        ({"shown": ("cases",)}, "shown has 'cases'"),
        ({"shown": (Shown(table="both"),)}, "table is 'both'; it has to be one of cases, levels"),  # type: ignore[arg-type]
        ({"shown": (Shown(table="cases", statistics=("p42",)),)}, "there is no statistic 'p42'"),  # type: ignore[arg-type]
    ],
)
def test_a_row_that_cannot_be_one_says_why(change: dict[str, Any], told: str) -> None:
    assert told in (problem_of(replace(ROW, **change)) or "")


def test_what_is_not_a_row_is_none() -> None:
    assert problem_of({"name": "x"}) == "it is not a pytest_llmbench.Metric"
