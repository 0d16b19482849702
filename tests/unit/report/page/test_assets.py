from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from pytest_llmbench.report.page import assets

RECIPE = Path(__file__).parents[4] / "tools" / "echarts"


def test_the_library_is_the_one_that_the_recipe_made() -> None:
    written, _, name = (RECIPE / "echarts.min.js.sha256").read_text().strip().partition("  ")
    assert name == assets.LIBRARY
    assert hashlib.sha256((assets.STATIC / name).read_bytes()).hexdigest() == written


def test_the_library_is_of_the_pinned_version() -> None:
    pinned = json.loads((RECIPE / "package.json").read_text())["dependencies"]["echarts"]
    locked = json.loads((RECIPE / "package-lock.json").read_text())["packages"]["node_modules/echarts"]
    assert locked["version"] == pinned
    assert assets.text(assets.LIBRARY).startswith(f"/*! Apache ECharts {pinned} (Apache-2.0)")


def test_the_licenses_of_all_that_the_library_holds_lie_beside_it() -> None:
    licenses = assets.text("echarts.LICENSE.txt")
    for owner in (
        "Apache License",
        "The Apache Software Foundation",
        "Baidu Inc.",
        "Mike Bostock",
        "Microsoft Corporation",
    ):
        assert owner in licenses


@pytest.mark.parametrize("name", ["echarts.min.js", "charts.js", "table.js"])
def test_no_script_evaluates_text_or_ends_the_element_that_holds_it(name: str) -> None:
    code = assets.text(name)
    assert re.search(r"\beval\(|new Function\(|document\.write|</script|<!--", code, re.IGNORECASE) is None


@pytest.mark.parametrize("name", ["page.css", "charts.js", "table.js"])
def test_nothing_of_ours_names_an_address_but_that_of_svg(name: str) -> None:
    assert set(re.findall(r"https?://[^\s'\"]+", assets.text(name))) <= {"http://www.w3.org/2000/svg"}


def test_what_is_packed_is_the_library_with_its_licenses_and_always_the_same() -> None:
    packed = assets.packed_library()
    code = gzip.decompress(base64.b64decode(packed)).decode()
    assert code.endswith(assets.text(assets.LIBRARY))
    assert "Baidu Inc." in code
    assert packed == assets.packed_library()
