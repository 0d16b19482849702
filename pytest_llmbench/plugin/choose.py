"""Which of the collected benchmarks does the command line choose?

By their tags, by the context that they need, and by how many conversations are to be held. Other tests are
left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_llmbench.errors import UsageError, few, suggest
from pytest_llmbench.metrics.units import count
from pytest_llmbench.plugin.parametrize import point_of
from pytest_llmbench.plugin.session import PytestSession, is_benchmark
from pytest_llmbench.settings.kinds import FIXTURES
from pytest_llmbench.settings.session import SESSION_SETTINGS
from pytest_llmbench.workloads.scenarios.conversation import Conversation

if TYPE_CHECKING:
    from pytest_llmbench.bench.listing import Listed
    from pytest_llmbench.cases.case import Case
    from pytest_llmbench.cases.need import Need
    from pytest_llmbench.cases.target import Target
    from pytest_llmbench.results.resume import Kept
    from pytest_llmbench.settings.kinds import Fixture

_NOT_TAGS = ("llm", "parametrize", "skip", "skipif", "xfail", "usefixtures", "filterwarnings")


def choose(session: PytestSession, items: Sequence[pytest.Item]) -> tuple[list[pytest.Item], list[str]]:
    """The tests that are chosen, in their order, and a line for each option that left some out."""
    settings = session.settings
    benchmarks = [item for item in items if is_benchmark(item)]
    notes: list[str] = []

    def leave_out(key: str, typed: Sequence[str], out: Callable[[pytest.Item], bool]) -> None:
        nonlocal benchmarks
        left = [item for item in benchmarks if not out(item)]
        if gone := len(benchmarks) - len(left):
            notes.append(f"{_said(key, typed)} leaves out {count(gone, 'benchmark')}")
        benchmarks = left

    if settings.tags:
        leave_out("tags", settings.tags, lambda item: not _tagged(item, settings.tags))
    if settings.exclude_tags:
        leave_out("exclude_tags", settings.exclude_tags, lambda item: _tagged(item, settings.exclude_tags))
    if (most := settings.context) is not None:
        longer = {item: _longer(session, item, most) for item in benchmarks}
        leave_out("context", [str(most)], lambda item: longer[item] is True)
        if unknown := sum(one is None for one in longer.values()):
            stay = "stays" if unknown == 1 else "stay"
            notes.append(f"{count(unknown, 'benchmark')} {stay} whose prompts are not known before they run")
    if (some := settings.max_conversations) is not None:
        held = list(dict.fromkeys(_conversation_of(item) for item in benchmarks))
        first = set([one for one in held if one is not None][:some])
        leave_out(
            "max_conversations",
            [str(some)],
            lambda item: (one := _conversation_of(item)) is not None and one not in first,
        )
    chosen = set(benchmarks)
    return [item for item in items if item in chosen or not is_benchmark(item)], notes


def left_to_measure(kept: Kept, items: Sequence[pytest.Item]) -> tuple[list[pytest.Item], str]:
    """The tests that a session has not measured before it was resumed, and a line that says so."""
    chosen = [item for item in items if not is_benchmark(item) or item.nodeid not in kept.done]
    done = count(len(items) - len(chosen), "benchmark")
    return chosen, f"session {kept.document.session.id} goes on: {done} measured before"


def _longer(session: PytestSession, item: pytest.Item, most: int) -> bool | None:
    """Whether a benchmark needs a longer context than *most* tokens; None where that is not known.

    Where an estimate does not tell, the model's own tokenizer does.
    """
    need = need_of(session, item)
    if need is not None and (need.least > most or (need.most is not None and need.most <= most)):
        return need.least > most
    if need is not None and need.tokens is not None:
        return need.tokens > most
    context = None if (listed := listed_of(session, item)) is None else listed.context
    return None if context is None else context > most


def listed_of(session: PytestSession, item: pytest.Item) -> Listed | None:
    """What a benchmark would ask of its model, counted; None for one that cannot run."""
    fixture, callspec, point = fixture_of(item), getattr(item, "callspec", None), point_of(item)
    case: Case[Target] | None = None if callspec is None else callspec.params.get(fixture)
    if fixture is None or case is None or item.get_closest_marker("skip") is not None:
        return None
    asked = conversation_of(item) if point is None else point.asked
    return session.lister.listed(fixture, case, session.item_settings(item), asked)


def need_of(session: PytestSession, item: pytest.Item) -> Need | None:
    """What a benchmark needs of its model's context, as far as that is known before it runs."""
    from pytest_llmbench.cases import need

    fixture = fixture_of(item)
    if fixture is None:
        return None
    held = session.item_settings(item)
    if (point := point_of(item)) is not None:
        return need.of_asked(fixture, held, point.asked)
    if (conversation := conversation_of(item)) is not None:
        return need.of_conversation(held, conversation)
    if fixture == "llm_load":
        return need.of_load(held, made=True)
    return need.of_prompt(held, None)


def fixture_of(item: pytest.Item) -> Fixture | None:
    """What measures a benchmark; None where its own code does."""
    names = getattr(item, "fixturenames", ())
    return next((name for name in FIXTURES if name in names), None)


def conversation_of(item: pytest.Item) -> Conversation | None:
    """The conversation that a suite's test asks, or that is a parameter of a test; None for others."""
    if (point := point_of(item)) is not None:
        return point.asked.conversation
    callspec = getattr(item, "callspec", None)
    values: Iterable[object] = callspec.params.values() if callspec is not None else ()
    return next((value for value in values if isinstance(value, Conversation)), None)


def tags_of(item: pytest.Item) -> list[str]:
    """The markers of a test, but those by which pytest and we mean something, and its conversation's tags."""
    conversation = conversation_of(item)
    tags = () if conversation is None else conversation.tags
    found = dict.fromkeys([*tags, *(mark.name for mark in item.iter_markers())])
    return [tag for tag in found if tag not in _NOT_TAGS]


def _conversation_of(item: pytest.Item) -> tuple[str, str] | None:
    """Which conversation a test holds, whatever holds it; None for a test of something else."""
    if fixture_of(item) != "llm_chat":
        return None
    conversation = conversation_of(item)
    return item.nodeid.partition("[")[0], "" if conversation is None else conversation.name


def _tagged(item: pytest.Item, tags: Sequence[str]) -> bool:
    return not set(tags).isdisjoint(tags_of(item))


def check_tags(tags: Sequence[str], items: Sequence[pytest.Item]) -> None:
    """Refuse a tag that no benchmark among *items* has: a slip would run nothing.

    :raises UsageError: naming the nearest, or those that there are.
    """
    benchmarks = [item for item in items if is_benchmark(item)]
    there = sorted({tag for item in benchmarks for tag in tags_of(item)})
    for tag in tags:
        if benchmarks and tag not in there:
            known = f"there are: {few(there)}" if there else "none has a tag"
            msg = f"{_said('tags', tags)}: no benchmark has the tag {tag!r}{suggest(tag, there)}; {known}"
            raise UsageError(msg)


def _said(key: str, values: Sequence[str]) -> str:
    """An option as it was typed."""
    return f"{SESSION_SETTINGS[key].flag}={few(values)}".replace(", ", ",")
