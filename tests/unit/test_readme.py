"""Does the README say what there is?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from pytest_llmbench.cli.app import app
from pytest_llmbench.settings.case import SETTINGS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


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


def test_every_option_of_ours_that_it_names_is_there(pytestconfig: pytest.Config) -> None:
    named = set(re.findall(r"--llm-[a-z]+(?:-[a-z]+)*", README))
    group = pytestconfig._parser.getgroup("llmbench")
    assert named <= {name for option in group.options for name in option.names()}


def test_every_setting_of_the_command_line_is_in_it() -> None:
    assert [setting.flag for setting in SETTINGS.values() if setting.flag not in README] == []


def test_every_command_that_it_names_is_there_with_its_options() -> None:
    command: Any = typer.main.get_command(app)
    told = [line for block in (*blocks(), *blocks("yaml")) for line in block.splitlines()]
    told += re.findall(r"`(llmbench [^`]*)`", README)
    found = [line[line.index("llmbench ") :] for line in told if re.search(r"(^|[\s/`])llmbench [a-z]", line)]
    assert len(found) > 10
    for line in found:
        _, name, *words = shlex.split(line.replace("\\|", " ").split(" | ")[0].split("#")[0])
        assert name in command.commands, line
        options = {option for one in command.commands[name].params for option in one.opts}
        for sub in getattr(command.commands[name], "commands", {}).values():
            options |= {option for one in sub.params for option in one.opts}
        assert {
            w.partition("=")[0].strip("[]") for w in words if w.lstrip("[").startswith("--")
        } <= options, line


def test_the_recipes_of_ci_are_yaml_whose_commands_can_be_read() -> None:
    recipes = [yaml.safe_load(block) for block in blocks("yaml")]
    lines = [line for recipe in recipes for script in scripts(recipe) for line in script.splitlines()]
    assert sum("bin/pytest benchmarks/" in line for line in lines) >= 3
    assert sum("llmbench" in line and "markdown" in line for line in lines) >= 2
    for line in lines:
        assert shlex.split(line)


def test_a_merge_requests_job_has_the_baseline_that_the_default_branch_made() -> None:
    gitlab = next(yaml.safe_load(block) for block in blocks("yaml") if ".benchmark:" in block)
    kept = gitlab[".benchmark"]["cache"]
    assert kept["policy"] == "pull"
    assert gitlab["baseline"]["cache"] == {"policy": "push"}
    (made,) = (line for line in gitlab["baseline"]["script"] if "pytest" in line)
    (compared,) = gitlab["benchmark"]["script"]
    assert f"--llm-json={kept['paths'][0]}/" in made
    assert f"--llm-compare={kept['paths'][0]} " in compared
