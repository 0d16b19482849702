"""How does pytest show what would run, instead of running it?"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_llmbench.metrics.units import size
from pytest_llmbench.plugin.choose import fixture_of, listed_of, tags_of
from pytest_llmbench.plugin.session import is_benchmark

if TYPE_CHECKING:
    import pytest
    from _pytest.terminal import TerminalReporter

    from pytest_llmbench.cases.case import Case
    from pytest_llmbench.cases.target import Target
    from pytest_llmbench.plugin.session import PytestSession


def show(session: pytest.Session, ours: PytestSession) -> None:
    """Write a line for each benchmark among the tests that would run, as soon as it is known."""
    reporter: TerminalReporter | None = session.config.pluginmanager.get_plugin("terminalreporter")
    write: Callable[[str], None] = print if reporter is None else reporter.write_line
    for item in session.items:
        if is_benchmark(item):
            about = _about(ours, item)
            write(json.dumps(about) if ours.settings.listing == "json" else _text(about))


def _about(session: PytestSession, item: pytest.Item) -> dict[str, Any]:
    """What is known of a benchmark, as JSON has it."""
    fixture, callspec = fixture_of(item), getattr(item, "callspec", None)
    case: Case[Target] | None = None if callspec is None else callspec.params.get(fixture)
    listed = listed_of(session, item)
    memory = None if listed is None else listed.memory
    return {
        "id": item.nodeid,
        "fixture": fixture,
        "skip": next((mark.kwargs.get("reason", "") for mark in item.iter_markers("skip")), None),
        "backend": None if case is None else case.target.label,
        "model": None if case is None else case.spec.label,
        "tags": tags_of(item),
        "prompt_tokens": None if listed is None or listed.prompts is None else list(listed.prompts),
        "new_tokens": None if listed is None else list(listed.answers),
        "context": None if listed is None else listed.context,
        "weights": None if memory is None else memory.weights,
        "kv_cache": None if memory is None else memory.cache,
        "unknown": None if listed is None else listed.unknown,
    }


def _text(about: dict[str, Any]) -> str:
    if about["skip"] is not None:
        return f"{about['id']}  skipped: {about['skip']}"
    if about["new_tokens"] is None:
        return str(about["id"])
    new = sum(about["new_tokens"])
    if about["unknown"] is not None:
        return f"{about['id']}  prompt ? + {new} new tokens ({about['unknown']})"
    turns = len(about["new_tokens"])
    prompts = "/".join(map(str, about["prompt_tokens"]))
    told = [f"{turns} turns, prompts {prompts}" if turns > 1 else f"prompt {prompts}"]
    told[0] += f" + {new} new tokens"
    told.append(f"context {about['context']}")
    if about["kv_cache"] is not None:
        told.append(f"KV cache {size(about['kv_cache'])}")
    return f"{about['id']}  {', '.join(told)}"
