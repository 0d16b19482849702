"""What does a terminal show of a text with control codes?"""

from __future__ import annotations

import re


def shown(text: str) -> list[str]:
    """The lines that a terminal shows after *text*; knows the codes that progress and rich's bars use."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[\??[\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]", text):
        if part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part == "\x1b[K":
            lines[row] = lines[row][:column]
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part in ("\x1b[A", "\x1b[1A"):
            row -= 1
        elif part.startswith("\x1b[") and part[-1] in "mlh":
            pass  # color, and the cursor's own look
        elif part.startswith("\x1b[") and part.endswith("C"):
            column += int(part[2:-1])
        else:
            lines[row] = lines[row].ljust(column)[:column] + part + lines[row][column + 1 :]
            column += 1
    return lines
