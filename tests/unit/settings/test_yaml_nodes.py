"""Is a file of YAML read as what it says, with its places, and no further than its bounds?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings import yaml_nodes
from pytest_llmbench.settings.yaml_nodes import Items, Scalar, Table, plain, read_yaml

Read = Callable[[str | bytes], Any]


@pytest.fixture(params=[True, False], ids=["libyaml", "python"])
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Read:
    """Reads a text, with the parser in C where there is one, and with the one in Python."""
    monkeypatch.chdir(tmp_path)
    if not request.param:
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    elif not hasattr(yaml, "CSafeLoader"):
        pytest.skip("this PyYAML has no parser in C")

    def read(text: str | bytes) -> Any:
        Path("f.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return read_yaml(Path("f.yaml").absolute())

    return read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0123", 123),
        ("1.5", 1.5),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("2026-11-27", "2026-11-27"),
        ("0x1f", "0x1f"),
        (".inf", ".inf"),
        ("1_000", "1_000"),
        ("9" * 40, "9" * 40),
        ("'12'", "12"),
        ('"true"', "true"),
        ("|\n  a\n  b", "a\nb\n"),
        ("[1, a, [x]]", [1, "a", ["x"]]),
        ("{a: 1, b: {c: ''}}", {"a": 1, "b": {"c": ""}}),
    ],
)
def test_a_value_is_what_the_core_schema_says(read: Read, text: str, value: object) -> None:
    assert plain(read(f"key: {text}\n")) == {"key": value}
    assert type(plain(read(f"key: {text}\n"))["key"]) is type(value)


def test_each_part_knows_where_it_stands(read: Read) -> None:
    root = read("# first\na: 1\nb:\n  - x\n  - {c: y}\n")
    assert isinstance(root, Table)
    assert [(key, *entry.place[1:]) for key, entry in root] == [("a", 2, 1), ("b", 3, 1)]
    items = root.entries["b"].node
    assert isinstance(items, Items)
    first, second = items.nodes
    assert isinstance(first, Scalar)
    assert str(first.place) == "f.yaml:4:5"
    assert isinstance(second, Table)
    assert str(second.entries["c"].place) == "f.yaml:5:6"
    assert str(second.entries["c"].node.place) == "f.yaml:5:9"


def test_an_empty_file_says_nothing(read: Read) -> None:
    assert read("") is None
    assert read("# a comment\n---\n") is None


def test_a_mark_at_the_beginning_and_windows_lines_are_read(read: Read) -> None:
    assert plain(read("\ufeffa: 1\r\nb: 2\r\n")) == {"a": 1, "b": 2}


BAD: list[tuple[str | bytes, str]] = [
    ("a: [1\n", "f.yaml:2:1: this is not valid YAML: "),
    ("a: 1\n\tb: 2\n", "f.yaml:2:1: a tab cannot indent in YAML: use spaces"),
    ("a:\n\t- 2\n", "f.yaml:2:1: a tab cannot indent in YAML: use spaces"),
    ("a: 1\na: 2\n", "f.yaml:2:1: the key 'a' was given in line 1 already"),
    ("a: &x 1\nb: *x\n", "f.yaml:1:4: anchors and aliases of YAML (&x) are not read"),
    ("a: *x\n", "f.yaml:1:4: anchors and aliases of YAML (*x) are not read"),
    ("a: &x [*x]\n", "f.yaml:1:4: anchors and aliases of YAML (&x) are not read"),
    ("a: !!python/object/apply:os.system ['ls']\n", "f.yaml:1:4: tags of YAML (tag:yaml.org,2002:python/"),
    ("a: !x 1\n", "f.yaml:1:4: tags of YAML (!x) are not read"),
    ("[a]: 1\n", "f.yaml:1:1: a key is a text"),
    ("a: 1\n---\nb: 1\n", "f.yaml:2:1: a second document begins here"),
    ("a: " + "[" * 30 + "]" * 30, "f.yaml:1:23: lists and tables are more than 20 deep here"),
    ("a: " + "[" * 100_000, "f.yaml:1:23: lists and tables are more than 20 deep here"),
    (b"a: 1\nb: \xff\n", "f.yaml:2:4: the file is not UTF-8"),
    ("a: \x07\n", "f.yaml:1:"),
    ("a: 1\nb: @x\n", "f.yaml:2:4: this is not valid YAML: "),
    ("a: 1\n b: 1\n", "f.yaml:2:3: this is not valid YAML: "),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_what_is_not_valid_is_refused_with_its_place(read: Read, text: str | bytes, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(text)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_file_has_a_size_and_a_number_of_parts(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_nodes, "MOST_PARTS", 10)
    with pytest.raises(UsageError, match=r"f\.yaml:1:\d+: the file has more than 10 parts"):
        read("[" + "1, " * 20 + "]")
    monkeypatch.setattr(yaml_nodes, "MOST_BYTES", 2**20)
    with pytest.raises(UsageError, match=r"f\.yaml: the file is larger than 1 MiB"):
        read("#" * (2**20 + 1))


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device"])
def test_only_a_file_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "f.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    with pytest.raises(
        UsageError, match=r"f\.yaml: (this is not a file|the file cannot be read: No such file)"
    ):
        read_yaml(path)
