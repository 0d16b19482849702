"""Is it told when a path of ours, typed after a space, leads pytest to another rootdir?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.plugin import rootdir


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders side by side; the tests and the ini file are in the one that is typed from."""
    here, elsewhere = pytester.path / "p", pytester.path / "else"
    for folder in (here / "sub", elsewhere):
        folder.mkdir(parents=True)
    (elsewhere / "base.json").touch()
    (elsewhere / "models.yaml").touch()
    (here / "setup.cfg").write_text("[tool:pytest]\ntestpaths = sub\n")
    (here / "sub" / "test_a.py").write_text("def test_a(): pass\n")
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize(
    "typed",
    [
        "--llm-compare ../else/base.json",
        "--llm-json ../else/base.json",
        "--llm-store ../else",
        "--llm-dataset ../else/base.json",
        "--llm-models-file ../else/models.yaml",
        "--llm-python ../else/base.json",
        "--llm-model ../else",
        "-q --rootdir . --llm-compare ../else/base.json",
    ],
)
def test_a_path_after_a_space_that_changes_what_pytest_finds_is_an_error(
    pytester: pytest.Pytester, project: Path, typed: str
) -> None:
    result = pytester.runpytest_inprocess(*typed.split())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    flag, value = typed.split()[-2:]
    told = result.stderr.str()
    assert "no ini file" in told
    assert f"the ini file {project}/setup.cfg" in told
    assert f"Write {flag}={value}" in told


def test_the_environment_types_too(
    pytester: pytest.Pytester, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--llm-json ../else/base.json")
    assert pytester.runpytest_inprocess().ret == pytest.ExitCode.USAGE_ERROR


def test_other_node_ids_are_told_where_there_is_no_ini_file_at_all(
    pytester: pytest.Pytester, project: Path
) -> None:
    (project / "setup.cfg").unlink()
    result = pytester.runpytest_inprocess("--llm-compare", "../else/base.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"rootdir {project.parent} and no ini file" in result.stderr.str()
    assert f"would have found rootdir {project} and no ini file" in result.stderr.str()


@pytest.mark.parametrize(
    "typed",
    [
        "--llm-json=../else/now.json",
        "sub --llm-json ../else/base.json",
        "sub/test_a.py::test_a --llm-json ../else/base.json",
        "--llm-json ../else/none-yet.json",
        "--llm-json sub/now.json --llm-store sub",
        "-c setup.cfg --llm-json ../else/base.json",
        "--llm-disable sub",
    ],
)
def test_what_changes_nothing_is_no_error(pytester: pytest.Pytester, project: Path, typed: str) -> None:
    result = pytester.runpytest_inprocess(*typed.split())
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([f"rootdir: {project}"])


@pytest.mark.parametrize("file", [*rootdir._FILES, "setup.py", None])
@pytest.mark.parametrize("arguments", [(), ("sub",), ("sub", "../else"), ("../else/base.json",)])
def test_what_pytest_finds_is_foreseen(
    pytester: pytest.Pytester, project: Path, file: str | None, arguments: tuple[str, ...]
) -> None:
    (project / "setup.cfg").unlink()
    if file is not None:
        section = (rootdir._FILES.get(file) or "").replace("[tool.pytest", "[tool.pytest.ini_options]")
        (project / file).write_text(f"{section}\n")
    config = pytester.parseconfig(*arguments)
    assert rootdir.find(project, rootdir._folders(arguments, project)) == (config.rootpath, config.inipath)
