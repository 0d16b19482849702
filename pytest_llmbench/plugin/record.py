"""What does a session keep of what its tests measured, and what does pytest show of it?

How a report of pytest's ends a case; the tables and the lines at the session's end; its exit status. What is
kept, and where: :mod:`pytest_llmbench.results.session`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.errors import LLMBenchError, LLMBenchWarning, ResultsError, UsageError, saying_where
from pytest_llmbench.plugin.parametrize import point_of
from pytest_llmbench.plugin.xdist import session_id, worker_id
from pytest_llmbench.results.environment import snapshot
from pytest_llmbench.results.records import CaseRecord, Outcome
from pytest_llmbench.results.session import ResultsSession
from pytest_llmbench.results.store import Store
from pytest_llmbench.secrets import mask
from pytest_llmbench.settings.kinds import CASE_FIXTURES

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_llmbench.bench.measurement import CaseFixture, Measurement
    from pytest_llmbench.cases.selection import Selector
    from pytest_llmbench.gate.compare import CaseComparison, Comparison
    from pytest_llmbench.plugin.judge import Gating, Judged
    from pytest_llmbench.results.resume import Kept
    from pytest_llmbench.settings.session import SessionSettings

_NO_TEXT = "(no message)"


class Recording:
    """The cases of this session. Use :meth:`open`."""

    def __init__(
        self,
        config: pytest.Config,
        settings: SessionSettings,
        results: ResultsSession,
        gating: Gating | None,
    ) -> None:
        self.gating = gating
        """None where workers measured: each has judged its own cases."""
        self._config = config
        self._settings = settings
        self._results = results
        self._outcomes: dict[str, tuple[Outcome, str | None]] = {}
        self._open: dict[str, tuple[pytest.Item, CaseFixture[Any]]] = {}
        self._judged: dict[str, Judged] = {}
        """By test, until its cases are kept."""
        self._failure: BaseException | None = None
        """By which the last test that was judged ended, if its verdict failed it."""
        self._comparison: Comparison | None = None
        self._notes: list[str] = [] if gating is None else list(gating.notes)

    @classmethod
    def open(
        cls,
        config: pytest.Config,
        settings: SessionSettings,
        selector: Selector,
        items: Sequence[pytest.Item],
        kept: Kept | None = None,
    ) -> Recording:
        """Start the journal, before anything is measured that could not be kept, and the gate.

        *kept* is what the session has measured before it was resumed.

        :raises UsageError: if the store or the folder of ``--llm-json`` cannot be written, and for what the
            options of the gate cannot mean.
        """
        from pytest_llmbench.plugin.judge import open_gate

        results = _open_results(config, settings, kept)
        try:
            gating = open_gate(config, settings, selector, results.store, items)
        except UsageError:
            results.discard()
            raise
        return cls(config, settings, results, gating)

    @classmethod
    def of_workers(cls, config: pytest.Config, settings: SessionSettings) -> Recording | None:
        """The recording of a controller whose xdist workers have written journals, or None."""
        results = ResultsSession.merged(Store(settings.store), session_id(config), json=settings.json)
        return None if results is None else cls(config, settings, results, None)

    def see(
        self,
        item: pytest.Item,
        model: CaseFixture[Any],
        report: pytest.TestReport,
        error: BaseException | None = None,
    ) -> None:
        """Note how one phase of a test ended, by what *error*; after the last one, keep its cases."""
        if error is not None and error is self._failure:
            _place_at_test(item, report, str(error))
        known = self._outcomes.get(item.nodeid)
        outcome = _outcome(report)
        if known is None or outcome != "passed":
            self._outcomes[item.nodeid] = (outcome, None if outcome == "passed" else _message(report))
        self._open[item.nodeid] = (item, model)
        if report.when != "teardown":
            return
        try:
            self._keep(item, model)
        except ResultsError as error:
            report.outcome = "failed"
            report.longrepr = f"{error}\nThe measurements are kept in memory and go into the document."

    def judge(self, item: pytest.Item, model: CaseFixture[Any]) -> None:
        """Let the gate judge what a test has measured, while it can still fail."""
        __tracebackhide__ = True
        if self.gating is None:
            return
        from pytest_llmbench.plugin.judge import judge_test

        model.finish()
        measured = [(self._case(item, model, one), one) for one in model.measurements]
        judged = judge_test(self.gating, measured, self._results.document, model.settings.failures)
        self._judged[item.nodeid] = judged
        for text in judged.warnings:
            # Where the user can do something about it, which is not a line of ours.
            warnings.warn_explicit(LLMBenchWarning(text), None, *_place(item))
        if judged.failure is not None:
            self._failure = pytest.fail.Exception(judged.failure, pytrace=False)
            raise self._failure

    def finish(self, session: pytest.Session, deselected: Collection[str] = ()) -> None:
        """Write the session's document, with the cases of a test that was interrupted.

        *deselected* are the ids of tests that were not to be run: they are not missing.
        """
        if session.exitstatus == pytest.ExitCode.USAGE_ERROR and not (self._results.cases or self._open):
            return  # Refused before anything was measured: an empty document would be the latest one.
        for item, model in list(self._open.values()):
            self._outcomes[item.nodeid] = ("interrupted", "the session was interrupted in this test")
            try:
                model.finish()
            except LLMBenchError as error:
                self._results.note_problem(f"{item.nodeid}: {error}")
            try:
                self._keep(item, model)
            except ResultsError as error:
                self._results.note_problem(str(error))
        if worker_id(self._config) is not None:
            self._results.leave()
            return
        self._results.end(interrupted=session.exitstatus == pytest.ExitCode.INTERRUPTED)
        baselines = self._finish_gate(session, deselected)
        afterwards = [*baselines, *self._reports()]
        session.exitstatus, told = self._results.write(int(session.exitstatus), afterwards)
        self._notes += told

    @property
    def shown(self) -> bool:
        """Whether :meth:`summarize` has anything to show."""
        return worker_id(self._config) is None and bool(
            self._results.document.cases or self._results.problems
        )

    def summarize(self, terminal: TerminalReporter) -> None:
        """The table of all cases, where the document lies, and what went wrong with it."""
        from pytest_llmbench.report.comparison import comparison_table
        from pytest_llmbench.report.table import case_tables, render
        from pytest_llmbench.report.terminal import pytest_terminal

        if not self.shown:
            return
        writer = terminal._tw  # pytest offers no public way to its width and color
        terminal.section("LLM benchmarks")
        screen = pytest_terminal(writer, writer._file)
        table: Any
        for table in case_tables(self._results.document.cases, self._settings.columns):
            terminal.write(render(table, screen))
        if (comparison := self._comparison_shown) is not None:
            terminal.section("LLM comparison" if self.gating and self.gating.judge.compares else "LLM limits")
            table = comparison_table(comparison)
            terminal.write(render(table, screen))
        for note in self._notes:
            terminal.write_line(f"Results: {mask(note)}")
        for path in self._results.written:
            terminal.write_line(f"Results: {_shown(path, self._config)}")
        for problem in self._results.problems:
            terminal.write_line(f"Results: {mask(problem)}", red=True)

    def conclude(self, terminal: TerminalReporter) -> None:
        """Under CI, where only the last lines are read: how much the gate could not judge."""
        from pytest_llmbench.gate.compare import under_ci
        from pytest_llmbench.report.verdicts import unjudged

        comparison = self._comparison_shown
        if not self.shown or comparison is None or not under_ci(os.environ):
            return
        if (told := unjudged(comparison, self._settings.inconclusive)) is not None:
            terminal.write_line(told, yellow=True)

    @property
    def _comparison_shown(self) -> Comparison | None:
        """What the gate said, or what workers have kept of it."""
        from pytest_llmbench.gate.kept import kept_comparison

        return self._comparison or kept_comparison(self._results.document)

    def _finish_gate(self, session: pytest.Session, deselected: Collection[str]) -> list[Callable[[], str]]:
        """Close the comparison. Returns what puts the document into baselines, for when it is written."""
        from pytest_llmbench.gate.promotion import promote, save, why_not_promoted, why_not_saved

        keep: list[Callable[[], str]] = []
        store, document = self._results.store, self._results.document
        name = self._settings.save
        if name is not None and (why := why_not_saved(name, document)) is not None:
            self._results.note_problem(why)
        elif name is not None:
            keep.append(partial(save, name, store, document))
        if self.gating is None:
            return keep
        root, here = self._config.rootpath, self._config.invocation_params.dir
        asked = [here / argument.partition("::")[0] for argument in self._config.args]

        def expected(nodeid: str) -> bool:
            # --lf leaves tests out without deselecting them.
            if nodeid in deselected or self._config.getoption("lf", False):
                return False
            file = root / nodeid.partition("::")[0]
            return any(file.is_relative_to(place) for place in asked)

        judge, place = self.gating.judge, self.gating.place
        self._comparison = judge.comparison(document, expected)
        missing = self._comparison.missing if self._comparison is not None else ()
        if missing and self.gating.policy.missing == "fail" and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if place is not None and (everything := judge.comparison(document)) is not None:
            why = why_not_promoted(place, document, everything, session.testsfailed)
            if why is not None:
                self._results.note_problem(why)
            else:
                keep.append(partial(promote, place, store, document))
        return keep

    def _reports(self) -> list[Callable[[], str]]:
        """What writes the report that was asked for, when the document is in the store."""
        path = self._settings.report
        if path is None:
            return []
        from pytest_llmbench.report.page.forms import write_at_end

        return [partial(write_at_end, path, self._results.document)]

    def _keep(self, item: pytest.Item, model: CaseFixture[Any]) -> None:
        self._open.pop(item.nodeid, None)
        outcome, error = self._outcomes.pop(item.nodeid)
        judged = self._judged.pop(item.nodeid, None)
        verdicts = {} if judged is None else judged.verdicts
        cases = [
            self._case(item, model, one, outcome, error, verdicts.get(one.run.label))
            for one in model.measurements
        ]
        # A test that is run again (by a rerun plugin) replaces what its first run measured.
        self._results.append(*cases)

    def _case(
        self,
        item: pytest.Item,
        model: CaseFixture[Any],
        measured: Measurement,
        outcome: Outcome = "passed",
        error: str | None = None,
        verdict: CaseComparison | None = None,
    ) -> CaseRecord:
        """One measurement of a test as the document keeps it."""
        from pytest_llmbench.bench.measurement import case_of

        return case_of(
            model,
            measured,
            item.nodeid,
            outcome=outcome,
            error=error,
            params=_user_params(item),
            verdict=verdict,
        )


def _user_params(item: pytest.Item) -> dict[str, object]:
    """The values of the user's own ``parametrize`` or of a suite's sweep: not what our fixtures stand for."""
    if (point := point_of(item)) is not None:
        return dict(point.combination.plain)
    callspec = getattr(item, "callspec", None)
    params: dict[str, object] = callspec.params if callspec is not None else {}
    return {name: value for name, value in params.items() if name not in CASE_FIXTURES}


def _place(item: pytest.Item) -> tuple[str, int]:
    """The file and the line of a test."""
    path, line, _ = item.reportinfo()
    return str(path), (line or 0) + 1


def _place_at_test(item: pytest.Item, report: pytest.TestReport, text: str) -> None:
    """Let pytest's lists of failures, which show where each was raised and how, speak of the test."""
    crash: Any = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        (crash.path, crash.lineno), crash.message = _place(item), text


