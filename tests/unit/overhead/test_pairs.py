"""Are the overhead table's values what its columns say?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def overhead(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("run")


@pytest.fixture
def pairs(script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = script("pairs")
    monkeypatch.setattr(module, "SETTLE", 0.0)
    return module


def test_a_pair_is_ours_and_bare_whoever_went_first(pairs: ModuleType) -> None:
    order: list[str] = []

    def ours() -> float:
        order.append("ours")
        return 3.0

    def bare() -> float:
        order.append("bare")
        return 2.0

    assert list(pairs.alternate(20, ours, bare)) == [(3.0, 2.0)] * 20
    firsts = order[2::2]
    assert {"ours", "bare"} == set(firsts)
    assert order.count("ours") == order.count("bare") == 21


def test_a_bound_may_be_on_either_side_or_both(pairs: ModuleType) -> None:
    assert pairs.Bound(at_least=0.98).holds(1.2)
    assert not pairs.Bound(at_least=0.98).holds(0.97)
    assert not pairs.Bound(at_most=30).holds(31)
    assert pairs.Bound(at_least=0.9, at_most=1.1).holds(1.0)


def test_one_value_is_its_own_quartiles(pairs: ModuleType) -> None:
    assert pairs.Measured([2.0]).quartiles == (2.0, 2.0)
    assert pairs.Measured([1.0, 2.0, 3.0, 4.0, 5.0]).quartiles == (2.0, 4.0)


def test_an_unknown_row_is_refused_with_the_names_of_all(
    overhead: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        overhead.main(["--only", "decode-83m"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "no row 'decode-83m'" in said
    assert all(row.name in said for row in overhead.ROWS)


def test_a_missed_bound_fails_only_with_check(
    overhead: ModuleType,
    pairs: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def cannot(_: int) -> None:
        raise pairs.NotMeasuredError("no engine here")

    rows = (
        pairs.Row("good", "one", pairs.Bound(at_least=0.9), 3, lambda n: pairs.Measured([1.0] * n)),
        pairs.Row("slow", "two", pairs.Bound(at_most=0.5), 3, lambda n: pairs.Measured([1.0] * n)),
        pairs.Row("absent", "three", pairs.Bound(at_most=0.5), 3, cannot),
    )
    monkeypatch.setattr(overhead, "ROWS", rows)
    monkeypatch.setattr(overhead.psutil, "cpu_percent", lambda interval: 0.0)
    document = tmp_path / "out.json"

    assert overhead.main(["--json", str(document)]) == 0
    assert overhead.main(["--check"]) == 1
    assert overhead.main(["--check", "--only", "good"]) == 0
    assert overhead.main(["--check", "--only", "absent"]) == 1
    verdicts = {row["name"]: row["verdict"] for row in json.loads(document.read_text())["rows"]}
    assert verdicts == {"good": "held", "slow": "missed", "absent": "not measured"}
    assert "no engine here" in capsys.readouterr().err
