"""What does a server that this session did not start have to be started with?

Known from what :mod:`.table` starts it with: nothing is guessed from how a server behaves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pytest_llmbench.servers.table import Need, ServerEngine

_CONTEXT = re.compile(r"context (?:length|window|size)|max_model_len", re.IGNORECASE)
_REFUSED = ("400 ", "413 ", "422 ")


def lacking(engine: ServerEngine | None, command: Sequence[str] | None) -> tuple[Need, ...]:
    """What a server may have been started without; all that it needs where its command line is not known."""
    needs = () if engine is None else engine.needs
    return tuple(need for need in needs if command is None or not _has(command, need.arguments))


def is_of(engine: ServerEngine | None, command: Sequence[str] | None) -> bool:
    """Whether a command line is the engine's own, and not that of what forwards a port to it."""
    return engine is not None and command is not None and engine.program[-1] in " ".join(command)


def warning(needs: Sequence[Need]) -> str | None:
    """What to say of a server before a load if its command line has not what it needs."""
    if not needs:
        return None
    said = (f"has no {' '.join(need.arguments)}: without, it {need.why}" for need in needs)
    return f"the server's command line {'; '.join(said)}"


def advice(
    engine: ServerEngine | None, needs: Sequence[Need], failures: Mapping[str, str], *, started: bool
) -> str:
    """What may help against *failures*, kind to an example: the end of a sentence, or nothing."""
    if engine is None:
        return ""
    for need in needs:
        if need.failure in failures:
            return f"; {engine.name} {need.why}, unless it is started with {' '.join(need.arguments)}"
    said = failures.get("status", "")
    if said.startswith(_REFUSED) and _CONTEXT.search(said) and (how := _context(engine, started=started)):
        return f"; for a longer context {how}, or ask for shorter prompts and answers"
    return ""


def _context(engine: ServerEngine, *, started: bool) -> str | None:
    """How a server gets a longer context."""
    if engine.context:
        plain = " ".join(engine.context).format(context="TOKENS")
    else:
        variable = next((k for k, v in engine.fixed_environment.items() if v and "{context}" in v), None)
        plain = f"{variable}=TOKENS"
        if variable is None:
            return None
    return "set --llm-option server.context=TOKENS" if started else f"start the server with {plain}"


def _has(command: Sequence[str], arguments: Sequence[str]) -> bool:
    words = " ".join(command).replace("=", " ").lower().split()
    wanted = [word.lower() for word in arguments]
    # Of an option that is given twice, the last holds.
    last = max((at for at, word in enumerate(words) if word == wanted[0]), default=len(words))
    return words[last : last + len(wanted)] == wanted
