"""What should a person be told of a session that no test's result says?

Which benchmarks were skipped and why, and which options of the command line did nothing for what ran.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.errors import one_line
from pytest_llmbench.metrics.units import count
from pytest_llmbench.plugin.xdist import benchmarks_of
from pytest_llmbench.servers.options import SERVER, options_of
from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.kinds import CASE_FIXTURES, KINDS, OF_FIXTURE
from pytest_llmbench.settings.session import SESSION_SETTINGS

if TYPE_CHECKING:
    import pytest

    from pytest_llmbench.cases.case import Case
    from pytest_llmbench.cases.target import Target
    from pytest_llmbench.measure.run import Run
    from pytest_llmbench.plugin.session import PytestSession

_LONGEST = 160
"""Of a reason: the rest, such as a list of what there is, is shown by ``-rs``."""
_SERVERS = ("engine", "started", "running", "docker", "https")


def skipped(reports: Iterable[pytest.TestReport]) -> list[str]:
    """``2 cases: REASON``, a line for each reason that benchmarks were skipped for."""
    reasons = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ")
        for report in reports
        if benchmarks_of(report) is not None and isinstance(report.longrepr, tuple)
    )
    return [f"{count(cases, 'case')}: {_cut(reason)}" for reason, cases in reasons.items()]


def kinds_of(item: pytest.Item, runs: Sequence[Run]) -> set[str]:
    """What the case of a test is, of :data:`~pytest_llmbench.settings.kinds.KINDS`, and ``backend NAME``."""
    callspec = getattr(item, "callspec", None)
    params: Mapping[str, Any] = callspec.params if callspec is not None else {}
    fixture = next((name for name in CASE_FIXTURES if params.get(name) is not None), None)
    if fixture is None:
        return set()
    case: Case[Target] = params[fixture]
    kinds = {f"backend {case.target.name}", *case.target.kinds}
    if fixture in OF_FIXTURE:
        kinds.add(OF_FIXTURE[fixture])
    if case.load is not None:
        kinds |= {"closed" if case.load.closed else "open"}
    if not any(run.protocol for run in runs):
        # It failed before that was known: nothing is said of what it may have been.
        kinds |= {"sampled", "made", "conversations"}
    for run in runs:
        if run.protocol.get("temperature"):
            kinds.add("sampled")
        if case.load is not None and run.protocol.get("prompts") is None:
            kinds.add("made")
        if run.protocol.get("conversations") is not None:
            kinds.add("conversations")
    return kinds


def idle_options(session: PytestSession) -> list[str]:
    """What to say of each option of the command line that is for other kinds of cases than were measured."""
    if not (seen := session.seen):
        return []
    if session.pairing is not None:
        # The base side may be another server, or in another environment.
        seen = {*seen, *_SERVERS}
    return [
        f"{option} does nothing for the chosen tests: it is for {' or '.join(only)}"
        for option, only in _given(session, seen)
        if only
    ]


def pytests_own(config: pytest.Config) -> list[str]:
    """What to say of ``-r 5``, which is a number of rounds to llama-bench and letters to pytest."""
    number = "".join(sign for sign in config.getoption("reportchars", "") or "" if sign.isdigit())
    return (
        [f"-r {number} is an option of pytest's own: did you mean --llm-rounds={number}?"] if number else []
    )


def _given(session: PytestSession, seen: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Each option of the command line, and in words what it is for; nothing where that was seen."""
    typed = session.options.command_line
    for key, setting in SETTINGS.items():
        if key == "preset" and typed.preset is not None:
            said = {one for source in typed.chain() if source.name for one in source.given}
            idle = {
                one: kinds for one in SETTINGS if one in said and (kinds := _unseen(SETTINGS[one].only, seen))
            }
            option = f"{setting.flag}={typed.values.preset}"
            if len(idle) < len(said):
                option = f"what {option} says of {', '.join(idle)}"
            yield option, list(dict.fromkeys(kind for kinds in idle.values() for kind in kinds))
        elif key in typed and key != "backend_options":
            yield setting.flag, _unseen(setting.only, seen)
    for name in typed.values.backend_options:
        for spec in options_of(name, session.registry).options:
            if spec.name in typed.values.backend_options.of(name):
                option = f"{SETTINGS['backend_options'].flag}={name}.{spec.name}"
                other = f"backend {name}" not in seen
                whose = "servers" if name == SERVER else f"the backend {name}"
                yield option, [whose] if other else _unseen(spec.only, seen)
    for key, setting in SESSION_SETTINGS.items():
        if setting.only and getattr(session.settings, key) != setting.default:
            yield setting.flag, _unseen(setting.only, seen)


def _cut(reason: str) -> str:
    shown = one_line(reason, _LONGEST)
    return f"{shown} (-rs shows all)" if shown.endswith("…") else shown


def _unseen(only: Iterable[str], seen: set[str]) -> list[str]:
    return [] if seen.intersection(only) else [KINDS.get(kind, kind) for kind in only]
