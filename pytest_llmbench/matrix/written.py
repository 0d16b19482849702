"""How is one case of a suite written as a suite of its own, for whichever folder and node?

Paths become absolute, and ``${`` in a text, whose variables are filled in already, is written so that it
stays. What a hash is made of has the content of files in place of their paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.models.paths import from_folder
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.secrets import mask_data
from pytest_llmbench.settings.options import BackendOptions
from pytest_llmbench.settings.suite_rows import CASE_KEYS, ROWS
from pytest_llmbench.settings.yaml_nodes import Items, Node, Scalar, Table, plain

if TYPE_CHECKING:
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.settings.suite import Suite
    from pytest_llmbench.settings.yaml_nodes import Entry


class Writer:
    """Writes the parts of one suite."""

    def __init__(self, suite: Suite, registry: Registry) -> None:
        self._suite = suite
        self._registry = registry

    def head(self) -> dict[str, Any]:
        """Models and presets, which every case has."""
        top = self._suite.written
        found: dict[str, Any] = {"version": 1}
        if "models" in top and isinstance(models := top["models"].node, Table):
            found["models"] = {name: _alias(entry) for name, entry in models}
        if "presets" in top and isinstance(presets := top["presets"].node, Table):
            found["presets"] = {
                name: self.settings(entry.node) if isinstance(entry.node, Table) else {}
                for name, entry in presets
            }
        return found

    def defaults(self) -> dict[str, Any]:
        """The suite's defaults."""
        entry = self._suite.written.get("defaults")
        return self.settings(entry.node) if entry is not None and isinstance(entry.node, Table) else {}

    def cases(self) -> dict[str, dict[str, Any]]:
        """What each case says, by its name; without its sweep."""
        node = self._suite.written["cases"].node
        assert isinstance(node, Items)
        tables = [one for one in node.nodes if isinstance(one, Table)]
        found = (self.settings(one) for one in tables)
        return {str(_text_of(table, "name")): case for table, case in zip(tables, found, strict=True)}

    def settings(self, table: Table) -> dict[str, Any]:
        """The settings of one table, each with its paths absolute."""
        found: dict[str, Any] = {}
        for key, (place, node) in table:
            said = plain(node)
            folder = place.file.parent
            if key == "sweep" and key in CASE_KEYS:
                continue
            if key == "name":
                said = _text_of(table, key)
            elif key in ROWS and (ROWS[key].path or key == "conversation"):
                said = _located(key, said, folder)
            elif key == "backend_options" and isinstance(said, Mapping):
                said = dict(BackendOptions(said).located(self._registry, folder).given)
            found[key] = escaped(said)
        return found


def escaped(said: Any) -> Any:
    """The same, for a reader that fills in variables."""
    if isinstance(said, str):
        return said.replace("${", "$${")
    if isinstance(said, list):
        return [escaped(one) for one in said]
    return {key: escaped(one) for key, one in said.items()} if isinstance(said, Mapping) else said


def hashed(said: Any) -> Any:
    """The same for a hash: with the content of files for their paths, and without secrets."""
    return mask_data(_contents(said))


def _contents(said: Any) -> Any:
    if isinstance(said, str):
        if not said.startswith("/"):
            return said
        path, sign, part = said.partition("#")
        return f"{_content(path)}{sign}{part}"
    if isinstance(said, list):
        return [_contents(one) for one in said]
    return {key: _contents(one) for key, one in said.items()} if isinstance(said, Mapping) else said


@cache
def _content(path: str) -> str:
    """A hash of a file; the path of what is none."""
    try:
        with Path(path).open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError:
        return path


def _located(key: str, said: object, folder: Path) -> object:
    """A path, or a conversation that may be one."""
    if not isinstance(said, str):
        return said
    path, sign, name = said.partition("#")
    if key == "conversation" and not from_folder(path, folder).is_file():
        # The name of one that comes with the package.
        return said
    return f"{from_folder(path, folder)}{sign}{name}"


def _alias(entry: Entry) -> object:
    """A model that the suite names, whose texts stay texts: a revision 0123 keeps its zero."""
    folder, node = entry.place.file.parent, entry.node
    if isinstance(node, Scalar):
        return model_at(node.text, folder)
    assert isinstance(node, Table)
    said = {key: one.node.text if isinstance(one.node, Scalar) else plain(one.node) for key, one in node}
    return {key: model_at(text, folder) if key == "model" else text for key, text in said.items()}


def model_at(name: str, folder: Path) -> str:
    """A model's name; a path is absolute."""
    return str(from_folder(name, folder)) if ModelSpec(name).is_path else name


def _text_of(table: Table, key: str) -> object:
    node: Node = table.entries[key].node
    return node.text if isinstance(node, Scalar) else plain(node)
