"""Which tests and machines can be chosen for a board, and what was measured of them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_llmbench.service.pages.asked import Asked
from pytest_llmbench.service.pages.boards import Measured, Work, parameters
from pytest_llmbench.times import iso

if TYPE_CHECKING:
    from pytest_llmbench.service.state import Service

MOST_CASES = 20_000
"""Of the newest, that one board is made from."""
MOST_TESTS = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what can be."""

    test: str
    machine: str
    tests: list[tuple[str, str]]
    machines: list[tuple[str, str]]
    problem: str | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """For a template."""
        return {"test": self.test, "machine": self.machine, "tests": self.tests, "machines": self.machines}


def choose(asked: Asked) -> Choice:
    """The test and the machine of the query, or else those that were measured last."""
    from sqlalchemy import func, select

    from pytest_llmbench.results.index.tables import cases, sessions

    # A test is the part of a case's id before its parameters.
    with asked.service.database.reading() as connection:
        rows = connection.execute(
            select(cases.c.nodeid, func.max(cases.c.session_id)).group_by(cases.c.nodeid)
        ).all()
        found = connection.execute(
            select(sessions.c.machine, sessions.c.cpu, sessions.c.gpus, func.max(sessions.c.id))
            .where(sessions.c.machine.is_not(None))
            .group_by(sessions.c.machine, sessions.c.cpu, sessions.c.gpus)
        ).all()
    newest: dict[str, str] = {}
    for nodeid, session in rows:
        test = nodeid.partition("[")[0]
        newest[test] = max(newest.get(test, ""), session)
    tests = sorted(newest, key=lambda test: newest[test], reverse=True)[:MOST_TESTS]
    machines: dict[str, str] = {}
    for machine, cpu, gpus, _ in sorted(found, key=lambda row: row[3], reverse=True):
        machines.setdefault(machine, ", ".join(part for part in (cpu, gpus) if part) or machine)
    test = asked.one("test") or (tests[0] if tests else "")
    machine = asked.one("machine") or next(iter(machines), "")
    problem = None
    if test and test not in newest:
        problem = f"no session measured the test {test!r}; choose one of the list"
    elif machine and machine not in machines:
        problem = f"there is no session of the machine {machine!r}; choose one of the list"
    return Choice(test, machine, [(one, one) for one in tests], list(machines.items()), problem)


def measured(service: Service, choice: Choice, metrics: Sequence[str]) -> list[Measured]:
    """The cases of a choice that were measured whole, the newest first, with medians of *metrics*."""
    from sqlalchemy import or_, select

    from pytest_llmbench.results.index import tables

    if choice.problem or not choice.test:
        return []
    cases, sessions = tables.cases, tables.sessions
    wanted = (
        select(cases, sessions.c.machine)
        .join(sessions, sessions.c.id == cases.c.session_id)
        .where(
            sessions.c.machine == choice.machine,
            or_(cases.c.nodeid == choice.test, cases.c.nodeid.startswith(f"{choice.test}[", autoescape=True)),
            # A case that the gate failed was measured as well as any; others that failed were not.
            or_(cases.c.outcome == "passed", cases.c.verdict == "fail"),
        )
        .order_by(cases.c.session_id.desc(), cases.c.position)
        .limit(MOST_CASES)
    )
    with service.database.reading() as connection:
        rows = connection.execute(wanted).mappings().all()
        ids = [row["id"] for row in rows]
        values: dict[int, dict[str, float]] = {}
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            of = select(tables.metrics.c.case_id, tables.metrics.c.name, tables.metrics.c.median)
            of = of.where(tables.metrics.c.case_id.in_(some), tables.metrics.c.name.in_(metrics))
            for case, name, value in connection.execute(of):
                values.setdefault(case, {})[name] = value
    return [_measured(row, values.get(row["id"], {})) for row in rows]


def _measured(row: Any, values: dict[str, float]) -> Measured:
    work = Work(
        test=row["nodeid"].partition("[")[0],
        measurement=row["measurement"],
        parameters=parameters(
            row["nodeid"],
            row["model"],
            row["alias"],
            row["quantization"],
            (row["backend"], row["server"] or ""),
        ),
        turn=row["turn"],
        way=row["way"],
        concurrency=row["concurrency"],
        conversations=row["conversations"],
        request_rate=row["request_rate"],
        depth=row["depth"],
        output_tokens=row["output_tokens"],
    )
    return Measured(
        session=row["session_id"],
        position=row["position"],
        nodeid=row["nodeid"],
        started=iso(row["started"].timestamp()),
        machine=row["machine"],
        work=work,
        model=row["alias"] or row["model"],
        quantization=row["quantization"],
        backend=row["backend"],
        values=values,
    )
