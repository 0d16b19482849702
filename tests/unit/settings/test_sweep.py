"""Has a sweep the points that it says, in an order in which little is started anew?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.sweep import Combination, read_sweep
from pytest_llmbench.settings.yaml_nodes import Node, plain, read_yaml

Read = Callable[[str], tuple[Combination, ...]]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads a sweep from its text."""
    monkeypatch.chdir(tmp_path)

    def value(path: str, node: Node) -> Any:
        return plain(node)

    def read(text: str) -> tuple[Combination, ...]:
        Path("s.yaml").write_text(text)
        node = read_yaml(Path("s.yaml").absolute())
        assert node is not None
        return read_sweep(node, value)

    return read


def labels(points: tuple[Combination, ...]) -> list[str]:
    return [point.label for point in points]


def test_a_grid_is_every_combination(read: Read) -> None:
    points = read("parameters: {seed: [1, 2], rounds: [3, 4]}")
    assert [point.plain for point in points] == [
        {"seed": 1, "rounds": 3},
        {"seed": 1, "rounds": 4},
        {"seed": 2, "rounds": 3},
        {"seed": 2, "rounds": 4},
    ]
    assert labels(points)[0] == "seed:1-rounds:3"


def test_what_needs_a_restart_varies_slowest(read: Read) -> None:
    points = read("parameters: {seed: [1, 2], backend_options.llamacpp.n_batch: [8, 16]}")
    assert labels(points) == [
        "seed:1-n_batch:8",
        "seed:2-n_batch:8",
        "seed:1-n_batch:16",
        "seed:2-n_batch:16",
    ]


def test_a_zip_takes_the_first_values_together(read: Read) -> None:
    assert labels(read("{type: zip, parameters: {seed: [1, 2], rounds: [3, 4]}}")) == [
        "seed:1-rounds:3",
        "seed:2-rounds:4",
    ]


def test_a_list_says_each_point(read: Read) -> None:
    assert labels(read("{type: list, parameters: [{seed: 1, rounds: 2}, {seed: 2}]}")) == [
        "seed:1-rounds:2",
        "seed:2",
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1024-131072*2", [1024 * 2**n for n in range(8)]),
        ("1-10*3", [1, 3, 9]),
        ("8-32+8", [8, 16, 24, 32]),
        ("3-5", [3, 4, 5]),
        ("[1, 4-16*2, 100]", [1, 4, 8, 16, 100]),
        ("['1-3']", ["1-3"]),
        ("[1]", [1]),
    ],
)
def test_a_range_is_a_list_that_is_written_short(read: Read, text: str, values: list[object]) -> None:
    points = read(f"parameters: {{prompt_tokens: {text}}}")
    assert [point.plain["prompt_tokens"] for point in points] == values


def test_what_is_excluded_is_left_out(read: Read) -> None:
    points = read(
        "parameters: {seed: [1, 2, 3], rounds: [4, 5]}\n"
        "exclude: [{seed: 1, rounds: 5}, {seed: [2, 3], rounds: 4}]"
    )
    assert labels(points) == ["seed:1-rounds:4", "seed:2-rounds:5", "seed:3-rounds:5"]


def test_an_id_names_what_a_case_does_not_name_itself(read: Read) -> None:
    """Short where that is clear, by its number where it is long."""
    points = read("parameters: {models: [tiny], quantizations: [[f16, q8_0], [q4_0]], top_p: [0.5]}")
    assert labels(points) == ["top_p:0.5", "top_p:0.5"]
    points = read(
        f"parameters: {{prompt: [Who are you?, {'x' * 90}], messages: [[{{role: a, content: b}}]]}}"
    )
    assert labels(points) == ["prompt:Who_are_you-messages:1", "prompt:2-messages:1"]
    points = read("parameters: {a.x: [1], b.x: [2], c.y: [3]}")
    assert labels(points) == ["a.x:1-b.x:2-y:3"]


BAD: list[tuple[str, str]] = [
    ("[1]", "s.yaml:1:1: a sweep is a table with the keys type, parameters and exclude"),
    ("{parameter: {}}", "s.yaml:1:2: a sweep has no key 'parameter'; did you mean 'parameters'?"),
    ("{type: grid}", "s.yaml:1:1: the sweep has no parameters"),
    (
        "{type: gird, parameters: {}}",
        "s.yaml:1:8: type: 'gird' is not one of grid, zip, list; did you mean 'grid'?",
    ),
    ("{parameters: {}}", "s.yaml:1:14: the parameters of a sweep of type grid are a table"),
    ("{parameters: [a]}", "s.yaml:1:14: the parameters of a sweep of type grid are a table"),
    ("{parameters: {seed: 1}}", "s.yaml:1:21: seed needs a list of values, or a range such as 32-1024*2"),
    ("{parameters: {seed: []}}", "s.yaml:1:21: the sweep gives no case: seed has no values"),
    ("{parameters: {seed: [1, 1]}}", "s.yaml:1:21: the sweep has seed: 1 twice"),
    ("{parameters: {seed: 5-1}}", "s.yaml:1:21: the range 5-1 does not end"),
    ("{parameters: {seed: 1-9*1}}", "s.yaml:1:21: the range 1-9*1 does not end"),
    ("{parameters: {seed: 0-9*2}}", "s.yaml:1:21: the range 0-9*2 does not end"),
    ("{parameters: {seed: 0-9+0}}", "s.yaml:1:21: the range 0-9+0 does not end"),
    (
        "{parameters: {seed: 0-999999999999}}",
        "s.yaml:1:21: the range 0-999999999999 has more than 100,000 numbers",
    ),
    ("{parameters: {seed: 1-400, rounds: 1-400}}", "s.yaml:1:14: the sweep has 160,000 points"),
    ("{type: zip, parameters: {a: [1], b: [1, 2]}}", "s.yaml:1:25: a sweep of type zip needs as many values"),
    ("{type: zip, parameters: {a: [1, 1]}}", "s.yaml:1:25: the sweep has a: 1 twice"),
    ("{type: list, parameters: {a: [1]}}", "s.yaml:1:26: the parameters of a sweep of type list are a list"),
    ("{type: list, parameters: [1]}", "s.yaml:1:27: each point of a sweep of type list is a table"),
    ("{type: list, parameters: [{a: 1}, {a: 1}]}", "s.yaml:1:26: the sweep has a: 1 twice"),
    ("{parameters: {a: [1]}, exclude: {a: 1}}", "s.yaml:1:33: exclude is a list of tables"),
    ("{parameters: {a: [1]}, exclude: [1]}", "s.yaml:1:34: each entry of exclude is a table"),
    (
        "{parameters: {abc: [1]}, exclude: [{abd: 1}]}",
        "s.yaml:1:37: exclude: 'abd' is not swept; did you mean 'abc'?",
    ),
    ("{parameters: {a: [1]}, exclude: [{a: 2}]}", "s.yaml:1:38: exclude: a is never 2 in this sweep"),
    (
        "{parameters: {a: [1, 2]}, exclude: [{a: [1, 2]}]}",
        "s.yaml:1:1: the sweep gives no case: everything is excluded",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_what_is_not_valid_is_refused_with_its_place(read: Read, text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(text)
    assert str(refused.value).startswith(message)
