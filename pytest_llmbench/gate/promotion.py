"""May a session become a baseline, and by what can later ones not be judged then?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_llmbench.errors import LLMBenchError, UsageError
from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.gate.compare import Comparison
from pytest_llmbench.results.baselines import Place, save_baseline, take_place
from pytest_llmbench.results.measured import Measured
from pytest_llmbench.results.records import CaseRecord, ResultsDocument, label_of
from pytest_llmbench.results.store import Store

_NO_USE = "its times are of no use as a baseline"
_ONLY_CPU_TIME = "a baseline for CPU times alone"
_REPORTED = "\nResults: "


def fitness(document: ResultsDocument) -> tuple[bool, list[str]]:
    """Whether later sessions can be judged by *document*, and what they cannot be judged by: a line a case.

    By the rule of the comparison itself: a case of which too much was disturbed has times that say nothing.
    Its CPU times may say something all the same; then it is a baseline for them alone.
    """
    measured = [
        Measured(case, document)
        for case in document.cases
        if case.outcome != "skipped" and not case.measurement.endswith(BASE_SUFFIX)
    ]
    doubts = [(one, one.spoiled or ("" if one.usable else "nothing was measured")) for one in measured]
    lines = [
        f"{_named(one.case)}: {_ONLY_CPU_TIME if _for_cpu_time(one) else _NO_USE}: {why}"
        for one, why in doubts
        if why
    ]
    return any(not why or _for_cpu_time(one) for one, why in doubts), lines


def why_not_saved(name: str, document: ResultsDocument) -> str | None:
    """What keeps a session from being added to the baseline *name*; None if nothing does.

    That is failures, which it would hide, and that no later session could be judged by it.
    """
    not_changed = f"the baseline {name!r} was not changed"
    if bad := _bad(document.session.outcomes):
        return f"{not_changed}: {bad}; fix the cases, or leave them out with -k"
    fit, lines = fitness(document)
    if fit:
        return None
    why = lines[0] + _more(lines) if lines else "nothing was measured"
    return f"{not_changed}, for no session could be judged by this one: {why}"


def save(name: str, store: Store, document: ResultsDocument) -> str:
    """Add a session's document to the baseline *name*. Returns what to report.

    :raises UsageError: if the name cannot be one, or the document cannot be written.
    """
    try:
        lines = [f"baseline {name!r}: {save_baseline(store, name, document)}", *fitness(document)[1]]
        return _REPORTED.join(lines)
    except LLMBenchError as error:
        msg = f"the baseline {name!r} could not be saved: {error}"
        raise UsageError(msg) from None


def why_not_promoted(
    place: Place, document: ResultsDocument, comparison: Comparison, failed: int = 0
) -> str | None:
    """What keeps a session from replacing the baseline at *place*; None if nothing does.

    :param comparison: of all its cases with that baseline.
    :param failed: how many tests of the session failed, measured or not.
    """
    # A test that fails before it measures has no case.
    why = _bad(document.session.outcomes) or (f"{failed} failed" if failed else "")
    if not why and document.session.state == "interrupted":
        why = "the session was interrupted"
    if not why and (missing := comparison.missing):
        why = f"it would lose {missing[0].nodeid}{_more(missing)}, not measured now"
    measured = ((one, Measured(one.case, document)) for one in comparison.cases)
    spoiled = [one for one, found in measured if found.spoiled and not _for_cpu_time(found)]
    if not why and spoiled:
        why = f"{spoiled[0].nodeid}{_more(spoiled)}: too disturbed to compare with"
    if not why:
        return None
    name = place.name
    how = f"'llmbench baseline update {name} --force'" if name is not None else "a copy of its document"
    return f"the baseline {place.label} was not changed: {why}; {how} makes this session the baseline anyway"


def promote(place: Place, store: Store, document: ResultsDocument) -> str:
    """Let a session replace the baseline that it was compared with. Returns what to report.

    :raises ResultsError: if it cannot be written.
    """
    lines = [f"baseline {place.label}: {take_place(place, store, document)}", *fitness(document)[1]]
    return _REPORTED.join(lines)


def _for_cpu_time(one: Measured) -> bool:
    """Whether a case is a baseline for CPU times, and only for them."""
    return one.usable and one.only_cpu_time and one.case.clock != "wall"


def _named(case: CaseRecord) -> str:
    return label_of(case.nodeid, case.measurement)


def _more(found: Sequence[object]) -> str:
    return f" and {len(found) - 1} more" if len(found) > 1 else ""


def _bad(outcomes: Mapping[str, int]) -> str:
    return ", ".join(
        f"{n} {outcome}" for outcome, n in outcomes.items() if outcome not in ("passed", "skipped")
    )
