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
TIE = Conversation(name="tie", turns=(Turn(user="one"), Turn(user="two !ties")))
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
        "tie": False,
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


def test_a_tie_passes_with_a_warning(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(f"{HEAD}\ndef test_talk(llm_chat):\n    llm_chat.run(TIE)")
    result = run()
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*2 warm turns had another answer*turn 2 from its token 3 on (logits 0.001 *"]
    )
    facts = [case["processes"][0]["rounds"][0]["turn"] for case in cases(document).values()]
    assert [(one["same_output"], one["tie"]) for one in facts] == [(None, False), (False, True)]


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


# -- the gate ------------------------------------------------------------------------------------

SAME = f"{HEAD}\ndef test_talk(llm_chat):\n    llm_chat.run(SAID)\n"
FAST, SLOW = ("--llm-option=fake.seconds_per_token=0.002", "--llm-option=fake.seconds_per_token=0.006")


def verdicts(document: Document) -> dict[str, str]:
    return {name: case["verdict"] for name, case in cases(document).items() if case["verdict"]}


def test_each_turn_is_judged_in_pairs_of_conversations(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(SAME)
    result = run(SLOW, "--llm-ab=fake.seconds_per_token=0.002", "--llm-gate=tpot")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*talk turn 1: tpot*; talk turn 2: tpot*"])
    found = cases(document)
    assert verdicts(document) == dict.fromkeys(("talk turn 1", "talk turn 2", "talk turn 3"), "fail")
    assert "talk turn 2@base" in found
    now, base = found["talk turn 2"], found["talk turn 2@base"]
    assert len(now["processes"]) == len(base["processes"]) >= 8
    assert base["protocol"]["ab"] == {"fake.seconds_per_token": "0.002"}
    # tpot of three turns, and the CPU time that could stand for it.
    assert now["judgments"][0]["details"]["level_change"] == 0.05 / 6


def test_an_equal_side_passes_and_the_chances_of_all_turns_are_counted(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(SAME)
    run(FAST, "--llm-ab=env.NOTHING=1", "--llm-gate=tpot,ttft", "--llm-threshold=tpot:60%", "--llm-budget=8",
        "--llm-inconclusive=pass").assert_outcomes(passed=1)  # fmt: skip
    level = cases(document)["talk turn 3"]["judgments"][0]["details"]["level_change"]
    # tpot and ttft of three turns, and the CPU times that could stand for them.
    assert level == 0.05 / 12


def test_pairs_of_which_a_warm_output_differs_fail_with_both_sides_kept(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(f"{HEAD}\ndef test_talk(llm_chat):\n    llm_chat.run(WRONG)\n")
    result = run(FAST, "--llm-ab=env.NOTHING=1", "--llm-gate=tpot", "--llm-budget=2")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*turn 2 from its token 3 on*"])
    assert len(cases(document)) == 4


def test_hits_that_cannot_be_are_invalid_in_pairs_and_against_a_baseline(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(f"{HEAD}\ndef test_talk(llm_chat):\n    llm_chat.run(TOO_MANY)\n")
    run(FAST, "--llm-ab=env.NOTHING=1", "--llm-gate=tpot", "--llm-budget=2")
    assert verdicts(document)["many turn 2"] == "invalid"
    run(FAST, "--llm-save=main")
    result = run(FAST, "--llm-compare=main", "--llm-gate=tpot", "--llm-inconclusive=fail")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*many turn 2: invalid: *are said to have come from the cache (cut)*"])
    assert verdicts(document)["many turn 2"] == "invalid"


def test_a_conversation_compares_turn_by_turn_with_a_stored_one(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(SAME)
    for _ in range(2):
        run(FAST, "--llm-processes=3", "--llm-save=main").assert_outcomes(passed=1)
    result = run(
        FAST, "--llm-processes=3", "--llm-compare=main", "--llm-gate=tpot", "--llm-inconclusive=pass"
    )
    result.assert_outcomes(passed=1)
    found = cases(document)
    assert all(case["judgments"][0]["metric"] == "tpot" for case in found.values())
    assert len(found) == 3


def test_turns_that_the_baseline_does_not_have_are_told_once(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile("def test_other(llm_model): llm_model.measure('a', rounds=1, max_new_tokens=2)")
    run("--llm-save=main").assert_outcomes(passed=1)
    bench.makepyfile(SAME)
    result = run("--llm-compare=main", "--llm-missing=warn")
    warned = [line for line in result.outlines if "LLMBenchWarning" in line]
    assert len(warned) == 1
    assert "talk turn 1-3: new: " in warned[0]
    result.stdout.fnmatch_lines(["*test_talk*(talk turn 1-3)"])
