"""What can a tag be?"""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.tags import read_tags, tag_schema, tags_schema
from pytest_llmbench.settings.yaml_nodes import Items, Place, Scalar, plain

PLACE = Place(Path("/f.yaml"), 1, 1)


def tag(text: str) -> Scalar:
    return Scalar(text, True, PLACE)


@pytest.mark.parametrize("names", [["rag"], ["rag", "long", "rag"], []])
def test_tags_are_words_each_once(names: list[str]) -> None:
    node = Items([tag(name) for name in names], PLACE)
    assert read_tags(node) == tuple(dict.fromkeys(names))
    jsonschema.validate(plain(node), tags_schema(tag_schema()))
    assert read_tags(tag("one")) == ("one",)


@pytest.mark.parametrize("name", ["a-b", "1a", "", "12", "skip", "llm", "parametrize"])
def test_what_is_not_a_word_or_means_something_else_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"f\.yaml:1:1: tags: "):
        read_tags(tag(name))


def test_there_are_not_more_than_a_hundred() -> None:
    with pytest.raises(UsageError, match="more than 100"):
        read_tags(Items([tag(f"a{number}") for number in range(101)], PLACE))
