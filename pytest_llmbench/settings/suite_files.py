"""What do a suite and the files that it extends say together?"""

from __future__ import annotations

import os
from pathlib import Path

from pytest_llmbench.models.paths import from_folder, there_is
from pytest_llmbench.settings.suite_rows import ROWS, SUITE_KEYS, VERSION, clashing, refuse_key
from pytest_llmbench.settings.suite_short import short_form
from pytest_llmbench.settings.yaml_nodes import Entry, Place, Table, plain, read_yaml, shown_path

_MOST_FILES = 10
"""That extend each other."""


def extended(path: Path) -> dict[str, Entry]:
    """The keys of a file, with those of the files that it extends, each where it stands."""
    found: dict[str, Entry] = {}
    seen: list[Path] = []
    place: Place | None = None
    while True:
        if path in seen or len(seen) >= _MOST_FILES:
            assert place is not None
            way = " -> ".join(shown_path(one) for one in [*seen, path])
            many = f"more than {_MOST_FILES} files extend each other"
            place.refuse(f"the suite extends itself: {way}" if path in seen else many)
        if place is not None and not (there_is(path) and path.is_file()):
            place.refuse(f"extends: there is no file {shown_path(path)}")
        seen.append(path)
        top = _top(path)
        for key, entry in top.items():
            found[key] = _both(key, found[key], entry) if key in found else entry
        if "extends" not in top:
            break
        place, other = top["extends"]
        text = plain(other)
        if not isinstance(text, str):
            other.place.refuse("extends is the path of one other suite")
        path = Path(os.path.normpath(from_folder(text, path.parent)))
    if "cases" not in found:
        Place(seen[0], 1, 1).refuse("the suite has no cases: write 'cases:' and a list")
    return found


def _top(path: Path) -> dict[str, Entry]:
    """The keys of one file."""
    root = read_yaml(path)
    if root is None:
        Place(path, 1, 1).refuse("the suite is empty: write 'version: 1' and 'cases:'")
    if not isinstance(root, Table):
        root.place.refuse("a suite is a table that begins with 'version: 1'")
    if "version" not in root.entries:
        return short_form(root)
    for key, entry in root:
        if key not in SUITE_KEYS:
            if key in ROWS:
                entry.place.refuse(f"{key!r} is a setting of cases: write it under defaults, or in a case")
            refuse_key(key, entry.place, "a suite has", list(SUITE_KEYS))
    version = root.entries["version"]
    if plain(version.node) != VERSION or isinstance(plain(version.node), bool):
        version.node.place.refuse(
            f"version {plain(version.node)!r} is not known: this program reads version 1"
        )
    return root.entries


def _both(key: str, ours: Entry, theirs: Entry) -> Entry:
    """What holds of a key that two files have: ours, and in tables of names their others too."""
    node = ours.node
    if (
        key in ("models", "variables", "presets", "defaults")
        and isinstance(node, Table)
        and isinstance(theirs.node, Table)
    ):
        entries = {**theirs.node.entries, **node.entries}
        if key == "defaults":
            ours_only = node.entries
            entries = {
                name: one
                for name, one in entries.items()
                if name in ours_only or not clashing(name, ours_only)
            }
        return Entry(ours.place, Table(entries, node.place))
    return ours
