"""How is a text that somebody else wrote shown to a person?

A server, an engine's log, a model's metadata or a results document may hold anything: escape sequences that
clear the screen or write its title, marks that turn a line around, halves of characters that no file takes.
Shown, they are escaped; kept as data, they stay what they are.
"""

from __future__ import annotations

import re

LINE = 400
"""Characters of somebody else's words that a message repeats at most."""

_UNSAFE = re.compile(
    # C0 but tab and line feed, DEL, C1; soft hyphen; marks of direction and isolates; line and paragraph
    # separators; invisible operators; halves of surrogate pairs; byte order mark; interlinear annotations;
    # tags. Joiners (U+200C, U+200D) stay, since words and pictures are written with them.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    r"""*text* with each character that acts on a terminal, or hides, as its escape: ``\x1b``, ``\u202e``.

    Line feeds and tabs stay, and a carriage return before a line feed goes.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_escaped, text.replace("\r\n", "\n"))


def one_line(text: str, most: int = LINE) -> str:
    """*text* as :func:`printable` has it, in one line of *most* characters at most; more end in ``…``."""
    # What is not looked at need not be escaped: a body can be long.
    start = printable(" ".join(text[: 4 * most].split()))
    return start if len(start) <= most and len(text) <= 4 * most else f"{start[:most]}…"


def few(names: list[str] | tuple[str, ...], most: int = 10) -> str:
    """``a, b and 7 more``: of somebody else's list no more than *most*, each in one line."""
    shown = ", ".join(one_line(name, 100) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
