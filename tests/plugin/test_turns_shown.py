"""What does pytest show of the conversations that it held?"""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Run

CHAT = """
import pytest
from pytest_llmbench import Conversation, Turn

RAG = Conversation(
    name="rag",
    documents={"manual": "What the button does."},
    turns=(Turn(user="Hello"), Turn(user="What is it?", add=("manual",))),
)

@pytest.mark.llm(models=["tiny"], rounds=2, max_new_tokens=3)
def test_rag(llm_chat):
    print(llm_chat.run(RAG, cache="paired"))

@pytest.mark.llm(models=["tiny"], rounds=2, max_new_tokens=3)
def test_plain(llm_model):
    llm_model.measure("Hello")
"""


def test_each_conversation_has_a_table_of_its_turns_beside_that_of_the_other_cases(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(CHAT)
    result = run("-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*rag: turn  prompt  cached/possible  ttft cold*", "*1*", "*2*"])
    result.stdout.fnmatch_lines(
        ["test_plain*", "*turn*prompt*cached/*", "test_rag?fake-tiny?: rag, *", "*1 *"]
    )
    result.stdout.no_fnmatch_line("*rag turn 1*")


def test_a_conversation_that_broke_off_shows_the_turns_before_and_says_which_are_missing(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(CHAT.replace("What is it?", "!raise").replace("rounds=2", "rounds=1, warmup_rounds=0"))
    run("-k", "rag").stdout.fnmatch_lines(["test_rag?fake-tiny?: rag (failed), *", "*not measured: turn 2"])
