"""Is a conversation that was recorded elsewhere read as what was said in it?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.conversations import find_conversation, read_conversations
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Turn

OPENAI = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
        {"role": "assistant", "content": "Three"},
        {"role": "user", "content": "Four"},
    ],
    "model": "some",
}
SHAREGPT = {
    "id": "QWJhYvA_0",
    "conversations": [{"from": "human", "value": "One"}, {"from": "gpt", "value": "Two", "weight": 1}],
}
TURNS = (Turn(user="One\nTwo", answer="Three"), Turn(user="Four"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(content: Any, name: str = "chats.json") -> tuple[Conversation, ...]:
    Path(name).write_text(content if isinstance(content, str) else json.dumps(content))
    return read_conversations(Path(name).absolute())


def test_messages_become_a_recorded_conversation() -> None:
    assert read(OPENAI) == (Conversation(name="chats", system="Be brief.", history="recorded", turns=TURNS),)


def test_sharegpt_becomes_one() -> None:
    (found,) = read(SHAREGPT)
    assert found == Conversation(
        name="QWJhYvA_0", history="recorded", turns=(Turn(user="One", answer="Two"),)
    )
    other = {"conversations": [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}]}
    assert read(other)[0].turns == found.turns


def test_json_lines_have_one_a_line_and_a_list_several() -> None:
    lines = "\n".join(map(json.dumps, [OPENAI, SHAREGPT, OPENAI]))
    for found in (read(lines, "chats.jsonl"), read([OPENAI, SHAREGPT, OPENAI])):
        assert [one.name for one in found] == ["chats-1", "QWJhYvA_0", "chats-3"]
        assert [one.history for one in found] == ["recorded"] * 3
    assert read({"conversations": [OPENAI, SHAREGPT]})[1].name == "QWJhYvA_0"


def message(role: str, content: object = "x") -> dict[str, object]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([message("user"), message("user")], "1:49: two messages of the user follow each other"),
        ([message("assistant")], "1:15: an answer comes before the first question"),
        ([message("user"), message("system")], "1:49: a message of the system comes first"),
        ([message("system")], "1:1: a conversation without a message of a person cannot be held"),
        ([message("tool")], "1:24: role: 'tool' cannot be part of a conversation; there are"),
        ([message("usr")], "1:24: role: 'usr' cannot be part of a conversation; did you mean 'user'?"),
        ([message("user", "")], "1:43: content is empty"),
        ([message("user", None)], "1:43: content: None is not a text"),
        ([message("user", [])], "1:43: content is empty"),
        ([message("user", [{"type": "image_url"}])], "1:44: content: only parts of text are read"),
        ([message("user"), "Hello"], "1:49: a message is a table with role and content"),
        ([message("user"), {"role": "assistant"}], "1:49: a message is a table with role and content"),
        ([message("user"), message("assistant")] * 1001, "1:14: a conversation has at most 1,000 turns"),
    ],
)
def test_what_cannot_be_held_is_refused_with_its_place(messages: list[object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read({"messages": messages})
    assert str(caught.value).startswith(f"chats.json:{said}")


def test_others_of_a_file_may_be_odd_where_one_is_named() -> None:
    odd = {"id": "odd", "conversations": [{"from": "gpt", "value": "Two"}]}
    Path("chats.json").write_text(json.dumps([odd, SHAREGPT]))
    assert find_conversation("chats.json#QWJhYvA_0").turns == (Turn(user="One", answer="Two"),)
    with pytest.raises(UsageError, match="an answer comes before the first question"):
        find_conversation("chats.json#odd")
