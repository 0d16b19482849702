"""How does pytest see a suite?

As a module that was never a file of Python: a :class:`pytest.Module` whose module object is made here, with
one function a case. So fixtures, ids, ``-k``, ``-m``, ``--lf``, xdist, JUnit and the gate do with it what
they do with any other test file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.cases.suites import expand_suite
from pytest_llmbench.errors import UsageError, one_line
from pytest_llmbench.plugin.parametrize import SUITE_TESTS
from pytest_llmbench.plugin.session import SESSION
from pytest_llmbench.settings.suite import SuiteCase, read_suite

if TYPE_CHECKING:
    from pytest_llmbench.bench.load import LLMLoad
    from pytest_llmbench.bench.model import LLMModel
    from pytest_llmbench.cases.suites import SuiteTest
    from pytest_llmbench.settings.suite import Point

_LONGEST_MESSAGE = 600


class SuiteModule(pytest.Module):
    """A suite."""

    _made: ModuleType | None = None

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """The tests of every case.

        :raises pytest.Collector.CollectError: if the suite is not valid.
        """
        session = self.config.stash[SESSION]
        try:
            suite = read_suite(
                self.path,
                session.registry,
                session.presets,
                models_beside=session.settings.models_file is None,
            )
            expanded = expand_suite(suite, session.selector)
        except UsageError as error:
            session.refused = one_line(str(error), _LONGEST_MESSAGE)
            raise self.CollectError(session.refused) from None
        _register(self.config, suite.tags)
        module = ModuleType(suite.path.name)
        for case, tests in expanded:
            setattr(module, case.name, _function(case, tests))
        self._made = module
        return super().collect()

    def _getobj(self) -> ModuleType:
        return self._made or ModuleType(self.path.name)

    def _importtestmodule(self) -> ModuleType:
        return self._getobj()

    def funcnamefilter(self, name: str) -> bool:
        """Whatever ``python_functions`` says: each case is a test."""
        return True

    def classnamefilter(self, name: str) -> bool:
        """A suite has no classes."""
        return False


def _function(case: SuiteCase, tests: Sequence[SuiteTest]) -> Callable[..., None]:
    """The function of a case.

    Its code is said to stand in the suite where the case does: pytest and warnings point there.
    """
    ask: Any = _ask_load if case.fixture == "llm_load" else _ask_model
    code = ask.__code__.replace(
        co_filename=str(case.place.file), co_firstlineno=case.place.line, co_name=case.name
    )
    function: Any = FunctionType(code, {"__name__": case.place.file.name, "_ask": _ask}, case.name)
    setattr(function, SUITE_TESTS, tests)
    for tag in case.tags:
        function = getattr(pytest.mark, tag)(function)
    made: Callable[..., None] = function
    return made


# In one line each: then a traceback shows the line of the case.
_ask_model = lambda llm_model, llm_point: _ask(llm_model, llm_point)  # noqa: E731
_ask_load = lambda llm_load, llm_point: _ask(llm_load, llm_point)  # noqa: E731


def _ask(fixture: LLMModel | LLMLoad, point: Point) -> None:
    """Measure what a case asks."""
    __tracebackhide__ = True
    asked = point.asked
    more: dict[str, Any] = {} if asked.prompt_tokens is None else {"prompt_tokens": asked.prompt_tokens}
    fixture.measure(asked.prompt if asked.messages is None else asked.messages, **more)


def _register(config: pytest.Config, tags: Iterable[str]) -> None:
    """Let pytest know the tags as markers, so that ``--strict-markers`` passes."""
    known = {re.split(r"[:(]", line)[0].strip() for line in config.getini("markers")}
    for tag in tags:
        if tag not in known:
            config.addinivalue_line("markers", f"{tag}: a tag of a suite's cases")
