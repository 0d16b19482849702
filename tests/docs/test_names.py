"""Do the README and the documentation name only what exists?"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from pytest_llmbench.backends.registry import BUILTIN, from_reference
from pytest_llmbench.cli.app import app
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.servers.options import SERVER, SERVER_OPTIONS
from pytest_llmbench.settings.kinds import CASE_FIXTURES

ROOT = Path(__file__).parents[2]
CI = "docs/guides/ci.md"

Pages = dict[str, str]
Blocks = Callable[[str, str], list[Any]]


def scripts(recipe: Any) -> Iterator[str]:
    """Every line that a recipe of CI has run."""
    if isinstance(recipe, dict):
        for key, value in recipe.items():
            if key in ("run", "script", "before_script", "after_script"):
                yield from [value] if isinstance(value, str) else value
            else:
                yield from scripts(value)
    elif isinstance(recipe, list):
        for value in recipe:
            yield from scripts(value)


def recipes(pages: Pages, blocks: Blocks) -> list[Any]:
    return [yaml.safe_load(block.text) for block in blocks(CI, pages[CI]) if block.language == "yaml"]


def test_the_readme_is_short(pages: Pages) -> None:
    assert len(pages["README.md"].splitlines()) <= 200


def test_every_option_is_there(pages: Pages, pytestconfig: pytest.Config) -> None:
    named = {name for text in pages.values() for name in re.findall(r"--llm-[a-z]+(?:-[a-z]+)*", text)}
    group = pytestconfig._parser.getgroup("llmbench")
    assert len(named) > 30
    assert named <= {name for option in group.options for name in option.names()}


def test_every_ini_option_is_there(pages: Pages, pytestconfig: pytest.Config) -> None:
    named = {name for text in pages.values() for name in re.findall(r"(?m)^llm_[a-z_]+|`llm_[a-z_]+`", text)}
    fixtures = set(CASE_FIXTURES)
    assert {name.strip("`") for name in named} - fixtures <= set(pytestconfig._parser._inidict)


def test_every_option_of_a_backend_or_of_servers_is_there(pages: Pages) -> None:
    owners = {name: from_reference(reference).options for name, reference in BUILTIN.items()}
    owners[SERVER] = SERVER_OPTIONS.options
    names = {f"{owner}.{option.name}" for owner, options in owners.items() for option in options}
    text = "\n".join(pages.values())
    named = set(re.findall(rf"(?<![\w-])((?:{'|'.join(owners)})\.[a-z_]+)(?==)", text))
    assert len(named) > 5
    assert named <= names


def test_every_command_is_there_with_its_options(pages: Pages) -> None:
    command: Any = typer.main.get_command(app)
    lines = [line for text in pages.values() for line in text.splitlines()]
    found = [line[line.index("llmbench ") :] for line in lines if re.search(r"(^|[\s/])llmbench [a-z]", line)]
    found += [
        name for text in pages.values() for name in re.findall(r"[`\"](llmbench [a-z][^`\"]*)[`\"]", text)
    ]
    assert len(found) > 15
    for line in found:
        _, name, *words = shlex.split(re.split(r"[|>#`\"]", line)[0])
        assert name in command.commands, line
        options = {option for one in command.commands[name].params for option in one.opts}
        for sub in getattr(command.commands[name], "commands", {}).values():
            options |= {option for one in sub.params for option in one.opts}
        if command.commands[name].context_settings.get("ignore_unknown_options"):
            # Options of pytest, which another test looks for.
            words = [word for word in words if not word.startswith("--llm-")]
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, line


def test_every_metric_in_the_table_of_other_tools_is_there(pages: Pages) -> None:
    table = pages["docs/guides/other-tools.md"].partition("other formulas")[2]
    named = {
        name for row in re.findall(r"(?m)^\| (`[^|]*) \|", table) for name in re.findall(r"`(\w+)`", row)
    }
    assert named
    assert named <= set(METRICS)


def test_the_folders_for_contributors_are_in_the_order_of_their_imports(pages: Pages) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["id"] == "layers")
    order = [name.strip() for layer in reversed(layers) for name in layer.split("|")]
    folders = [name for name in order if (ROOT / "pytest_llmbench" / name).is_dir()]
    assert re.findall(r"(?m)^\| `(\w+)/`", pages["CONTRIBUTING.md"]) == folders


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_link_of_a_page_outside_the_documentation_leads_somewhere(name: str, pages: Pages) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", pages[name]) if "://" not in link]
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []


def test_the_recipes_of_ci_have_commands_that_can_be_read(pages: Pages, blocks: Blocks) -> None:
    lines = [
        line
        for recipe in recipes(pages, blocks)
        for script in scripts(recipe)
        for line in script.splitlines()
    ]
    assert sum("bin/pytest benchmarks/" in line for line in lines) >= 3
    assert sum("llmbench" in line and "markdown" in line for line in lines) >= 2
    for line in lines:
        assert shlex.split(line)


def test_a_merge_requests_job_has_the_baseline_that_the_default_branch_made(
    pages: Pages, blocks: Blocks
) -> None:
    gitlab = next(recipe for recipe in recipes(pages, blocks) if ".benchmark" in recipe)
    kept = gitlab[".benchmark"]["cache"]
    assert kept["policy"] == "pull"
    assert gitlab["baseline"]["cache"] == {"policy": "push"}
    (made,) = (line for line in gitlab["baseline"]["script"] if "pytest" in line)
    (compared,) = gitlab["benchmark"]["script"]
    assert f"--llm-json={kept['paths'][0]}/" in made
    assert f"--llm-compare={kept['paths'][0]} " in compared
