"""Which tests does a case of a suite stand for?

Every combination that its settings select, at every point of its sweep. Tests that share an engine or a
server follow each other: what needs a restart varies slowest.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmbench.cases.need import Need, of_asked
from pytest_llmbench.cases.room import READS
from pytest_llmbench.cases.selection import Selected, Selector
from pytest_llmbench.errors import UsageError, saying_where
from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.suite import Point, Suite, SuiteCase
from pytest_llmbench.settings.sweep import Combination

if TYPE_CHECKING:
    from pytest_llmbench.settings.case import CaseSettings

_OPTIONS = "backend_options"
_SELECTING = [
    *(key for key, row in SETTINGS.items() if row.role == "cases"),
    *("arrivals", "preset"),
    *(key for key in READS if key != _OPTIONS),
]
"""The settings, options left out, on which it depends which cases there are, and whether they can run."""


class _Group(NamedTuple):
    """What tests of the same values have in common."""

    selected: list[Selected]
    held: CaseSettings
    """Those of :data:`READS` are the same for all of them."""


_Known = dict[Hashable, _Group]
"""By the values on which they depend."""


class SuiteTest(NamedTuple):
    """One test of a suite."""

    id: str
    """What stands in brackets after the case's name."""
    point: Point
    selected: Selected
    need: Need
    """Of its model's context."""


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
                selected = selector.cases([case.fixture], point.source)[1]
                known[key] = _Group(selected, selector.settings(point.source))
        group = known[key]
        need = of_asked(case.fixture, group.held, point.asked)
        for one in group.selected:
            name = f"{one.id}-{point.label}" if point.label else one.id
            if name in ids:
                case.place.refuse(
                    f"two tests of the case {case.name!r} would be called [{name}]: give their models "
                    "aliases, or leave one out"
                )
            ids.add(name)
            # Whether it fits otherwise was found out for the group.
            if point.asked.has_length and one.skip is None and one.fit is not None:
                why = one.fit.misfit(need)
                one = one if why is None else replace(one, skip=why)
            runs_on = None if one.case is None else (one.case.target.label, one.case.spec)
            groups.setdefault(runs_on, {}).setdefault(started_with, []).append(
                SuiteTest(name, point, one, need)
            )
    return [test for started in groups.values() for group in started.values() for test in group]


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
