"""Are versions found wherever their packages lie?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.backends.versions import installed_versions


@pytest.mark.parametrize(
    ("folder", "file"), [("x_y-3.1.dist-info", "METADATA"), ("x_y.egg-info", "PKG-INFO")]
)
def test_a_version_is_known_as_installed_and_as_built_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, file: str
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / file).write_text("Metadata-Version: 2.4\nName: x-y\nVersion: 3.1\n\nVersion: 9\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_versions("x-y", "not-there") == {"x-y": "3.1"}
