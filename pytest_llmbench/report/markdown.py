"""What do the measured cases look like in a pull request or a README?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.errors import printable
from pytest_llmbench.report import rows

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord


def markdown_table(cases: Iterable[CaseRecord], extra: Sequence[str] = ()) -> str:
    """A GitHub-flavoured Markdown table of *cases*, numbers to the right, with a line for each mark.

    It has the columns of a wide terminal's table and the *extra* ones; load levels have a table of their
    own. Ends with a newline.
    """
    known = list(cases)
    loads = [case for case in known if rows.is_load(case)]
    if not loads:
        columns = [*rows.columns(known, wide=True), *rows.requested(extra)]
        return _table(known, columns, rows.legend(known, wide=True))
    from pytest_llmbench.report import load

    columns = [*load.columns(loads, wide=True), *rows.requested(extra)]
    text = _table(loads, columns, load.legend(loads, wide=True))
    models = [case for case in known if not rows.is_load(case)]
    return f"{markdown_table(models, extra)}\n{text}" if models else text


def _table(known: Sequence[CaseRecord], columns: Sequence[rows.Column], marks: Sequence[str]) -> str:
    lines = [
        _line(["case", *(column.head for column in columns)]),
        _line([":---", *("---:" for _ in columns)]),
    ]
    for group in rows.grouped(known):
        lines.append(_line([f"**{escaped(f'{group.file}::{group.function}')}**", *("" for _ in columns)]))
        for case, label in zip(group.cases, group.labels, strict=True):
            lines.append(_line([escaped(label), *(escaped(column.cell(case)) for column in columns)]))
    # A list, since GitHub joins plain lines, and its items' own marks must not start a list in turn.
    notes = ["", *(f"- {escaped(line)}" for line in marks)] if marks else []
    return "\n".join([*lines, *notes]) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """*text* as Markdown that shows it as it is; what acts on a terminal, or hides, is escaped too."""
    text = printable(text)
    for sign in "\\`*_|<~[":
        text = text.replace(sign, f"\\{sign}")
    return text
