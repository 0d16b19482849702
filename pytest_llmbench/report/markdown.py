"""What do the measured cases look like in a pull request or a README?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.errors import printable
from pytest_llmbench.report import rows

if TYPE_CHECKING:
    from pytest_llmbench.report.blocks import Blocks
    from pytest_llmbench.results.records import CaseRecord


def markdown_table(cases: Iterable[CaseRecord], extra: Sequence[str] = ()) -> str:
    """A GitHub-flavoured Markdown table of *cases*, numbers to the right, with a line for each mark.

    It has the columns of a wide terminal's table and the *extra* ones; conversations and load levels have
    tables of their own. Ends with a newline.
    """
    models, turns, loads = rows.Kinds.of(cases)
    texts = []
    if models or not (turns or loads):
        columns = [*rows.columns(models, wide=True), *rows.requested(extra)]
        texts.append(_table(models, columns, rows.legend(models, wide=True)))
    if measured := [case for case in turns if case.processes]:
        from pytest_llmbench.report.turns import blocks

        texts.append(_blocks(blocks(measured, wide=True, extra=extra)))
    if loads:
        from pytest_llmbench.report import load, load_turns

        columns = [*load.columns(loads, wide=True), *rows.requested(extra)]
        texts.append(_table(loads, columns, load.legend(loads, wide=True)))
        if (by_turn := load_turns.blocks(loads)) is not None:
            texts.append(_blocks(by_turn))
    return "\n".join(texts)


def _table(known: Sequence[CaseRecord], columns: Sequence[rows.Column], marks: Sequence[str]) -> str:
    lines = _heads(["case", *(column.head for column in columns)])
    for group in rows.grouped(known):
        lines.append(_line([f"**{escaped(f'{group.file}::{group.function}')}**", *("" for _ in columns)]))
        for case, label in zip(group.cases, group.labels, strict=True):
            lines.append(_line([escaped(label), *(escaped(column.cell(case)) for column in columns)]))
    return _with_notes(lines, marks)


def _blocks(table: Blocks) -> str:
    # Each below its own title, which in a table's first column would make that as wide.
    lines: list[str] = []
    for block in table.blocks:
        heads = [head.replace("/ ", "/") for head in table.heads]
        lines += [f"**{escaped(f'{block.file}::{block.title}')}**", "", *_heads(heads)]
        for row in block.rows:
            strong = "**" if row.style == "bold" else ""
            lines.append(_line([f"{strong}{escaped(cell)}{strong}" if cell else "" for cell in row.cells]))
        lines.append("")
    return _with_notes(lines[:-1], table.legend)


def _heads(heads: Sequence[str]) -> list[str]:
    return [_line(heads), _line([":---", *("---:" for _ in heads[1:])])]


def _with_notes(lines: Sequence[str], marks: Sequence[str]) -> str:
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
