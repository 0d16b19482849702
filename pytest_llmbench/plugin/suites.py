"""How does pytest see a suite?

As a module that was never a file of Python: a :class:`pytest.Module` whose module object is made here, with
one function a case. So fixtures, ids, ``-k``, ``-m``, ``--lf``, xdist, JUnit and the gate do with it what
they do with any other test file.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.cases.suites import expand_suite
from pytest_llmbench.errors import UsageError, one_line
from pytest_llmbench.plugin.parametrize import POINT, marks_of
from pytest_llmbench.plugin.session import SESSION
from pytest_llmbench.processes.garbage import gc_paused
from pytest_llmbench.settings.suite import SuiteCase, read_suite

if TYPE_CHECKING:
    from pytest_llmbench.bench.chat import LLMChat
    from pytest_llmbench.bench.load import LLMLoad
    from pytest_llmbench.bench.model import LLMModel
    from pytest_llmbench.cases.suites import SuiteTest
    from pytest_llmbench.settings.kinds import Fixture
    from pytest_llmbench.settings.suite import Point

_LONGEST_MESSAGE = 600
_MANY = 1000
"""Tests of a suite from which on the garbage collector's work is felt."""


class SuiteModule(pytest.Module):
    """A suite."""

    llmbench_tests: dict[str, Sequence[SuiteTest]]
    """The tests of each case, by its name, while they are collected."""
    _made: ModuleType | None = None
    _alike: dict[object, pytest.Function | None]
    """One test of each kind of cases that pytest has made; None for a kind of which it makes each."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """The tests of every case.

        :raises pytest.Collector.CollectError: if the suite is not valid.
        """
        with gc_paused():
            found = list(self._collect())
        if len(found) >= _MANY:
            _keep_from_garbage_collection()
        return found

    def _collect(self) -> Iterable[pytest.Item | pytest.Collector]:
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
        known = {"__name__": suite.path.name, "_ask": _ask}
        for case, _ in expanded:
            setattr(module, case.name, _function(case, known))
        self._made = module
        self._alike = {}
        self.llmbench_tests = {case.name: tests for case, tests in expanded}
        try:
            return super().collect()
        finally:
            self.llmbench_tests.clear()

    def _genfunctions(self, name: str, funcobj: Any) -> Iterator[pytest.Function]:
        """The tests of one case, which pytest calls so.

        It finds out anew for each function which fixtures that has and what its parameters are, which takes
        longer than all the rest. For the cases of one kind the answer is the same, and is asked once.
        """
        tests = self.llmbench_tests[name]
        kind = funcobj.__code__.co_varnames, tuple(mark.name for mark in getattr(funcobj, "pytestmark", ()))
        like = self._alike.get(kind)
        if like is not None and all(_is_plain(test.id) for test in tests):
            yield from (_another(like, name, test) for test in tests)
            return
        made = list(super()._genfunctions(name, funcobj))
        if kind not in self._alike:
            self._alike[kind] = made[0] if self._can_be_alike(made, tests) else None
        yield from made

    def _can_be_alike(self, made: Sequence[pytest.Function], tests: Sequence[SuiteTest]) -> bool:
        """Whether pytest has *made* just the *tests* of a case, and would do so of any other of its kind."""
        hooks = self.ihook.pytest_generate_tests.get_hookimpls()
        if not all(hook.function.__module__ in _WHO_PARAMETRIZES for hook in hooks):
            return False
        if len(made) != len(tests):
            return False
        try:
            # The first and the last tell: parameters of others multiply all.
            ends = {0: tests[0], len(tests) - 1: tests[-1]}
            return all(
                _about(made[place]) == _about(_another(made[0], made[place].originalname, test))
                for place, test in ends.items()
            )
        except (AttributeError, TypeError):
            # This pytest is of another make inside.
            return False

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


_WHO_PARAMETRIZES = ("_pytest.python", "_pytest.fixtures", "pytest_llmbench.plugin")


def _is_plain(name: str) -> bool:
    """Whether pytest leaves an id as it is."""
    return name.isascii() and name.isprintable() and "\\" not in name


def _about(item: pytest.Function) -> tuple[object, ...]:
    """What tells a test from another one."""
    spec = item.callspec
    return item.nodeid, item.name, spec.id, spec.params, spec.indices.keys(), item.own_markers


def _another(like: pytest.Function, name: str, test: SuiteTest) -> pytest.Function:
    """A *test* of a case with that *name*, where *like* is one of another case of its kind."""
    selected = test.selected
    params: dict[str, object] = {
        key: test.point if key == POINT else selected.case for key in like.callspec.params
    }
    marks = [mark.mark for mark in marks_of(selected, test.point.tags)]
    spec = replace(like.callspec, params=params, _idlist=[test.id], marks=marks)
    made: pytest.Function = pytest.Function.from_parent(
        like.parent,
        name=f"{name}[{test.id}]",
        callspec=spec,
        fixtureinfo=like._fixtureinfo,
        keywords={test.id: True},
        originalname=name,
    )
    return made


def _keep_from_garbage_collection() -> None:
    """Let the collector pass over what there is by now: it is kept to the end, and looked through often.

    What a session before this one has left in the same process is not kept longer.
    """
    gc.unfreeze()
    gc.freeze()


def _function(case: SuiteCase, known: dict[str, Any]) -> Callable[..., None]:
    """The function of a case, for which *known* are the names of its module.

    Its code is said to stand in the suite where the case does: pytest and warnings point there.
    """
    ask: Any = _ASKING[case.fixture]
    code = ask.__code__.replace(
        co_filename=str(case.place.file), co_firstlineno=case.place.line, co_name=case.name
    )
    function: Any = FunctionType(code, known, case.name)
    for tag in case.tags:
        function = getattr(pytest.mark, tag)(function)
    made: Callable[..., None] = function
    return made


# In one line each: then a traceback shows the line of the case.
_ask_model = lambda llm_model, llm_point: _ask(llm_model, llm_point)  # noqa: E731
_ask_load = lambda llm_load, llm_point: _ask(llm_load, llm_point)  # noqa: E731
_ask_chat = lambda llm_chat, llm_point: _ask(llm_chat, llm_point)  # noqa: E731
_ASKING: Mapping[Fixture, Any] = {"llm_model": _ask_model, "llm_load": _ask_load, "llm_chat": _ask_chat}


def _ask(fixture: LLMModel | LLMLoad | LLMChat, point: Point) -> None:
    """Measure what a case asks."""
    __tracebackhide__ = True
    asked = point.asked
    if fixture.fixture == "llm_chat":
        assert asked.conversation is not None
        fixture.run(asked.conversation)
        return
    said = {
        "prompt_tokens": asked.prompt_tokens,
        "task": asked.task,
        "conversation": asked.conversation,
    }
    more: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    fixture.measure(asked.prompt if asked.messages is None else asked.messages, **more)


def _register(config: pytest.Config, tags: Iterable[str]) -> None:
    """Let pytest know the tags as markers, so that ``--strict-markers`` passes."""
    known = {re.split(r"[:(]", line)[0].strip() for line in config.getini("markers")}
    for tag in tags:
        if tag not in known:
            config.addinivalue_line("markers", f"{tag}: a tag of a suite's cases")
