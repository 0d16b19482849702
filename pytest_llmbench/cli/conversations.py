"""Which conversations are there, and what is said in one: ``llmbench conversations``?"""

from __future__ import annotations

from typing import Annotated

import typer

from pytest_llmbench.cli.options import say
from pytest_llmbench.metrics.units import count


def list_conversations(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Show this one, or that of FILE or FILE#NAME, as YAML."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a line of JSON for each conversation.")
    ] = False,
) -> None:
    """List the conversations that come with the package, or show one whole.

    The tokens are those of the longest prompt with its answer, about.
    """
    import json

    from pytest_llmbench.settings.conversation_rows import as_written
    from pytest_llmbench.settings.conversations import find_conversation, shipped_conversations

    found = list(shipped_conversations().values()) if name is None else [find_conversation(name)]
    if as_json:
        for one in found:
            say(json.dumps({**as_written(one), "tokens": one.about_tokens()}))
        return
    if name is not None:
        import yaml

        (one,) = found
        typer.echo(f"# {count(len(one.turns), 'turn')}, about {one.about_tokens():,} tokens in the end")
        text = yaml.safe_dump(
            as_written(one), sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000
        )
        say(text.rstrip())
        return
    rows = [
        (one.name, count(len(one.turns), "turn"), f"{one.about_tokens():,} tokens", one.description)
        for one in found
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    for row, one in zip(rows, found, strict=True):
        tags = f" ({', '.join(one.tags)})" if one.tags else ""
        start = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        say(f"{start}  {row[-1]}{tags}".rstrip())
