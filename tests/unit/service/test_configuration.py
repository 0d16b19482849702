"""What can be set of the service, and where?"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("dotenv")

from pytest_llmbench.errors import UsageError
from pytest_llmbench.secrets import mask
from pytest_llmbench.service.configuration import example, read_configuration, rows

TOKEN = "0123456789abcdef-token"


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LLMBENCH_PORT=1\nLOG_LEVEL=DEBUG\nLLMBENCH_HOST=::1\n")
    found = read_configuration({"LLMBENCH_PORT": "2", "LOG_LEVEL": ""}, tmp_path, host="localhost")
    assert (found.port, found.log_level, found.host) == (2, "DEBUG", "localhost")


def test_lists_are_parted_by_commas_or_spaces_and_folders_by_colons() -> None:
    found = read_configuration({"LLMBENCH_DEVICES": "cpu, gpu0", "LLMBENCH_SUITES": "a:b"})
    assert (found.devices, found.suites) == (("cpu", "gpu0"), (Path("a"), Path("b")))


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("LLMBENCH_PORT", "x", "LLMBENCH_PORT is not valid"),
        ("LLMBENCH_PORT", "70000", "it can be 0 to 65535"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL is not valid"),
        ("LLMBENCH_TOKEN", "short", "less than 16 characters"),
        ("LLMBENCH_DEVICES", "cpu cpu", "each once"),
        ("LLMBENCH_DEVICES", "../x", "write cpu, or gpu0"),
        ("LLMBENCH_ATTEMPTS", "0", "it can be 1 to 100"),
        ("LLMBENCH_TOKEN_FILE", "/nowhere/token", "/nowhere/token cannot be read"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_variable(variable: str, value: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_configuration({variable: value})


def test_a_token_may_lie_in_a_file_and_is_learned_as_a_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_configuration({"LLMBENCH_TOKEN_FILE": str(tmp_path / "token")}).token == TOKEN
    assert TOKEN not in mask(f"x {TOKEN}")


def test_the_password_of_a_database_is_a_secret() -> None:
    read_configuration({"DATABASE_URL": "postgresql://me:pa55word-of-db@host/name"})
    assert "pa55word-of-db" not in mask("it says pa55word-of-db")


def test_the_example_has_every_variable_and_sets_none() -> None:
    lines = example().splitlines()
    assert all(line.startswith("#") or not line for line in lines)
    assert {f"#{row.variables[0]}" for row in rows()} <= {line.partition("=")[0] for line in lines}


def test_the_example_that_is_kept_is_the_one_that_is_made() -> None:
    kept = Path(__file__).parents[3] / "deploy" / ".env.example"
    assert kept.read_text().startswith(example())
