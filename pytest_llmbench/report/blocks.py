"""What does a table look like whose rows are parts of a case, such as the turns of a conversation?

Each case is a block with a title above its rows. The terminal and Markdown draw the same blocks.
"""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

WIDE = 120
"""Terminal columns from which spread and percentiles are shown too."""
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a text for each column."""

    cells: tuple[str, ...]
    style: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of one case, below its title."""

    file: str
    title: str
    rows: tuple[Row, ...]
    style: str = "cyan"
    """Of the title."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A whole table."""

    heads: tuple[str, ...]
    blocks: tuple[Block, ...]
    legend: tuple[str, ...] = ()


class Laid(ABC):
    """A rich renderable that lays itself out for the width at which it is printed."""

    __slots__ = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._lines(options.max_width):
            line.no_wrap = True
            line.overflow = "ignore"
            yield line

    @abstractmethod
    def _lines(self, width: int) -> Iterator[Text]:
        """Its lines at that width, none of which is to be wrapped or cut."""


@dataclass(frozen=True, slots=True)
class BlocksTable(Laid):
    """The table of blocks."""

    made: Callable[[bool], Blocks]
    """The blocks for a terminal that is wide, or is not."""

    def _lines(self, width: int) -> Iterator[Text]:
        wide = width >= WIDE
        table = self.made(wide)
        names, units = split_heads(table.heads)
        cells = [row.cells for block in table.blocks for row in block.rows]
        widths = [max(map(cell_len, column)) for column in zip(names, units, *cells, strict=True)]
        gap = "  " if wide else " "

        def line(texts: Sequence[str]) -> str:
            aligned = (" " * (size - cell_len(text)) + text for text, size in zip(texts, widths, strict=True))
            return (_INDENT + gap.join(aligned)).rstrip()

        yield Text(line(names), style="bold")
        yield Text(line(units), style="bold")
        file = None
        for block in table.blocks:
            if block.file != file:
                file = block.file
                yield Text(file, style="bold")
            for part in textwrap.wrap(block.title, width, subsequent_indent=_INDENT, break_long_words=False):
                yield Text(part, style=block.style)
            for row in block.rows:
                yield Text(line(row.cells), style=row.style)
        for told in table.legend:
            yield Text(told, style="dim")


def split_heads(heads: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and units: a unit goes below its name, where it costs no width."""
    names, units = zip(*(head.partition(" ")[::2] for head in heads), strict=True)
    return names, units
