"""What do the measured cases look like on a terminal?

One table for all cases that measured a model and one for all load levels, in groups: a row for each
file, under it one for each test function, under that one for each case. Numbers are never shortened.
Where the cases' ids do not fit beside them, what all ids of a group begin with moves into the group's
own row; if that is not enough, each backend gets such a row; and if an id is still too long, it has a
line of its own above its numbers.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.text import Text

from pytest_llmbench.errors import printable
from pytest_llmbench.report import rows
from pytest_llmbench.report.blocks import WIDE, BlocksTable, Laid, split_heads
from pytest_llmbench.report.terminal import Screen

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord


class Columns(Protocol):
    """What chooses the columns of cases."""

    def __call__(self, cases: Sequence[CaseRecord], *, wide: bool) -> list[rows.Column]: ...


class Legend(Protocol):
    """What explains the marks in them."""

    def __call__(self, cases: Sequence[CaseRecord], *, wide: bool) -> list[str]: ...


_INDENT = "  "
_COLOR = re.compile(r"(\x1b\[[0-9;]*m)")
"""What Rich writes to change the color."""
_ASCII = str.maketrans("µ±×…", "u+x.")


def case_tables(cases: Iterable[CaseRecord], extra: Sequence[str] = ()) -> list[RenderableType]:
    """The tables of *cases*: of those that measured a model, of conversations, and of load levels.

    :param extra: further columns, as :func:`.rows.requested` knows them.

    Those that measured nothing are left out; so is a table without cases.
    """
    models, turns, loads = rows.Kinds.of(case for case in cases if case.processes)
    tables: list[RenderableType] = [CasesTable(tuple(models), extra=tuple(extra))] if models else []
    if turns:
        from pytest_llmbench.report.turns import blocks

        tables.append(BlocksTable(lambda wide: blocks(turns, wide=wide, extra=extra)))
    if loads:
        from pytest_llmbench.report import load, load_turns

        tables.append(CasesTable(tuple(loads), load.columns, load.legend, tuple(extra)))
        if (by_turn := load_turns.blocks(loads)) is not None:
            tables.append(BlocksTable(lambda _: by_turn))
    return tables


def render(table: RenderableType, screen: Screen) -> str:
    """*table* as text for *screen*, without escape codes unless it has colors.

    What its encoding cannot write is replaced by ASCII of the same width; what acts on a terminal and is not
    ours is escaped.
    """
    stream = io.StringIO()
    Console(
        file=stream,
        width=screen.width,
        force_terminal=screen.color,
        color_system="standard" if screen.color else None,
        no_color=not screen.color,
        highlight=False,
        legacy_windows=False,
    ).print(table, crop=False)
    text = "".join(
        part if _COLOR.fullmatch(part) else printable(part) for part in _COLOR.split(stream.getvalue())
    )
    try:
        text.encode(screen.encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII)
    return text


@dataclass(frozen=True, slots=True)
class CasesTable(Laid):
    """The table of cases."""

    cases: tuple[CaseRecord, ...]
    columns: Columns = rows.columns
    legend: Legend = rows.legend
    extra: tuple[str, ...] = ()

    def _lines(self, width: int) -> Iterator[Text]:
        wide = width >= WIDE
        columns = [*self.columns(self.cases, wide=wide), *rows.requested(self.extra)]
        cells = {case.key: [column.cell(case) for column in columns] for case in self.cases}
        names, units = split_heads([column.head for column in columns])
        widths = [max(map(len, column)) for column in zip(names, units, *cells.values(), strict=True)]
        gap = "  " if wide else " "

        def numbers(texts: Sequence[str]) -> str:
            return "".join(gap + text.rjust(size) for text, size in zip(texts, widths, strict=True))

        room = max(width - len(numbers(names)), len("case"))
        blocks = [block for group in rows.grouped(self.cases) for block in _blocks(group, room)]
        first = max([len("case"), *(cell_len(label) for block in blocks for label in block.beside)])

        yield Text(" " * first + numbers(names), style="bold")
        yield Text("case".ljust(first) + numbers(units).rstrip(), style="bold")
        file = None
        for block in blocks:
            if block.group.file != file:
                file = block.group.file
                yield Text(file, style="bold")
            if block.title:
                yield Text(block.title, style="cyan")
            for index, case in enumerate(block.group.cases):
                style = "red" if case.outcome != "passed" else "yellow" if rows.disturbance(case) else ""
                if not block.beside:
                    yield Text(block.above[index], style=style)
                label = block.beside[index] if block.beside else ""
                yield Text(set_cell_size(label, first) + numbers(cells[case.key]).rstrip(), style=style)
        for line in self.legend(self.cases, wide=wide):
            yield Text(line, style="dim")


@dataclass(frozen=True, slots=True)
class _Block:
    """One test function's rows: either all labels stand beside their numbers, or all above."""

    group: rows.Group
    title: str
    beside: tuple[str, ...] = ()
    above: tuple[str, ...] = ()


def _blocks(group: rows.Group, room: int) -> list[_Block]:
    labels = group.labels
    if labels == ("",):
        beside = cell_len(group.function) <= room
        return [_Block(group, "", *(((group.function,), ()) if beside else ((), (group.function,))))]
    if _fits(labels, room):
        return [_Block(group, group.function, _indented(labels))]
    shared = _shared(labels, group.names)
    rest = tuple(label.removeprefix(shared) for label in labels)
    if shared and _fits(rest, room):
        # A space ends the test's own id: what follows it is the measurement's label.
        shared = shared[:-1] if shared.endswith(" ") else f"{shared}…"
        return [_Block(group, f"{group.function}[{shared}]", _indented(rest))]
    parts = group.by_backend()
    if len(parts) > 1:
        return [block for part in parts for block in _blocks(part, room)]
    return [_Block(group, group.function, (), _indented(labels))]


def _fits(labels: Iterable[str], room: int) -> bool:
    return max(map(cell_len, _indented(labels))) <= room


def _shared(labels: Sequence[str], names: Iterable[str]) -> str:
    """What all *labels* begin with, up to and with a space or else a ``-``, so that no word is cut.

    Each of *names* is a word.
    """
    length = 0
    for letters in zip(*labels, strict=False):
        if len(set(letters)) > 1:
            break
        length += 1
    common = labels[0][:length]
    if " " in common:
        return common[: common.rfind(" ") + 1]
    inside = {place for label in labels for name in names for place in _places(name, label)}
    ends = [place for place, letter in enumerate(common) if letter == "-" and place not in inside]
    return common[: ends[-1] + 1] if ends else ""


def _places(name: str, label: str) -> range:
    """Where in *label* the letters of *name* stand, if they do."""
    start = label.find(name)
    return range(start, start + len(name)) if start >= 0 else range(0)


def _indented(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(_INDENT + label for label in labels)
