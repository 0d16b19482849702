"""How does pytest see it? Hooks in the order of their life, and nothing else.

https://docs.pytest.org/en/stable/reference/reference.html#hooks
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from pytest_llmbench.errors import LLMBenchError, NoRoomError, UsageError
from pytest_llmbench.metrics.registry import MetricRegistry
from pytest_llmbench.plugin.fixtures import hw_monitor, llm_chat, llm_load, llm_model, llm_server
from pytest_llmbench.plugin.options import add_options, marker_help
from pytest_llmbench.plugin.parametrize import parametrize, parametrize_suite, suite_tests
from pytest_llmbench.plugin.session import MEASURED, SESSION, PytestSession, is_benchmark
from pytest_llmbench.plugin.xdist import (
    Controller,
    check_listing,
    check_workers,
    is_controller,
    mark,
    pass_on,
    refuse_options,
    refuse_suite,
)
from pytest_llmbench.settings.kinds import CASE_FIXTURES

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.terminal import TerminalReporter

__all__ = ["hw_monitor", "llm_chat", "llm_load", "llm_model", "llm_server"]

_ONLY_OURS = -2
"""The verbosity at which pytest shows nothing but failures."""
METRICS = pytest.StashKey[MetricRegistry]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_addoption"""
    add_options(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_load_initial_conftests"""
    if any(argument.startswith("--llm-") for argument in args):
        from pytest_llmbench.plugin.rootdir import misled

        if (told := misled(early_config, parser)) is not None:
            raise pytest.UsageError(told)
    result = yield
    # Now every plugin and conftest has said which options it has.
    if any(argument.startswith("-") for argument in args):
        from pytest_llmbench.plugin.hints import unknown_options

        if (told := unknown_options(parser, args)) is not None:
            raise pytest.UsageError(told)
    return result


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_addhooks"""
    from pytest_llmbench.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_configure"""
    config.addinivalue_line("markers", marker_help())
    metrics = config.stash[METRICS] = MetricRegistry()
    try:
        config.hook.pytest_llmbench_register_metrics.call_historic(kwargs={"registry": metrics})
        session = PytestSession(config)
        session.check_command_line()
        session.resume()
        if session.settings.listing is not None:
            check_listing(config)
    except LLMBenchError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[SESSION] = session
    if session.settings.listing == "json":
        config.option.verbose = min(config.option.verbose, _ONLY_OURS)
    if is_controller(config):
        config.pluginmanager.register(
            Controller(config, session.settings.progress_every), "llmbench-controller"
        )


def pytest_report_header(config: pytest.Config) -> str:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_report_header"""
    from pytest_llmbench.report.header import header_line

    session = config.stash[SESSION]
    registry = session.registry
    held = session.options.settings()
    backends = [registry.get(name) for name in registry.names()]
    return header_line(backends, options=held.backend_options.given, one_thread=held.clock == "cpu")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_collect_file"""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    # Every other file of YAML belongs to somebody else, unless it is named itself.
    if not file_path.stem.endswith(".llm") and not parent.session.isinitpath(file_path):
        return None
    from pytest_llmbench.plugin.suites import SuiteModule

    module: pytest.Module = SuiteModule.from_parent(parent, path=file_path)
    return module


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_make_collect_report"""
    report = yield
    # Where a test is named, the session collects its file inside its own collection, which would swallow it.
    if (refused := collector.config.stash[SESSION].refused) is not None:
        refuse_suite(collector.config, report, refused)
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_generate_tests"""
    if not (used := [name for name in CASE_FIXTURES if name in metafunc.fixturenames]):
        return
    session = metafunc.config.stash[SESSION]
    problem = None
    try:
        if not session.settings.disable:
            check_workers(metafunc.config)
        if (tests := suite_tests(metafunc)) is not None:
            parametrize_suite(metafunc, tests)
            return
        marker = session.marker(metafunc.definition, metafunc.function)
        parametrize(metafunc, *session.selector.cases(used, marker))
    except UsageError as error:
        problem = str(error)
    if problem is not None:
        pytest.fail(problem, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, object, object]:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_collection_modifyitems"""
    session = config.stash[SESSION]
    settings = session.settings
    if settings.tags:
        from pytest_llmbench.plugin.choose import check_tags

        try:
            check_tags(settings.tags, items)
        except UsageError as error:
            refuse_options(config, str(error))
            items.clear()
    # What pytest and other plugins leave out is no benchmark of those that are counted here.
    result = yield
    chosen = items
    if settings.chooses:
        from pytest_llmbench.plugin.choose import choose

        chosen, notes = choose(session, items)
        session.note(notes)
        pass_on(config, notes)
    if session.kept is not None:
        from pytest_llmbench.plugin.choose import left_to_measure

        chosen, note = left_to_measure(session.kept, chosen)
        session.note([note])
    if settings.only:
        chosen = [item for item in chosen if is_benchmark(item)]
    left = set(chosen)
    if others := [item for item in items if item not in left]:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen
    skip = pytest.mark.skip(reason="LLM benchmarks are skipped (--llm-skip)")
    for item in items if settings.skip else ():
        if is_benchmark(item):
            item.add_marker(skip)
    return result


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_report_collectionfinish"""
    session = config.stash[SESSION]
    # Where lines of JSON are asked for, there is nothing else.
    notes = () if session.settings.listing == "json" else session.notes
    return [f"llmbench: {note}" for note in notes]


def pytest_collection_finish(session: pytest.Session) -> None:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_collection_finish"""
    config = session.config
    ours = config.stash[SESSION]
    benchmarks = [item for item in session.items if is_benchmark(item)]
    if config.option.collectonly or ours.settings.listing is not None or not (benchmarks or ours.kept):
        return
    try:
        ours.collected(benchmarks)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtestloop"""
    ours = session.config.stash[SESSION]
    failed = session.testsfailed and not session.config.option.continue_on_collection_errors
    if ours.settings.listing is None or failed or session.config.option.collectonly:
        return None
    from pytest_llmbench.plugin.listing import show

    show(session, ours)
    return True


def pytest_deselected(items: list[pytest.Item]) -> None:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_deselected"""
    if items:
        items[0].config.stash[SESSION].leave_out(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_call"""
    __tracebackhide__ = True
    try:
        result = yield
    except NoRoomError as error:
        raise pytest.skip.Exception(str(error), _use_item_location=True) from None
    recording = item.config.stash[SESSION].recording
    if recording is not None and (model := item.stash.get(MEASURED, None)) is not None:
        recording.judge(item, model)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_makereport"""
    report = yield
    if is_benchmark(item):
        mark(report, len(item.config.stash[SESSION].planned))
    recording = item.config.stash[SESSION].recording
    if recording is not None and (model := item.stash.get(MEASURED, None)) is not None:
        recording.see(item, model, report, None if call.excinfo is None else call.excinfo.value)
        if report.when == "teardown":
            from pytest_llmbench.plugin import remarks

            kinds = remarks.kinds_of(item, [one.run for one in model.measurements])
            item.config.stash[SESSION].measured(kinds)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_sessionfinish"""
    ours = session.config.stash[SESSION]
    if is_controller(session.config):
        ours.merge_workers()
    try:
        if ours.kept is not None:
            # Its verdict is on all that it has measured, also before.
            if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
                session.exitstatus = pytest.ExitCode.OK
            if session.exitstatus == pytest.ExitCode.OK and ours.kept.failed:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if ours.recording is not None:
            ours.recording.finish(session, ours.deselected)
    finally:
        ours.close()


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_terminal_summary"""
    session = config.stash[SESSION]
    recording = session.recording
    if recording is not None:
        recording.summarize(terminalreporter)
    from pytest_llmbench.plugin import remarks

    # With -rs pytest shows them itself, and who asked for --llm-skip knows.
    shown = terminalreporter.hasopt("s") or session.settings.skip
    skipped = [] if shown else remarks.skipped(terminalreporter.stats.get("skipped", ()))
    idle = remarks.idle_options(session)
    idle += remarks.pytests_own(config) if session.seen else []
    if (skipped or idle) and (recording is None or not recording.shown):
        terminalreporter.write_sep("=", "LLM benchmarks")
    for line in skipped:
        terminalreporter.write_line(f"Skipped: {line}", yellow=True)
    for line in idle:
        terminalreporter.write_line(f"Note: {line}", yellow=True)
    if recording is not None:
        recording.conclude(terminalreporter)


def pytest_unconfigure(config: pytest.Config) -> None:
    """https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_unconfigure"""
    if (session := config.stash.get(SESSION, None)) is not None:
        session.close()
    if (metrics := config.stash.get(METRICS, None)) is not None:
        metrics.close()
