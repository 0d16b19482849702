"""What becomes of conversations in a session of pytest?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.plugin.conftest import Run

HEAD = """
import pytest
from pytest_llmbench import Conversation, Turn

SAID = Conversation(name="talk", turns=(Turn(user="one"), Turn(user="two"), Turn(user="three")))
WRONG = Conversation(name="wrong", turns=(Turn(user="one"), Turn(user="two !differs")))
TOO_MANY = Conversation(name="many", turns=(Turn(user="one"), Turn(user="two !overclaims")))
pytestmark = pytest.mark.llm(models="tiny", max_new_tokens=4, rounds=2, warmup_rounds=0)
"""
Document = Callable[[], dict[str, Any]]


def cases(document: Document) -> dict[str, dict[str, Any]]:
    return {case["measurement"]: case for case in document()["cases"]}


def test_each_turn_is_a_case_whose_rounds_say_what_the_cache_had(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(f"{HEAD}\ndef test_talk(llm_chat):\n    assert llm_chat.run(SAID).turn(3).ttft.n == 2")
    run("--llm-cache=paired").assert_outcomes(passed=1)
    found = cases(document)
    assert list(found) == [
        "talk turn 1",
        "talk turn 2",
        "talk turn 2 cold",
        "talk turn 3",
        "talk turn 3 cold",
    ]
    third = found["talk turn 3"]["processes"][0]["rounds"][1]
    assert third["turn"] == {
        "conversation": "talk",
        "turn": 3,
        "repetition": 2,
        "cache": "warm",
        "think_time": 0.0,
        "same_output": True,
    }
    nothing_else = {"unknown": None, "break_at": None, "cold": False, "depth": None}
    assert third["cache"] == {"source": "cut", **nothing_else}
    assert third["values"]["cached_tokens"] == third["values"]["cached_possible"] > 0
    assert third["values"]["cache_speedup"] > 0
    assert third["prompt_tokens"] > third["values"]["cached_tokens"]
    assert found["talk turn 3 cold"]["processes"][0]["rounds"][0]["values"]["cached_tokens"] == 0
    assert found["talk turn 2"]["protocol"]["conversation"] == "talk"
    # What a process has for itself counts once.
    assert [("load_time" in case["processes"][0]["values"]) for case in found.values()] == [True] + [
        False
    ] * 4


@pytest.mark.parametrize(
    "body",
    ["llm_chat.run(WRONG)", "llm_chat.turn('one'); llm_chat.turn('two !differs')"],
    ids=["run", "turn"],
)
def test_a_warm_output_that_differs_is_that_tests_failure(
    bench: pytest.Pytester, run: Run, document: Document, body: str
) -> None:
    bench.makepyfile(f"{HEAD}\ndef test_talk(llm_chat):\n    {body}")
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*at temperature 0, the model answers differently*turn 2 from its token 3 on*"]
    )
    # No line of ours is shown.
    assert "same_output.py" not in result.stdout.str()
    assert "open_chat.py" not in result.stdout.str()
    found = list(cases(document).values())
    assert [case["outcome"] for case in found] == ["failed", "failed"]
    assert [case["processes"][0]["rounds"][0]["turn"]["same_output"] for case in found] == [None, False]
    run("--llm-same-output=no").assert_outcomes(passed=1)


def test_the_engines_of_turns_end_with_the_test_where_it_fails_too(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(f"{HEAD}\ndef test_talk(llm_chat):\n    llm_chat.turn('one')\n    assert 0")
    run().assert_outcomes(failed=1)
    (case,) = cases(document).values()
    assert (case["outcome"], len(case["processes"][0]["rounds"])) == ("failed", 1)


@pytest.mark.parametrize("isolation", ["model", "none"])
def test_conversations_work_where_engines_are_shared(
    bench: pytest.Pytester, run: Run, document: Document, isolation: str
) -> None:
    bench.makepyfile(
        f"{HEAD}\n"
        "def test_talk(llm_chat):\n    assert llm_chat.run(SAID).turn(1).cached_tokens.median == 0\n"
        "def test_again(llm_chat):\n    assert llm_chat.run(SAID).turn(1).cached_tokens.median == 0\n"
    )
    run(f"--llm-isolation={isolation}").assert_outcomes(passed=2)


def test_disabled_it_is_held_once(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(f"{HEAD}\ndef test_talk(llm_chat):\n    assert llm_chat.run(SAID).turn(2).ttft.n == 1")
    run("--llm-disable").assert_outcomes(passed=1)
