"""How does a conversation read that was recorded elsewhere?

``{"messages": [{"role": "user", "content": "..."}, ...]}``, as OpenAI's API has it, and ShareGPT's
``{"conversations": [{"from": "human", "value": "..."}, ...]}``. Both have a ``recorded`` history: what was
answered then stands in the prompts, and what a model answers now is measured and thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pytest_llmbench.errors import few, suggest
from pytest_llmbench.settings.conversation_rows import checked, read_text
from pytest_llmbench.settings.yaml_nodes import Items, Node, Scalar, Table, plain
from pytest_llmbench.workloads.scenarios.conversation import MOST_TURNS, Conversation, Turn


class _Form(NamedTuple):
    """What the messages of a conversation are called."""

    key: str
    who: str
    what: str


_FORMS = (
    _Form("messages", "role", "content"),
    _Form("conversations", "from", "value"),
    _Form("conversations", "role", "content"),
    _Form("conversation", "role", "content"),
)
_ROLES: Mapping[str, str] = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bard", "bing", "model"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
"""Who speaks, by what it is called."""


def form_of(node: Node) -> _Form | None:
    """How a table's messages are called; None if it is not a recorded conversation."""
    if not isinstance(node, Table) or "turns" in node.entries:
        return None
    for form in _FORMS:
        messages = node.entries[form.key].node if form.key in node.entries else None
        if isinstance(messages, Items) and messages.nodes and _is_message(messages.nodes[0], form):
            return form
    return None


def _is_message(node: Node, form: _Form) -> bool:
    return isinstance(node, Table) and form.who in node.entries


def recorded_conversation(node: Table, form: _Form, name: str) -> Conversation:
    """The conversation that was recorded.

    :raises UsageError: with its place, for a message that cannot be read.
    """
    messages = node.entries[form.key].node
    assert isinstance(messages, Items)
    if len(messages.nodes) > 2 * MOST_TURNS:
        messages.place.refuse(f"a conversation has at most {MOST_TURNS:,} turns, and this one has more")
    system: str | None = None
    turns: list[Turn] = []
    before = ""
    for one in messages.nodes:
        role, text = _message(one, form)
        if role == before:
            one.place.refuse(
                f"two messages of the {role} follow each other: make one of them, or leave one out"
            )
        if role == "system" and (before or system is not None):
            one.place.refuse("a message of the system comes first, or is not read: leave it out")
        if role == "assistant" and before != "user":
            one.place.refuse("an answer comes before the first question: leave it out")
        if role == "system":
            system = text
        elif role == "user":
            turns.append(Turn(user=text))
        else:
            turns[-1] = Turn(user=turns[-1].user, answer=text)
        before = role
    if not turns:
        node.place.refuse("a conversation without a message of a person cannot be held")
    said = Conversation(name=name, system=system, history="recorded", turns=tuple(turns))
    return checked(said, node)


def _message(node: Node, form: _Form) -> tuple[str, str]:
    if not isinstance(node, Table) or not {form.who, form.what} <= node.entries.keys():
        node.place.refuse(f"a message is a table with {form.who} and {form.what}")
    who = node.entries[form.who].node
    said = who.text if isinstance(who, Scalar) else ""
    if said not in _ROLES:
        near = suggest(said, list(_ROLES)) or f"; there are {few(list(_ROLES), 20)}"
        who.place.refuse(f"{form.who}: {said!r} cannot be part of a conversation{near}")
    return _ROLES[said], _content(node.entries[form.what].node, form.what)


def _content(node: Node, key: str) -> str:
    """The text of a message, which may be written as a list of parts."""
    if not isinstance(node, Items):
        return read_text(node, key)
    texts = []
    for part in node.nodes:
        entries = part.entries if isinstance(part, Table) else {}
        if "text" not in entries or ("type" in entries and plain(entries["type"].node) != "text"):
            part.place.refuse(f"{key}: only parts of text are read, such as {{type: text, text: Hello}}")
        texts.append(read_text(entries["text"].node, "text"))
    if not texts:
        node.place.refuse(f"{key} is empty: leave the message out")
    return "\n".join(texts)
