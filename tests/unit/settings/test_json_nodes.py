"""Is a file of JSON read as what it says, with its places, and no further than its bounds?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings import json_nodes
from pytest_llmbench.settings.json_nodes import read_json, read_json_lines
from pytest_llmbench.settings.yaml_nodes import Items, Node, Table, plain


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(text: str) -> Node | None:
    Path("f.json").write_text(text, encoding="utf-8")
    return read_json(Path("f.json").absolute())


@pytest.mark.parametrize(
    "text",
    [
        "12",
        "-1.5e3",
        '"a\\u00e9\\ud83d\\ude00\\n"',
        "[]",
        "{}",
        '\ufeff{"a": [1, {"b": [[], {}]}, true, false, null], "": "x"}',
        '{\t"a"\r\n:\t[ 1 ,2 ] }',
        '"true"',
    ],
)
def test_it_says_what_json_says(text: str) -> None:
    node = read(text)
    assert node is not None
    assert plain(node) == json.loads(text.removeprefix("\ufeff"))


@pytest.mark.parametrize("text", ["", " \n ", "null"])
def test_nothing_is_none(text: str) -> None:
    assert read(text) is None


def test_every_part_has_its_place() -> None:
    node = read('{\n  "a": 1,\n  "b": [true,\n    {"c": "d"}]\n}')
    assert isinstance(node, Table)
    b = node.entries["b"]
    assert str(b.place) == "f.json:3:3"
    assert isinstance(b.node, Items)
    assert [str(one.place) for one in b.node.nodes] == ["f.json:3:9", "f.json:4:5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "f.json:1:2: this is not valid JSON: it ends where a key in double quotes is expected"),
        ("[1 2]", "f.json:1:4: this is not valid JSON: ',' or ']' is expected here, and not '2]'"),
        ("[1,]", "f.json:1:4: this is not valid JSON: a value is expected here, and not ']'"),
        ('{"a" 1}', "f.json:1:6: this is not valid JSON: ':' is expected here, and not '1}'"),
        ('{"a": 1,}', "f.json:1:9: this is not valid JSON: a key in double quotes is expected here, and not"),
        ("[NaN]", "f.json:1:2: this is not valid JSON: a value is expected here, and not 'NaN]'"),
        ('\n"a', "f.json:2:1: this is not valid JSON: Unterminated string"),
        ('"\\ud800"', "f.json:1:1: this text is not Unicode"),
        ("[] []", "f.json:1:4: something follows the end of the JSON"),
        ('{"a": 1, "a": 2}', "f.json:1:10: the key 'a' was given in line 1 already"),
        ("[" * 1000, "f.json:1:21: lists and tables are more than 20 deep here"),
    ],
)
def test_what_is_not_valid_has_its_place(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert str(caught.value).startswith(message)


def test_a_file_has_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.settings.yaml_nodes.MOST_PARTS", 3)
    with pytest.raises(UsageError, match="more than 3 parts"):
        read("[1, 2, 3]")
    monkeypatch.setattr(json_nodes, "MOST_BYTES", 2**20)
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        read(" " * 2**20 + "1")


def test_json_lines_have_a_value_a_line() -> None:
    Path("f.jsonl").write_text('{"a": 1}\n\n[2]\r\n"x"\n')
    found = read_json_lines(Path("f.jsonl").absolute())
    assert [plain(one) for one in found.nodes] == [{"a": 1}, [2], "x"]
    assert [one.place.line for one in found.nodes] == [1, 3, 4]
    Path("f.jsonl").write_text("")
    assert read_json_lines(Path("f.jsonl").absolute()).nodes == []
