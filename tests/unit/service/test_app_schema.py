"""Does the API do what its own description says, whatever is sent to it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("schemathesis")

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pytest_llmbench.service.app import create_app
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.state import Service

EXAMPLES = 6
"""Of each operation, and as many that are not valid."""


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_answer_is_one_that_is_described(tmp_path: Path, mode: GenerationMode) -> None:
    service = Service(Configuration(store=tmp_path / "store", suites=(tmp_path,), hosts=("testserver",)))
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(service))
    wrong: list[str] = []
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            # What a schema cannot say is refused too: a model that is not one of the service.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        try:
            ask()
        except Unsatisfiable:
            pass  # It has no parameters that could be wrong.
        except BaseExceptionGroup as error:
            wrong += [f"{operation.label}: {one}" for one in error.exceptions]
        except Exception as error:  # noqa: BLE001  # each is told below
            wrong.append(f"{operation.label}: {error}")
    assert len(operations) >= 15
    assert not wrong, "\n\n".join(wrong)