def _outcome(report: pytest.TestReport) -> Outcome:
    if report.failed or hasattr(report, "wasxfail"):
        return "failed" if report.when == "call" else "error"
    return "skipped" if report.skipped else "passed"


def _message(report: pytest.TestReport) -> str:
    """The last words of a failure, without its traceback."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return str(crash.message)
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return str(report.longrepr or _NO_TEXT)


def _open_results(config: pytest.Config, settings: SessionSettings, kept: Kept | None) -> ResultsSession:
    """The results session of this process.

    :raises UsageError: if the store or the folder of ``--llm-json`` cannot be written.
    """
    command = [str(argument) for argument in config.invocation_params.args]
    path = settings.json
    try:
        results = ResultsSession.open(
            Store(settings.store),
            snapshot(config.rootpath, session_id=session_id(config), command=command)
            if kept is None
            else kept.document,
            worker=worker_id(config) if kept is None else kept.part,
            json=path,
        )
    except ResultsError as error:
        msg = f"{error}\nChoose a folder that can be written with --llm-store."
        raise UsageError(msg) from None
    try:
        _check_places(settings)
    except UsageError:
        results.discard()
        raise
    return results


def _check_places(settings: SessionSettings) -> None:
    """Refuse files that could not be written when all is measured.

    :raises UsageError: saying of which option.
    """
    for key in ("json", "report"):
        path = getattr(settings, key)
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            what = "is a folder" if path.is_dir() else f"cannot be written: there is no folder {path.parent}"
            msg = f"--llm-{key}: {path} {what}"
            raise UsageError(msg)
    if settings.report is not None:
        from pytest_llmbench.report.page.forms import check, form_of

        with saying_where("--llm-report"):
            check(form_of(settings.report))


def _shown(path: Path, config: pytest.Config) -> str:
    base = config.invocation_params.dir
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
