"""Is a conversation read as it is written, and refused in one line with its place?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings import conversation_rows as rows
from pytest_llmbench.settings.conversation_rows import as_written, conversation_schema, read_conversation
from pytest_llmbench.settings.yaml_nodes import plain, read_yaml
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Made, Turn

SCHEMA: Any = conversation_schema()
WHOLE = """
name: whole
description: Everything that there is
tags: [rag, long]
task: summarization
system: {tokens: 64, before: You are brief.}
history: recorded
placement: last
documents:
  report: {tokens: 512}
  letter: Dear all.
turns:
  - user: Hello.
    answer: {tokens: 8}
  - user: {tokens: 32, before: "And this?"}
    max_new_tokens: 16
    think_time: 0.5
    documents: {add: [report, letter]}
    answer: Yes.
  - user: And now?
    documents: {remove: report, add: report}
  - user: Bye.
    documents:
      remove: [letter]
"""
SHORT = "name: a\nturns: [{user: Hello}]\n"
REFUSED = [
    ("turns: [{user: a}]\n", "f.yaml:1:1: a conversation needs name"),
    ("name: a\n", "f.yaml:1:1: a conversation needs turns"),
    ("name: a b\nturns: [{user: a}]\n", "f.yaml:1:7: name: 'a b' is not a valid name"),
    ("name: [a]\nturns: [{user: a}]\n", "f.yaml:1:7: name: a list is not a valid name"),
    ("name: a\nturn: [{user: a}]\n", "f.yaml:2:1: a conversation has no key 'turn'; did you mean 'turns'?"),
    (
        "name: a\nturns: [{usr: a}]\n",
        "f.yaml:2:10: a turn has no key 'usr'; did you mean 'user'?",
    ),
    ("name: a\nturns: []\n", "f.yaml:2:8: turns is a list of turns, such as"),
    ("name: a\nturns: {user: a}\n", "f.yaml:2:8: turns is a list of turns, such as"),
    (
        "name: a\nturns: [Hello]\n",
        "f.yaml:2:9: a turn is a table, such as {user: Hello}, and not",
    ),
    ("name: a\nturns: [{answer: a}]\n", "f.yaml:2:9: a turn needs user"),
    ("name: a\nturns: [{user: 3}]\n", "f.yaml:2:16: user: 3 is not a text: put it in quotes"),
    ("name: a\nturns: [{user: [a]}]\n", "f.yaml:2:16: user: a list is not a text"),
    ("name: a\nturns: [{user: ''}]\n", "f.yaml:2:16: user is empty"),
    ("name: a\nturns: [{user: {before: a}}]\n", "f.yaml:2:16: a made text (user) needs tokens"),
    ("name: a\nturns: [{user: {tokens: 0}}]\n", "f.yaml:2:25: tokens: 0 is not a whole number of at least 1"),
    ("name: a\nturns: [{user: {token: 8}}]\n", "f.yaml:2:17: a made text (user) has no key 'token'; did you"),
    (SHORT + "system:\n", "f.yaml:3:8: system: None is not a text"),
    (SHORT + "tags: a-b\n", "f.yaml:3:7: tags: 'a-b' is not a valid tag"),
    (SHORT + "tags: [skip]\n", "f.yaml:3:8: tags: 'skip' is a marker that means something else"),
    (SHORT + "task: sum\n", "f.yaml:3:7: task: 'sum' is not one of text-generation, summarization"),
    (SHORT + "history: old\n", "f.yaml:3:10: history: 'old' is not one of live, recorded"),
    (SHORT + "placement: first\n", "f.yaml:3:12: placement: 'first' is not one of system, inline, last"),
    (SHORT + "documents: [a]\n", "f.yaml:3:12: documents is a table of texts by name"),
    (SHORT + "documents: {' a': b}\n", "f.yaml:3:13: ' a' is not a valid name of a document"),
    (SHORT + "documents: {a: 3}\n", "f.yaml:3:16: a: 3 is not a text"),
    ("name: a\nturns: [{user: a, max_new_tokens: 0}]\n", "f.yaml:2:35: max_new_tokens: 0 is not a whole"),
    (
        "name: a\nturns: [{user: a}, {user: a, think_time: -1}]\n",
        "f.yaml:2:42: think_time: -1 is not a number",
    ),
    ("name: a\nturns: [{user: a, think_time: 1}]\n", "f.yaml:2:9: the first turn has no think_time"),
    ("name: a\nturns: [{user: a, documents: [x]}]\n", "f.yaml:2:30: documents of a turn is a table"),
    (
        "name: a\nturns: [{user: a, documents: {add: x}}]\n",
        "f.yaml:2:9: turn 1 adds the document 'x', which is not defined; write it under documents",
    ),
    (
        "name: a\ndocuments: {report: x}\nturns:\n- user: a\n  documents: {add: reprt}\n",
        "f.yaml:4:3: turn 1 adds the document 'reprt', which is not defined; did you mean 'report'?",
    ),
    (
        "name: a\ndocuments: {x: y}\nturns:\n- user: a\n- user: b\n  documents: {remove: x}\n",
        "f.yaml:5:3: turn 2 removes the document 'x', which is not there then",
    ),
    (
        "name: a\ndocuments: {x: y}\nturns:\n- {user: a, documents: {add: x}}\n"
        "- {user: b, documents: {add: x}}\n",
        "f.yaml:5:3: turn 2 adds the document 'x', which is there already",
    ),
    (
        "name: a\ndocuments: {x: y}\nturns: [{user: a, documents: {add: [x, x]}}]\n",
        "f.yaml:3:40: add has the document 'x' twice",
    ),
    ("[name]\n", "f.yaml:1:1: a conversation is a table"),
    ("name: a\nname: b\n", "f.yaml:2:1: the key 'name' was given in line 1 already"),
    ("name: &a b\nturns: [{user: *a}]\n", "f.yaml:1:7: anchors and aliases of YAML (&a) are not read"),
    (
        "name: a\nturns: [{user: {tokens: 9000000}}, {user: {tokens: 9000000}}]\n",
        "f.yaml:1:1: the conversation a has more than 10,000,000 tokens",
    ),
]
BEYOND_A_SCHEMA = ("adds the document", "removes the document", "has no think_time", "more than 10,000,000")
"""What only the reader can tell."""


def read(text: str) -> Conversation:
    Path("f.yaml").write_text(text)
    node = read_yaml(Path("f.yaml").absolute())
    assert node is not None
    return read_conversation(node)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fits(text: str) -> bool:
    Path("f.yaml").write_text(text)
    node = read_yaml(Path("f.yaml").absolute())
    assert node is not None
    return not list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(plain(node)))


def test_everything_is_read() -> None:
    assert read(WHOLE) == Conversation(
        name="whole",
        description="Everything that there is",
        tags=("rag", "long"),
        task="summarization",
        system=Made(64, "You are brief."),
        history="recorded",
        placement="last",
        documents={"report": Made(512), "letter": "Dear all."},
        turns=(
            Turn(user="Hello.", answer=Made(8)),
            Turn(
                user=Made(32, "And this?"),
                max_new_tokens=16,
                think_time=0.5,
                add=("report", "letter"),
                answer="Yes.",
            ),
            Turn(user="And now?", remove=("report",), add=("report",)),
            Turn(user="Bye.", remove=("letter",)),
        ),
    )


@pytest.mark.parametrize("text", [WHOLE, SHORT, "name: 12\nturns: [{user: Hello}]\n"])
def test_what_is_read_fits_the_schema_and_is_written_as_it_was_read(text: str) -> None:
    assert fits(text)
    import yaml

    found = read(text)
    assert read(yaml.safe_dump(as_written(found))) == found
    assert fits(yaml.safe_dump(as_written(found)))


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_not_valid_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        text
        for text, message in REFUSED
        if "&" not in text and "name: b" not in text and not any(word in message for word in BEYOND_A_SCHEMA)
    ],
)
def test_the_schema_refuses_it_too(text: str) -> None:
    assert not fits(text) or "tags: [skip]" in text


def test_turns_and_texts_have_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"at most 1,000 turns, and this one 1,001"):
        read("name: a\nturns:\n" + "- user: a\n" * 1001)
    monkeypatch.setattr(rows, "LONGEST_TEXT", 10)
    with pytest.raises(UsageError, match=r"f\.yaml:2:16: user has 11 characters, and a text has at most 10"):
        read(f"name: a\nturns: [{{user: {'x' * 11}}}]\n")


def test_a_name_may_be_given_from_outside() -> None:
    Path("f.yaml").write_text("turns: [{user: a}]\n")
    node = read_yaml(Path("f.yaml").absolute())
    assert node is not None
    assert read_conversation(node, "other").name == "other"
