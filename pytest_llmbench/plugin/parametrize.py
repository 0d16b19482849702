"""How do the cases of a test become parameters of pytest's?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_llmbench.settings.kinds import FIXTURES

if TYPE_CHECKING:
    from pytest_llmbench.cases.selection import Selected
    from pytest_llmbench.cases.suites import SuiteTest
    from pytest_llmbench.settings.suite import Point

POINT = "llm_point"
"""The parameter of a suite's test that says what holds for it."""
_TESTS = "llmbench_tests"
"""What a suite has for pytest: the tests of each case, by its name."""


def parametrize(metafunc: pytest.Metafunc, fixture: str, selected: Iterable[Selected]) -> None:
    """Make one test of each case that was *selected*; what cannot run is a skip with its reason."""
    params = [pytest.param(one.case, id=one.id, marks=marks_of(one)) for one in selected]
    metafunc.parametrize(fixture, params, indirect=True)


def suite_tests(metafunc: pytest.Metafunc) -> Sequence[SuiteTest] | None:
    """The tests of the case of a suite for which a function stands; None for one of Python."""
    tests: Mapping[str, Sequence[SuiteTest]] | None = getattr(metafunc.definition.parent, _TESTS, None)
    return None if tests is None else tests[metafunc.definition.name]


def parametrize_suite(metafunc: pytest.Metafunc, tests: Iterable[SuiteTest]) -> None:
    """Make the *tests* of a case of a suite."""
    fixture = next(name for name in metafunc.fixturenames if name in FIXTURES)
    params = [
        pytest.param(
            test.selected.case, test.point, id=test.id, marks=marks_of(test.selected, test.point.tags)
        )
        for test in tests
    ]
    metafunc.parametrize((fixture, POINT), params, indirect=[fixture])


def point_of(item: pytest.Item) -> Point | None:
    """What holds for a test of a suite; None for one that is written in Python."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get(POINT)


def marks_of(selected: Selected, tags: Iterable[str] = ()) -> Sequence[pytest.MarkDecorator]:
    """The markers of a case: its tags, and a skip if it cannot run."""
    skips = () if selected.skip is None else [pytest.mark.skip(reason=selected.skip)]
    return [*skips, *(getattr(pytest.mark, tag) for tag in tags)]
