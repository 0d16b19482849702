"""What does a suite say that has no version?

The short form, in which other programs have their runs too: settings stand beside the cases, and some have
another name::

    model: "qwen3_4b"
    backend: "hf"
    warmup: 2
    repeats: 5
    cases:
      - prompt: "Who are you?"
        new_tokens: 32

Cases need no names here, and the aliases of models are in a ``models.yaml`` in the suite's folder or in the
one above it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.suite_rows import CASE_KEYS, ROWS, SUITE_KEYS, refuse_key
from pytest_llmbench.settings.synonyms import short_names
from pytest_llmbench.settings.yaml_nodes import Entry, Items, Node, Scalar, Table

if TYPE_CHECKING:
    from pytest_llmbench.models.aliases import Aliases

MODELS_FILE = "models.yaml"
_LONGEST_WORDS = 40
_OF_SUITES = ("models", "cases")
"""What means the same in both forms."""


def short_form(root: Table) -> dict[str, Entry]:
    """The keys of a suite, as they stand in one with a version.

    :raises UsageError: for a key that there is not, or that only a suite with a version has.
    """
    top: dict[str, Entry] = {}
    settings: dict[str, Entry] = {}
    if "cases" not in root.entries:
        root.place.refuse(
            "the suite does not say its version, and has no cases: write 'version: 1' and 'cases:'"
        )
    for key, entry in root:
        if key == "cases" or (key == "models" and isinstance(entry.node, Table)):
            top[key] = entry
        elif key in SUITE_KEYS and key not in _OF_SUITES:
            entry.place.refuse(f"a suite that has {key!r} says its version: write 'version: 1'")
        else:
            _say(key, entry, settings, "a suite without a version has", [*short_names(), *ROWS, "cases"])
    top["defaults"] = Entry(root.place, Table(settings, root.place))
    cases = top["cases"]
    if isinstance(cases.node, Items):
        taken: set[str] = set()
        nodes = [_case(node, taken) for node in cases.node.nodes]
        top["cases"] = Entry(cases.place, Items(nodes, cases.node.place))
    return top


def aliases_beside(suite: Path) -> Aliases | None:
    """The aliases of the ``models.yaml`` that belongs to a suite; None if there is none.

    :raises UsageError: if the file is not valid.
    """
    for folder in (suite.parent, suite.parent.parent):
        if (file := folder / MODELS_FILE).is_file():
            from pytest_llmbench.models.aliases import read_aliases

            return read_aliases(file)
    return None


def _case(node: Node, taken: set[str]) -> Node:
    """A case with the names of the other form, and with a name of its own."""
    if not isinstance(node, Table):
        return node
    entries: dict[str, Entry] = {}
    for key, entry in node:
        if key in CASE_KEYS:
            entries[key] = entry
        else:
            _say(key, entry, entries, "a case has", [*CASE_KEYS, *short_names(), *ROWS])
    if "name" not in entries:
        entries["name"] = Entry(node.place, Scalar(_name(entries, taken), False, node.place))
    return Table(entries, node.place)


def _say(key: str, entry: Entry, into: dict[str, Entry], who: str, known: list[str]) -> None:
    """Add a setting by its key."""
    name = short_names().get(key, key)
    if name not in ROWS:
        refuse_key(key, entry.place, who, known)
    if name in into:
        entry.place.refuse(f"{key!r} is {name!r}, which was given in line {into[name].place.line} already")
    if name == "backends":
        entry = Entry(entry.place, _backend(entry.node))
    into[name] = entry


def _backend(node: Node) -> Node:
    """A backend by its name; one that is called by the form of its files, such as ``hf``, by its own."""
    from pytest_llmbench.models.forms import FORMS

    if isinstance(node, Scalar) and node.text in FORMS:
        return Scalar(FORMS[node.text].backend, False, node.place)
    return node


def _name(entries: dict[str, Entry], taken: set[str]) -> str:
    """A name of what the case asks and how long the answer is: ``Who-are-you-32``."""
    asked = next((key for key in ROWS if key in entries and key not in SETTINGS), "case")
    prompt = entries["prompt"].node if asked == "prompt" else None
    words = [prompt.text if isinstance(prompt, Scalar) else asked]
    for key in ("prompt_tokens", "max_new_tokens"):
        node = entries[key].node if key in entries else None
        words += [node.text] if isinstance(node, Scalar) else []
    parts = [re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-")[:_LONGEST_WORDS].strip("-") for word in words]
    name = base = "-".join(part for part in parts if part) or "case"
    number = 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    return name
