"""Which tests does a case of a suite stand for?

Every combination that its settings select, at every point of its sweep. Tests that share an engine or a
server follow each other: what needs a restart varies slowest.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

from pytest_llmbench.cases.room import READS, prompt_too_long
from pytest_llmbench.cases.selection import Selected, Selector
from pytest_llmbench.errors import UsageError, saying_where
from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.suite import Point, Suite, SuiteCase
from pytest_llmbench.settings.sweep import Combination

_OPTIONS = "backend_options"
_SELECTING = [
    *(key for key, row in SETTINGS.items() if row.role == "cases"),
    *("arrivals", "preset"),
    *(key for key in READS if key != _OPTIONS),
]
"""The settings, options left out, on which it depends which cases there are, and whether they can run."""


_Known = dict[Hashable, list[Selected]]
"""The selected cases by the values on which they depend."""


class SuiteTest(NamedTuple):
    """One test of a suite."""

    id: str
    """What stands in brackets after the case's name."""
    point: Point
    selected: Selected


def expand_suite(suite: Suite, selector: Selector) -> list[tuple[SuiteCase, list[SuiteTest]]]:
    """The tests of each case, in the order in which they are to run.

    :raises UsageError: in one line, with the place, for what the suite names and nothing has, and if two
        tests of a case have the same id.
    """
    _check(suite, selector)
    known: _Known = {}
    return [(case, _tests(case, selector, known)) for case in suite.cases]


def _check(suite: Suite, selector: Selector) -> None:
    """Refuse what a suite names and nothing has: a model, a backend, an option.

    :raises UsageError: in one line, with the place.
    """
    for place, source in suite.said:
        try:
            selector.check_marker(source)
        except UsageError as error:
            place.refuse(str(error))


def _tests(case: SuiteCase, selector: Selector, known: _Known) -> list[SuiteTest]:
    """The tests of one case; *known* is what earlier ones have found out."""
    groups: dict[Hashable, dict[str, list[SuiteTest]]] = {}
    ids: set[str] = set()
    for point in _left(case.points, selector):
        options = point.values.get(_OPTIONS)
        started_with = repr(options) if options else ""
        key = (case.fixture, started_with, *map(point.values.get, _SELECTING))
        if key not in known:
            with saying_where(str(case.place)):
                known[key] = selector.cases([case.fixture], point.source)[1]
        for one in known[key]:
            name = f"{one.id}-{point.label}" if point.label else one.id
            if name in ids:
                case.place.refuse(
                    f"two tests of the case {case.name!r} would be called [{name}]: give their models "
                    "aliases, or leave one out"
                )
            ids.add(name)
            one = _that_fits(one, point, selector)
            runs_on = None if one.case is None else (one.case.target.label, one.case.spec)
            groups.setdefault(runs_on, {}).setdefault(started_with, []).append(SuiteTest(name, point, one))
    return [test for started in groups.values() for group in started.values() for test in group]


def _that_fits(one: Selected, point: Point, selector: Selector) -> Selected:
    """The same, skipped where its model's context is too short for the made prompt of this point."""
    tokens = point.asked.prompt_tokens
    if tokens is None or one.skip is not None or one.case is None or one.case.spec.known is None:
        return one
    why = prompt_too_long(one.case.spec, tokens, selector.settings(point.source).max_new_tokens)
    return one if why is None else replace(one, skip=why)


def _left(points: Sequence[Point], selector: Selector) -> Sequence[Point]:
    """The points that differ where the command line has the last word on some of what is swept."""
    paths = {value.path for point in points for value in point.combination.values}
    typed = {path for path in paths if selector.typed(path)}
    if not typed:
        return points
    left: dict[str, Point] = {}
    for point in points:
        rest = Combination([value for value in point.combination.values if value.path not in typed])
        left.setdefault(repr(rest.plain), replace(point, combination=rest))
    return list(left.values())
