"""Is the conversation found that a name or a file means?"""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings import conversations
from pytest_llmbench.settings.conversations import (
    SHIPPED,
    conversations_schema,
    find_conversation,
    read_conversations,
    shipped_conversations,
)
from pytest_llmbench.settings.yaml_nodes import plain, read_yaml
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Turn, messages_at

ONE = "turns: [{user: Hello}]"
SEVERAL = f"- {{name: a, {ONE}}}\n- {{name: b, {ONE}}}\n"
ABOUT = {
    "simple-qa": 800,
    "code-discussion": 2500,
    "deep-technical": 7000,
    "ultra-long": 15000,
    "rag": 800,
    "rag-swap": 1200,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_those_that_come_with_the_package_are_found_by_name() -> None:
    found = shipped_conversations()
    assert set(found) == set(ABOUT) == {path.stem for path in SHIPPED.iterdir()}
    assert find_conversation("rag") == found["rag"]
    for one in found.values():
        assert one.description
        assert one.tags
        assert one.task
        assert one.about_tokens() == pytest.approx(ABOUT[one.name], rel=0.05)


@pytest.mark.parametrize("path", sorted(SHIPPED.iterdir()), ids=lambda path: path.stem)
def test_they_fit_the_schema(path: Path) -> None:
    node = read_yaml(path)
    assert node is not None
    jsonschema.Draft202012Validator(conversations_schema()).validate(plain(node))


def test_rag_has_its_document_from_turn_two_to_four() -> None:
    rag = find_conversation("rag")
    assert [list(rag.present(turn)) for turn in range(1, 7)] == [[], *[["handbook"]] * 3, [], []]


def test_rag_swap_permutes_its_documents() -> None:
    swap = find_conversation("rag-swap")
    assert [list(swap.present(turn)) for turn in range(1, 7)] == [
        ["manual", "letter", "report"],
        ["manual", "letter", "report"],
        ["manual", "letter", "report"],
        ["manual", "report", "letter"],
        ["report", "letter", "manual"],
        ["report", "manual", "offer"],
    ]


@pytest.mark.parametrize("name", sorted(ABOUT))
def test_the_synthetic_models_count_as_many_tokens(name: str) -> None:
    """Tiny and llama-82m have one tokenizer, as every synthetic model has."""
    pytest.importorskip("tokenizers")
    from tokenizers import Tokenizer

    from pytest_llmbench.models.synthetic.tokenizer import train
    from pytest_llmbench.workloads.prompts import prompt_of_tokens

    tokenizer = Tokenizer.from_str(train().definition)

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    found = find_conversation(name)
    made = found.fill(lambda tokens, number: prompt_of_tokens(tokens, encode, tokenizer.decode, seed=number))
    answers, most = 0, 0
    for number, turn in enumerate(made.turns, 1):
        messages = messages_at(made, number, [""] * number)
        # The template of these models adds four tokens to a message.
        asked = sum(len(encode(one["content"])) + 4 for one in messages) + answers
        answers += turn.max_new_tokens or 0
        most = max(most, asked + (turn.max_new_tokens or 0))
    assert most == pytest.approx(ABOUT[name], rel=0.06)


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("f.yaml", f"name: a\n{ONE}\n", 1),
        ("f.yml", ONE, 1),
        ("f.yaml", SEVERAL, 2),
        ("f.yaml", "conversations:\n" + SEVERAL, 2),
        ("f.json", '{"name": "a", "turns": [{"user": "Hello"}]}', 1),
        (
            "f.jsonl",
            '{"name": "a", "turns": [{"user": "Hello"}]}\n{"name": "b", "turns": [{"user": "x"}]}',
            2,
        ),
    ],
)
def test_a_file_has_one_or_several(name: str, text: str, count: int) -> None:
    Path(name).write_text(text)
    found = read_conversations(Path(name).absolute())
    assert [one.name for one in found] == (["f"] if text == ONE else ["a", "b"][:count])
    if count == 1:
        assert find_conversation(name) == find_conversation(Path(name)) == found[0]
    else:
        assert find_conversation(f"{name}#b") == found[1]
    if not name.endswith("l"):
        value = json.loads(text) if name.endswith(".json") else plain(read_yaml(Path(name).absolute()))  # type: ignore[arg-type]
        if text != ONE:
            jsonschema.Draft202012Validator(conversations_schema()).validate(value)


