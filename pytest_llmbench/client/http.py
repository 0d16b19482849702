"""Where does a response end, and what is its body?

HTTP/1.1 as far as a load needs it (RFC 9112). The same reader runs twice: while the level runs it only
follows the framing, because the end of a response is when the next request is due; afterwards it takes
the body out. A body may be chunked, of known length, or end with its connection.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

from pytest_llmbench.client import native

MAX_HEAD = 64 * 1024
"""Bytes of a response's head, of one line of its framing, and of its trailers."""
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_SHORT = 6
_SIZES: dict[bytes, int] = {}
"""What short lines with a chunk's size mean, the line break included. Sizes come again and again, and to
look one up takes half as long as to check and read it."""
_SHOWN = 2048
"""Bytes of what a server sent that a message repeats: far more than are shown in the end, because a secret
that is cut cannot be found and masked any more."""

_STATUS, _HEADER, _LENGTH, _UNTIL_CLOSE, _SIZE, _CHUNK, _CHUNK_END, _TRAILER, _DONE = range(9)


class MalformedError(Exception):
    """The response breaks HTTP's rules; the message says how."""


class Response:
    """Reads one response, however its bytes are cut into segments."""

    __slots__ = (
        "_connection",
        "_held",
        "_left",
        "_lines",
        "_seen",
        "_state",
        "_version",
        "ended",
        "excess",
        "headers",
        "status",
    )

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        """Names in lower case; what came twice is joined by commas."""
        self.ended = False
        """Whether the body came to its end."""
        self.excess = False
        """Whether bytes followed the end: they were not asked for, and the next response would begin with
        them."""
        self._state = _STATUS
        self._left = 0
        """Bytes of the body that come before there is something to look at."""
        self._held = b""
        """The beginning of a line."""
        self._lines: list[bytes] = []
        self._seen = 0
        """Bytes of the head, or of the trailers."""
        self._version = ""
        self._connection: set[str] = set()

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request after this response."""
        if not self.ended or self.excess or self._state != _DONE or "close" in self._connection:
            return False
        return self._version != "HTTP/1.0" or "keep-alive" in self._connection

    @property
    def until_close(self) -> bool:
        """Whether the body ends with its connection."""
        return self._state == _UNTIL_CLOSE

    @property
    def inside_chunks(self) -> bool:
        """Whether nothing but chunks can come until a segment :func:`may_end` the response."""
        return self._state in (_SIZE, _CHUNK, _CHUNK_END) and not self._held

    def feed(self, data: bytes, body: list[bytes] | None = None) -> bool:
        """Read on; returns whether the response has ended.

        :param body: gets the bytes of the body that *data* holds.
        :raises MalformedError: for what HTTP does not allow.
        """
        if self._left > len(data):
            self._left -= len(data)
            if body is not None:
                body.append(data)
            return False
        return self._read(data, body)

    def close(self, *, whole: bool = True) -> bool:
        """The connection has ended; returns whether the response is complete with that.

        :param whole: whether the end was meant; without that it may have been cut anywhere.
        :raises MalformedError: if what had come is not HTTP.
        """
        if self._state == _UNTIL_CLOSE:
            self.ended = whole
        elif self._state == _STATUS and self._held and not self._held.startswith(b"HTTP/1."):
            self._refuse("the response begins with", self._held)
        return self.ended

    def _read(self, data: bytes, body: list[bytes] | None) -> bool:
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                if body is not None:
                    body.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    if self._state == _LENGTH:
                        self._end()
                    else:
                        self._state = _CHUNK_END
            elif self._state == _DONE:
                self.excess = True
                break
            elif self._state == _SIZE and not self._held and (end := _skip_chunks(data, at, body)) > at:
                at = end
            else:
                end = data.find(b"\n", at)
                if end < 0:
                    self._hold(data[at:])
                    break
                line = self._held + data[at : end + 1]
                self._held = b""
                at = end + 1
                self._take_line(line)
        return self.ended

    def _hold(self, start: bytes) -> None:
        """Keep the beginning of a line, unless it cannot become a good one."""
        self._held += start
        if self._state == _STATUS and not b"HTTP/1.".startswith(self._held[:7]):
            self._refuse("the response begins with", self._held)
        if self._state == _CHUNK_END and self._held != b"\r":
            self._refuse("a chunk is longer than its size: it goes on with", self._held)
        self._count(len(self._held))

    def _count(self, more: int) -> None:
        if self._seen + more > MAX_HEAD:
            what = "a chunk's size or trailer" if self._state in (_SIZE, _TRAILER) else "the head"
            msg = f"{what} is longer than {MAX_HEAD // 1024} KiB"
            raise MalformedError(msg)

    def _take_line(self, line: bytes) -> None:
        if self._state == _SIZE:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                self._refuse("a chunk's size is", line)
            self._left = int(match[1], 16)
            self._state = _CHUNK if self._left else _TRAILER
            if self._left and len(line) <= _SHORT:
                _SIZES[line] = self._left
            return
        if self._state == _CHUNK_END:
            if line != b"\r\n":
                self._refuse("a chunk is longer than its size: it goes on with", line)
            self._state = _SIZE
            return
        self._count(len(line))
        self._seen += len(line)
        line = line.rstrip(b"\r\n")
        if self._state == _TRAILER:
            if not line:
                self._end()
        elif self._state == _STATUS:
            if not re.match(rb"HTTP/1\.\d [1-5]\d\d(?: |$)", line):
                self._refuse("the response begins with", line)
            self._lines = [line]
            self._state = _HEADER
        elif line:
            self._lines.append(line)
        else:
            self._take_head()

    def _take_head(self) -> None:
        lines, self._lines, self._seen = self._lines, [], 0
        version, code = lines[0].split(b" ")[:2]
        status = int(code)
        if status < 200:
            if status == 101:
                self._refuse("the server changes the protocol, which was not asked for:", lines[0])
            self._state = _STATUS
            return
        self.status = status
        self._version = version.decode()
        headers = self.headers
        name = ""
        for line in lines[1:]:
            if line[:1] in b" \t":
                # A folded line (RFC 9112, section 5.2).
                if not name:
                    self._refuse("the first header is", line)
                headers[name] = f"{headers[name]} {line.decode('latin-1').strip()}"
                continue
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not name or name != name.strip():
                self._refuse("a header is", line)
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self._connection = _words(headers.get("connection", ""))
        self._choose_framing(status)

    def _choose_framing(self, status: int) -> None:
        """How the body ends (RFC 9112, section 6.3)."""
        headers = self.headers
        coding = headers.get("content-encoding", "identity").lower()
        if coding != "identity" and 200 <= status < 300:
            msg = f"the response is compressed ({coding[:_SHOWN]}), which was not asked for"
            raise MalformedError(msg)
        transfer = headers.get("transfer-encoding")
        length = headers.get("content-length")
        if status in (204, 304):
            self._end()
        elif transfer is not None:
            if transfer.lower().strip() != "chunked":
                self._refuse("the response has the Transfer-Encoding", transfer.encode("latin-1"))
            self._state = _SIZE
        elif length is not None:
            lengths = {part.strip() for part in length.split(",")}
            if len(lengths) > 1 or not re.fullmatch("[0-9]{1,15}", length := lengths.pop()):
                self._refuse(
                    "the response has the Content-Length", headers["content-length"].encode("latin-1")
                )
            self._left = int(length)
            self._state = _LENGTH
            if not self._left:
                self._end()
        else:
            self._left = sys.maxsize
            self._state = _UNTIL_CLOSE

    def _end(self) -> None:
        self._state = _DONE
        self.ended = True

    def _refuse(self, what: str, data: bytes) -> NoReturn:
        shown = data[:_SHOWN].decode("latin-1").rstrip("\r\n")
        msg = f"{what} {shown!r}"
        raise MalformedError(msg)


def may_end(segment: bytes) -> bool:
    """Whether a segment from inside a chunked body can have its end.

    The line before the end begins with 0 (RFC 9112, section 7.1), and a line begins with its segment or
    after a line break. What follows that line is no longer :attr:`Response.inside_chunks`.
    """
    return segment[:1] == b"0" or b"\n0" in segment


def _skip_chunks(data: bytes, at: int, body: list[bytes] | None) -> int:
    """Where *data*, in which a chunk begins at *at*, has something else than whole chunks.

    Servers write an event as a chunk, and whole chunks are what nearly every segment holds.
    """
    if body is None and native.skip_chunks is not None:
        return native.skip_chunks(data, at)
    while at < len(data):
        begin = data.find(b"\r\n", at) + 2
        size = _SIZES.get(data[at:begin])
        if size is None or data[begin + size : begin + size + 2] != b"\r\n":
            break
        if body is not None:
            body.append(data[begin : begin + size])
        at = begin + size + 2
    return at


def _words(value: str) -> set[str]:
    return {word.strip().lower() for word in value.split(",")}


def body_of(segments: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The body of the response in *segments*: its pieces, each with the arrival of its segment.

    What comes before a mistake in the framing is there.
    """
    response = Response()
    pieces = []
    for arrival, data in segments:
        parts: list[bytes] = []
        with suppress(MalformedError):
            response.feed(data, parts)
        if parts:
            pieces.append((arrival, parts[0] if len(parts) == 1 else b"".join(parts)))
    return pieces
