"""Does each test of a module stand where the module does, under its name?"""

from __future__ import annotations

from pathlib import Path

import pytest

import pytest_llmbench

UNIT = Path(__file__).parent
PACKAGE = Path(pytest_llmbench.__file__).parent
OVERHEAD = UNIT.parents[1] / "benchmarks" / "overhead"

EXCEPTIONS = {
    "gate/test_operating_characteristics.py": "simulates the gate as a whole, whichever module judges",
    "results/test_foreign_journals.py": "what others wrote is read by several modules, all by one rule",
    "test_messages.py": "reads the texts of the package",
    "test_mirror.py": "looks at the tests",
    "test_public_names.py": "looks at the package",
    "test_tree.py": "looks at the tree",
}
"""Tests of no one module, and why."""

TESTS = sorted(str(path.relative_to(UNIT)) for path in UNIT.rglob("test_*.py"))


def mirrored(test: str) -> Path | None:
    """The module of ``folder/test_MODULE.py`` or ``folder/test_MODULE_ASPECT.py``."""
    path = Path(test)
    folder = OVERHEAD if path.parts[0] == "overhead" else PACKAGE / path.parent
    words = path.stem.removeprefix("test_").split("_")
    for count in range(len(words), 0, -1):
        module = folder / "_".join(words[:count])
        for found in (module.with_suffix(".py"), module / "__init__.py"):
            if found.is_file():
                return found
    return None


@pytest.mark.parametrize("test", [test for test in TESTS if test not in EXCEPTIONS])
def test_a_test_is_named_as_the_module_that_it_mirrors(test: str) -> None:
    assert mirrored(test) is not None, (
        f"no module is named as {test} says; name the test test_MODULE.py or test_MODULE_ASPECT.py"
    )


def test_an_exception_is_a_test_and_is_none_without_need() -> None:
    assert set(EXCEPTIONS) <= set(TESTS)
    assert [test for test in EXCEPTIONS if mirrored(test) is not None] == []
