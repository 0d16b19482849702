"""What is said of a session's system and of a case's settings where another program asks for them?"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.records import CaseRecord, Header


def system(header: Header) -> Json:
    """The machine, the versions and the commit, as the document has them; null for what is not known."""
    machine = header.machine
    return {
        **({} if machine is None else machine.model_dump()),
        "versions": dict(header.versions),
        "commit": header.commit.model_dump(exclude_none=True),
    }


def settings(case: CaseRecord) -> dict[str, str | int | float | bool]:
    """How a case was measured, with what its engine made of it; what was not set is left out.

    What stands within another setting has its name before it: ``options.n_batch``, ``engine.n_threads``.
    """
    said = case.protocol.model_dump(exclude_none=True)
    engine = case.processes[0].engine if case.processes else {}
    return dict([*flat(said), *flat(engine, "engine.")])


def flat(values: Json, prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    """Each value with its dotted name; nulls are left out, and a list is one text."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float | bool):
            yield f"{prefix}{name}", value
        elif value is not None:
            yield f"{prefix}{name}", str(value)
