"""Does ``llmbench report`` write what it is asked for?"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app

DOCUMENTS = Path(__file__).parents[1] / "results" / "documents"
ENGINE, LOAD = str(DOCUMENTS / "engine-1.0.json"), str(DOCUMENTS / "load-1.0.json")


def test_several_documents_are_one_page(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", ENGINE, LOAD, "-o", str(tmp_path / "r.html")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "r.html").read_text().count("<h3>Session ") == 2


def test_a_damaged_one_among_several_is_named_in_the_page(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    result = CliRunner().invoke(
        app, ["report", ENGINE, str(tmp_path / "bad.json"), "-o", str(tmp_path / "r.html")]
    )
    assert result.exit_code == 1
    assert "bad.json" in result.stderr
    assert "bad.json" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("name", ["r.txt", "."])
def test_a_name_that_cannot_be_is_one_line(tmp_path: Path, name: str) -> None:
    result = CliRunner().invoke(app, ["report", ENGINE, "-o", str(tmp_path / name)])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
