"""What can a suite say of its matrix?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.settings.matrix_table import MatrixTable, names_of, read_matrix_table
from pytest_llmbench.settings.yaml_nodes import Table, read_yaml


def read(tmp_path: Path, text: str) -> MatrixTable:
    path = tmp_path / "m.yaml"
    path.write_text(text, encoding="utf-8")
    node = read_yaml(path)
    assert isinstance(node, Table)
    return read_matrix_table(node.entries["matrix"].node, "m")


def test_all_that_it_can_say(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        """\
matrix:
  name: nightly
  hardware: {L4: [1, 2], cpu: 1, H100: {count: 8, market: spot}, T4: {market: on_demand}}
  models: [tiny, org/name]
  servers: vllm
  quantizations: [as-is, 8]
  include: [{hardware: L4, models: [other]}]
  exclude: [{servers: vllm, load: c8}]
  fits: false
  batch: 10
  order: written
""",
    )
    assert (table.name, table.fits, table.batch, table.order) == ("nightly", False, 10, "written")
    assert table.hardware == (
        Hardware("L4", 1), Hardware("L4", 2), Hardware("cpu", 1), Hardware("H100", 8, "spot"),
        Hardware("T4", 1, "on_demand"),
    )  # fmt: skip
    assert table.axes == {
        "models": ("tiny", "org/name"),
        "servers": ("vllm",),
        "quantizations": ("as-is", "8"),
    }
    assert table.include == ({"hardware": ("L4",), "models": ("other",)},)
    assert table.exclude == ({"servers": ("vllm",), "load": ("c8",)},)
    assert names_of(table.hardware[1]) == ("L4", "L4x2")


def test_what_it_does_not_say_has_a_default(tmp_path: Path) -> None:
    table = read(tmp_path, "matrix: {hardware: {cpu: 1}}")
    assert (table.name, table.axes, table.fits, table.batch, table.order) == ("m", {}, True, 100, "cheap")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "matrix is a table"),
        ("{}", "matrix says no hardware"),
        ("{hardware: {}}", "hardware has no label"),
        ("{hardware: [cpu]}", "hardware is a table of labels"),
        ("{hardware: {../x: 1}}", "is not a valid label"),
        ("{hardware: {L4: 0}}", "0 is not a number of devices, from 1 to 1024"),
        ("{hardware: {L4: yes}}", "'yes' is not a number of devices"),
        ("{hardware: {L4: [1, 1]}}", "the number 1 stands there twice"),
        ("{hardware: {L4: []}}", "the list of numbers of devices is empty"),
        ("{hardware: {L4: {counts: 1}}}", "L4 has no key 'counts'"),
        ("{hardware: {L4: {market: cheap}}}", "market: 'cheap' is not one of on_demand, spot"),
        ("{hardware: {cpu: 1}, model: tiny}", "matrix has no key 'model'; did you mean 'models'?"),
        ("{hardware: {cpu: 1}, models: []}", "models has 0 values"),
        ("{hardware: {cpu: 1}, models: [tiny, tiny]}", "'tiny' stands there twice"),
        ("{hardware: {cpu: 1}, models: [true]}", "models: True is not a name"),
        ("{hardware: {cpu: 1}, name: a/b}", "'a/b' is not a valid name of a matrix"),
        ("{hardware: {cpu: 1}, fits: 1}", "fits: 1 is not one of true, false"),
        ("{hardware: {cpu: 1}, batch: 0}", "batch: 0 is not a whole number from 1"),
        ("{hardware: {cpu: 1}, order: fast}", "order: 'fast' is not one of cheap, written"),
        ("{hardware: {cpu: 1}, exclude: {models: tiny}}", "exclude is a list of at most"),
        ("{hardware: {cpu: 1}, exclude: [{}]}", "an entry of exclude is empty"),
        ("{hardware: {cpu: 1}, exclude: [{model: tiny}]}", "'model' is not an axis; did you mean 'models'?"),
    ],
)
def test_what_it_cannot_say_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(tmp_path, f"matrix: {text}")
    assert message in str(refused.value)
    assert "m.yaml:1:" in str(refused.value)
