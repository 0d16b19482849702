"""How is a model called in test ids, and what counts as a path?"""

from __future__ import annotations

import pytest

from pytest_llmbench.models.spec import ModelSpec


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        (ModelSpec("tiny"), "tiny"),
        (ModelSpec("tiny", "q8_0"), "tiny-q8_0"),
        (ModelSpec("org/name", "f16", "main"), "org/name-f16"),
        (ModelSpec("./folder/small-1.7B"), "small-1.7B"),
        (ModelSpec("./folder/small-1.7B/.."), "folder"),
        (ModelSpec("../small-1.7B.Q4_0.GGUF"), "small-1.7B.Q4_0"),
        (ModelSpec("./folder/model.gguf", "q4_0", alias="mine"), "mine-q4_0"),
    ],
)
def test_a_label_is_short_and_says_the_quantization(spec: ModelSpec, label: str) -> None:
    assert spec.label == label


@pytest.mark.parametrize("name", ["/a", "./a", "../a", "~/a", "a.gguf", "a/b.GGUF"])
def test_what_is_written_as_a_path_is_one(name: str) -> None:
    assert ModelSpec(name).is_path


@pytest.mark.parametrize("name", ["tiny", "synthetic/tiny", "org/name", "org/name-GGUF"])
def test_what_is_not_written_as_a_path_is_none(name: str) -> None:
    assert not ModelSpec(name).is_path
