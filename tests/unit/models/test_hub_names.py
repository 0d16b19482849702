"""Can the name of a hub's file lead out of its folder?"""

from __future__ import annotations

import pytest

from pytest_llmbench.models.hub import _is_below


@pytest.mark.parametrize(
    ("name", "below"),
    [
        ("model.gguf", True),
        ("Q4/part..1.gguf", True),
        ("../model.gguf", False),
        ("a/../../model.gguf", False),
        ("/etc/model.gguf", False),
        ("..\\model.gguf", False),
    ],
)
def test_only_names_below_a_repository_are_its_files(name: str, below: bool) -> None:
    assert _is_below(name) is below
