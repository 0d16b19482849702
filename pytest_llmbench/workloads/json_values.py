"""Which JSON values does a file hold, and in which line does each begin?

A file may be an array of them, JSON Lines, or values that take several lines each. It may have hundreds of
megabytes: no more than a value and a piece is held at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TextIO

CHUNK = 1 << 20
"""Characters that are read at once."""
LONGEST = 1 << 24
"""Characters of one value, at most."""
_BLANKS = re.compile(r"[ \t\r\n]*")

Values = Iterator[tuple[int, object]]
"""Each value, or a :class:`Broken` one, and the line in which it begins."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that is not a value; the next one may be."""

    why: str


class MalformedError(Exception):
    """What is wrong in a line of the file, so that it cannot be read on."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def first_character(file: TextIO) -> str:
    """The first that is not blank; empty if there is none. The file goes back to its start."""
    found = _Text(file).peek()
    file.seek(0)
    return found


def json_values(file: TextIO) -> Values:
    """The values of a file whose first character is a bracket or a brace, from its start.

    :raises MalformedError: if an array cannot be read on, or a value that takes several lines.
    """
    if first_character(file) == "[":
        return _array(_Text(file))
    return _one_by_one(_Text(file)) if _spans_lines(file) else _lines(file)


def _spans_lines(file: TextIO) -> bool:
    """Whether the first value takes several lines, or shares its line with another one."""
    first = next((line for line in iter(partial(file.readline, LONGEST), "") if line.strip()), "")
    file.seek(0)
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        try:
            _Text(file).value()
        except MalformedError:
            return False
        finally:
            file.seek(0)
        return True
    return False


def _one_by_one(text: _Text) -> Values:
    while text.peek():
        yield text.line, text.value()


def _lines(file: TextIO) -> Values:
    """Each line that is not blank; the rest of one that is too long is passed over."""
    line = 0
    while text := file.readline(LONGEST):
        line += 1
        if whole := text.endswith("\n") or len(text) < LONGEST:
            if text.strip():
                yield line, _of_line(text)
            continue
        while not whole and (rest := file.readline(LONGEST)):
            whole = rest.endswith("\n")
        yield line, Broken(f"longer than {LONGEST >> 20} million characters")


def _of_line(text: str) -> object:
    try:
        text.encode()
        return json.loads(text)
    except UnicodeEncodeError:
        return Broken("not UTF-8 text")
    except (ValueError, RecursionError):
        return Broken("not one JSON object per line")


def _array(text: _Text) -> Values:
    text.take("[")
    more = text.peek() != "]"
    while more:
        text.peek()
        yield text.line, text.value()
        if more := text.peek() == ",":
            text.take(",")
    text.take("]")
    if found := text.peek():
        msg = f"expected nothing after the JSON array, got {found!r}"
        raise MalformedError(text.line, msg)


class _Text:
    """JSON text that is read from a file as it is needed."""

    def __init__(self, file: TextIO) -> None:
        self.line = 1
        self._file, self._text, self._at = file, "", 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._move(blanks.end() if blanks else self._at)
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, wanted: str) -> None:
        """Go past *wanted*, a character.

        :raises MalformedError: if something else is next.
        """
        if (found := self.peek()) != wanted:
            msg = f"expected {wanted!r} in the JSON array, got {found!r}"
            raise MalformedError(self.line, msg if found else "the JSON array is not closed")
        self._at += 1

    def value(self) -> object:
        """The JSON value that is next.

        :raises MalformedError: if there is none.
        """
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError:
                raise MalformedError(self.line, "an entry is nested too deeply") from None
            except ValueError as error:
                # Most likely it is not read to its end yet.
                if len(self._text) - self._at > LONGEST or not self._more():
                    if not isinstance(error, json.JSONDecodeError):
                        raise MalformedError(self.line, "a number in it is too long") from None
                    line = self.line + self._text.count("\n", self._at, error.pos)
                    raise MalformedError(line, f"expected JSON: {error.msg}") from None
            else:
                self._move(end)
                return value

    def _move(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _more(self) -> bool:
        """Read on; twice as much each time, so that a long entry is not decoded too often."""
        rest = self._text[self._at :]
        more = self._file.read(max(CHUNK, len(rest)))
        if more:
            self._text, self._at = rest + more, 0
        return bool(more)
