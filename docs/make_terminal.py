"""What does a session look like on a terminal?

Runs pytest on the README's example, for real, and writes what it prints as ``docs/images/terminal.svg``. Use
it on a quiet machine: other load is marked in the table. ``python docs/make_terminal.py``
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "terminal.svg"
COLUMNS = 88
COMMAND = "pytest test_speed.py --llm-backend=llamacpp"
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""
"""Rich's own form, without the fonts that it has a browser fetch from elsewhere."""


def example() -> str:
    """The README's example."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r'```python title="test_speed.py"\n(.*?)```', text, re.DOTALL)
    assert found is not None
    return found[1]


def session(folder: Path) -> str:
    """What pytest prints, with its colors."""
    (folder / "test_speed.py").write_text(example(), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", *COMMAND.split(), "-p", "no:cacheprovider", "--color=yes"],
        cwd=folder,
        env={**os.environ, "COLUMNS": str(COLUMNS)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def shown(printed: str) -> str:
    """What is printed, without the lines that only concern who ran it."""
    lines = printed.split("\n")
    dropped = ("benchmark: ", "rootdir: ", "plugins: ", "platform ")
    return "\n".join(line for line in lines if not line.startswith(dropped)).rstrip()


def main() -> None:
    """Run the example and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        printed = session(Path(folder))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), COMMAND))
    console.print(Text.from_ansi(shown(printed)))
    svg = console.export_svg(title="pytest-llmbench", theme=MONOKAI, code_format=FORMAT, unique_id="llmbench")
    PICTURE.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