def test_a_path_is_meant_from_its_folder(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "c#1.yaml").write_text(f"name: a\n{ONE}\n")
    assert find_conversation("c#1.yaml", folder / "deep").name == "a"
    assert find_conversation("deep/c#1.yaml").name == "a"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("rga", "there is no conversation 'rga'; did you mean 'rag'? There are code-discussion, deep-"),
        ("none.yaml", "none.yaml: the file cannot be read: No such file or directory"),
        ("several.yaml", "several.yaml has 2 conversations: name one, several.yaml#NAME, of a, b"),
        ("several.yaml#aa", "several.yaml has no conversation 'aa'; did you mean 'a'?"),
        ("./f.txt", "f.txt: a file of conversations is called NAME.yaml, NAME.yml, NAME.json"),
        ("empty.yaml", "empty.yaml:1:1: the file has no conversation"),
        ("empty.jsonl", "empty.jsonl:1:1: the file has no conversation"),
        ("twice.yaml", "twice.yaml:2:4: the name 'a' was given to the conversation in line 1 already"),
        ("more.yaml", "more.yaml:1:1: beside conversations there is nothing else, and here is 'name'"),
        ("table.yaml", "table.yaml:1:16: conversations is a list"),
        ("nameless.yaml", "nameless.yaml:1:3: each conversation of a file needs a name"),
        ("misnamed.yaml", "misnamed.yaml:1:10: name: 'a b' is not a valid name"),
        ("text.yaml", "text.yaml:1:3: a conversation is a table"),
        ("bomb.yaml", "bomb.yaml:1:4: anchors and aliases of YAML (&a) are not read"),
        ("deep.json", "deep.json:1:21: lists and tables are more than 20 deep here"),
    ],
)
def test_what_is_not_there_or_not_valid_is_said_in_one_line(named: str, message: str) -> None:
    files = {
        "several.yaml": SEVERAL,
        "f.txt": SEVERAL,
        "empty.yaml": "",
        "empty.jsonl": "\n",
        "twice.yaml": SEVERAL.replace("name: b", "name: a"),
        "more.yaml": f"name: x\nconversations:\n{SEVERAL}",
        "table.yaml": "conversations: {a: b}",
        "nameless.yaml": f"- {{{ONE}}}\n- {{name: b, {ONE}}}\n",
        "misnamed.yaml": f"- {{name: a b, {ONE}}}\n- {{name: b, {ONE}}}\n",
        "text.yaml": "- Hello\n- there\n",
        "bomb.yaml": "a: &a [x, x]\nb: [*a, *a]\n",
        "deep.json": "[" * 500,
    }
    for name, text in files.items():
        Path(name).write_text(text)
    with pytest.raises(UsageError) as caught:
        find_conversation(named)
    assert str(caught.value).startswith(message)


def test_a_file_has_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "MOST_CONVERSATIONS", 1)
    Path("f.yaml").write_text(SEVERAL)
    with pytest.raises(UsageError, match=r"f\.yaml:2:3: a file has at most 1 conversations"):
        read_conversations(Path("f.yaml").absolute())


def test_one_of_python_is_itself_if_it_can_be_held() -> None:
    one = Conversation(name="a", turns=(Turn(user="Hello"),))
    assert find_conversation(one) is one
    with pytest.raises(UsageError, match="the conversation a: turn 1 adds the document 'x', which is not"):
        find_conversation(Conversation(name="a", turns=(Turn(user="Hello", add=("x",)),)))
