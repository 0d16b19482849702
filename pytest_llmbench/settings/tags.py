"""What can a tag be, of a case of a suite or of a conversation?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_llmbench.settings.yaml_nodes import Items, Node, plain

if TYPE_CHECKING:
    from pytest_llmbench.settings.rows import Schema

TAG = r"[A-Za-z][A-Za-z0-9_]{0,99}"
"""As a pattern."""
_MEANT_ELSEWHERE = (
    *("parametrize", "skip", "skipif", "xfail", "usefixtures", "filterwarnings", "tryfirst", "trylast"),
    *("llm", "timeout", "asyncio"),
)
"""Markers that do something by themselves: a tag may not."""
_MOST = 100


def read_tags(node: Node) -> tuple[str, ...]:
    """The tags that a list has, or the one that a text is.

    :raises UsageError: with its place, for one that cannot be a tag.
    """
    nodes = node.nodes if isinstance(node, Items) else [node]
    if len(nodes) > _MOST:
        node.place.refuse(f"tags: there are more than {_MOST} of them")
    tags = []
    for one in nodes:
        tag = plain(one)
        if not isinstance(tag, str) or not re.fullmatch(TAG, tag):
            one.place.refuse(f"tags: {tag!r} is not a valid tag: use letters, digits and _, a letter first")
        if tag in _MEANT_ELSEWHERE:
            one.place.refuse(f"tags: {tag!r} is a marker that means something else: choose another word")
        tags.append(tag)
    return tuple(dict.fromkeys(tags))


def tags_schema(one: Schema) -> Schema:
    """What :func:`read_tags` takes, where *one* is the schema of a tag."""
    return {"anyOf": [one, {"type": "array", "items": one, "maxItems": _MOST}]}


def tag_schema() -> Schema:
    """The schema of a tag."""
    return {"type": "string", "pattern": f"^{TAG}$"}
