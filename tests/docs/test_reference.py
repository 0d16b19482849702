"""Do the pages of the reference have what the tables have?"""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import pytest_llmbench
from pytest_llmbench.backends.registry import BUILTIN
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.servers.options import SERVER_OPTIONS
from pytest_llmbench.servers.table import ENGINES
from pytest_llmbench.settings.case import SETTINGS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference(generate: ModuleType) -> dict[str, str]:
    return {path: make() for path, make in generate.PAGES.items()}


def headings(page: str) -> set[str]:
    return {name.strip("`") for name in re.findall(r"(?m)^###? (`\S+`|\S+)", page)}


def test_every_row_of_a_table_has_a_place(reference: dict[str, str]) -> None:
    assert headings(reference["reference/settings.md"]) >= set(SETTINGS)
    assert headings(reference["reference/metrics.md"]) == set(METRICS)
    assert headings(reference["reference/servers.md"]) == {"Options", *ENGINES}
    assert headings(reference["reference/backends.md"]) == set(BUILTIN)
    for option in SERVER_OPTIONS.options:
        assert f"`server.{option.name}`" in reference["reference/servers.md"]


def test_a_metric_says_of_which_clock_it_is_and_where_its_limits_are(reference: dict[str, str]) -> None:
    page = reference["reference/metrics.md"]
    parts = {name: page.partition(f"## `{name}`")[2].partition("\n## ")[0] for name in METRICS}
    for name, row in METRICS.items():
        assert ("- clock: of the CPUs" in parts[name]) is (row.clock == "cpu"), name
        assert ("- limits: " in parts[name]) is bool(row.limits), name
        assert row.limits.lower().rstrip(".") in parts[name].lower()
        assert row.on_cpu is None or f"[`{row.on_cpu}`](#{row.on_cpu}) tells the same" in parts[name]


def test_every_option_of_the_command_line_is_on_one_page(
    reference: dict[str, str], pytestconfig: pytest.Config
) -> None:
    pages = reference["reference/settings.md"] + reference["reference/session-options.md"]
    group = pytestconfig._parser.getgroup("llmbench")
    missing = [name for one in group.options for name in one.names() if f"`{name}" not in pages]
    assert missing == []


def test_every_public_name_is_on_the_page_of_python(reference: dict[str, str]) -> None:
    named = re.findall(r"(?m)^::: pytest_llmbench\.(\w+)$", reference["reference/python.md"])
    assert sorted(named) == sorted(pytest_llmbench.__all__)


def test_every_module_is_in_the_tree_with_a_question(reference: dict[str, str]) -> None:
    package = ROOT / "pytest_llmbench"
    for path in package.rglob("*.py"):
        assert f"`{path.relative_to(package)}`" in reference["reference/tree.md"], path


def test_the_pages_are_those_of_the_navigation(generate: ModuleType) -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    parts = [next(iter(part.values())) for part in site["nav"]]
    listed = [path for part in parts for path in ([part] if isinstance(part, str) else part)]
    written = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted([*written, *generate.PAGES])


def test_a_table_keeps_what_would_end_a_cell(generate: ModuleType) -> None:
    assert generate.table(("a", "b"), [("x|y", "`one|`\ntwo")]).splitlines()[2] == r"| x\|y | `one|` two |"
