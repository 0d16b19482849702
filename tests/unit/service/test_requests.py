"""What may be asked of the service, and which command measures it?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from pydantic import ValidationError

from pytest_llmbench.errors import UsageError
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.requests import (
    ModelRequest,
    SuiteRequest,
    check,
    command,
    settings_that_can_be_asked,
    suites,
)


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """A folder with one suite, and a GPU."""
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "quick.llm.yaml").write_text("version: 1\ncases: []\n")
    (tmp_path / "secret.llm.yaml").write_text("version: 1\n")
    return Configuration(suites=(tmp_path / "suites",), devices=("cpu", "gpu0"))


def _model(**config: Any) -> ModelRequest:
    return ModelRequest(model_id="tiny", config=config)


def test_no_setting_that_reaches_a_file_a_program_or_a_host_can_be_asked() -> None:
    rows = settings_that_can_be_asked()
    assert not {"backend_options", "base_url", "serve", "dataset"} & rows.keys()
    assert not [key for key, row in rows.items() if row.path]


def test_a_model_becomes_a_suite_of_one_case_in_the_folder_of_the_job(
    configuration: Configuration, tmp_path: Path
) -> None:
    asked = _model(prompt="a: [b", max_new_tokens=4, quantizations=["f16", "q8_0"])
    words = command("model", asked.model_dump(), tmp_path, configuration)
    (path,) = (Path(word) for word in words if word.endswith(".llm.yaml"))
    assert path.parent == tmp_path
    (case,) = json.loads(path.read_text())["cases"]
    assert case == {
        "name": "text-generation", "models": ["tiny"], "prompt": "a: [b", "max_new_tokens": 4,
        "quantizations": ["f16", "q8_0"],
    }  # fmt: skip


def test_what_is_said_over_a_suite_becomes_options_as_exact_as_it_was_said(
    configuration: Configuration, tmp_path: Path
) -> None:
    asked = SuiteRequest(suite="quick", overrides={"backends": ["llamacpp"], "duration": 12345.75})
    words = command("suite", asked.model_dump(), tmp_path, configuration)
    assert "--llm-backend=llamacpp" in words
    assert "--llm-duration=12345.75" in words


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"backend_options": "x"}, "config.backend_options is not a setting that can be asked"),
        ({"rounds": 0}, "config.rounds: '0' is not a whole number of at least 1"),
        ({"rounds": "--co"}, "config.rounds: '--co' is not a whole number"),
        ({"prompt": 5}, "config.prompt is 5; it has to be a text"),
        ({"models": ["/etc/passwd"]}, "the model '/etc/passwd' is not one of this service"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    configuration: Configuration, config: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as raised:
        check(_model(**config), configuration)
    assert says in str(raised.value)


@pytest.mark.parametrize("name", ["../secret", "/tmp/x", "a\0b", "", "x" * 200])
def test_a_suite_is_a_name_and_no_path(name: str) -> None:
    with pytest.raises(ValidationError):
        SuiteRequest(suite=name)


def test_suites_are_those_of_the_folders_alone(configuration: Configuration) -> None:
    assert list(suites(configuration)) == ["quick"]
    with pytest.raises(UsageError, match="there is no suite 'secret'"):
        check(SuiteRequest(suite="secret"), configuration)


@pytest.mark.parametrize(
    ("options", "device"), [({}, "cpu"), ({"use_gpu": True}, "gpu0"), ({"device": "gpu0"}, "gpu0")]
)
def test_a_device_is_one_of_the_configured_ones(
    configuration: Configuration, options: dict[str, Any], device: str
) -> None:
    asked = ModelRequest(model_id="tiny", hardware_options=options)  # type: ignore[arg-type]
    assert check(asked, configuration) == device


def test_a_device_that_is_not_there_is_refused(configuration: Configuration) -> None:
    only = Configuration(suites=configuration.suites)
    with pytest.raises(UsageError, match="a GPU is not there; this service measures on: cpu"):
        check(ModelRequest(model_id="tiny", hardware_options={"use_gpu": True}), only)  # type: ignore[arg-type]
