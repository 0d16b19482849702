"""What may a file of YAML or JSON say of the settings, as a JSON Schema?

For editors that complete and check what is written, and for whoever reads such a file before this package
does. What the schema takes, :meth:`pytest_llmbench.settings.rows.Setting.read` takes too; of what it cannot
express (a length of 0 tokens inside a text, a threshold without its unit), the reader has the last word.

https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_llmbench.settings.case import NO_PRESET, SETTINGS
from pytest_llmbench.settings.kinds import KINDS
from pytest_llmbench.settings.presets import DESCRIPTION, EXTENDS, NAME

if TYPE_CHECKING:
    from pytest_llmbench.backends.base import OptionSpec
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.settings.rows import Schema, Setting

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES: Mapping[type, str] = {int: "integer", float: "number", str: "string", bool: "boolean"}


def settings_schema(registry: Registry | None = None, rows: Mapping[str, Setting] = SETTINGS) -> Schema:
    """The schema of a mapping of settings, by their keys; none is required, and there are no others.

    :param registry: whose backends, and the servers, say which options they have; without it, there may be
        any option of any backend.
    """
    properties = {key: _of_row(row) for key, row in rows.items()}
    if registry is not None and "backend_options" in properties:
        from pytest_llmbench.servers.options import SERVER, options_of

        table, lines = properties["backend_options"]["anyOf"]
        owners = {name: options_of(name, registry).options for name in (*registry.names(), SERVER)}
        backends = {name: _of_backend(options) for name, options in owners.items()}
        table = {**table, "properties": backends, "additionalProperties": False}
        properties["backend_options"] = {**properties["backend_options"], "anyOf": [table, lines]}
    return {"$schema": DIALECT, "type": "object", "properties": properties, "additionalProperties": False}


def presets_schema(registry: Registry | None = None) -> Schema:
    """The schema of presets by their names; see :meth:`pytest_llmbench.settings.presets.Presets.extended`."""
    one = settings_schema(registry, {key: row for key, row in SETTINGS.items() if key != "preset"})
    own = {
        DESCRIPTION: {"type": "string", "description": "What it is for."},
        EXTENDS: {"type": "string", "description": "The preset that it goes on from."},
    }
    settings = {key: _or_null(of) for key, of in one["properties"].items()}
    return {
        "$schema": DIALECT,
        "type": "object",
        "propertyNames": {"pattern": f"^(?!{NO_PRESET}$){NAME}$"},
        "additionalProperties": {
            "type": "object",
            "properties": {**own, **settings},
            "additionalProperties": False,
        },
    }


def _or_null(of: Schema) -> Schema:
    """What takes null too: the default."""
    kept = {key: value for key, value in of.items() if key != "description"}
    return {"anyOf": [kept, {"type": "null"}], "description": of["description"]}


def _of_row(row: Setting) -> Schema:
    only = f" Only for {' or '.join(KINDS[kind] for kind in row.only)}." if row.only else ""
    default = f" Default: {row.default_text}." if row.default_text else ""
    return {**row.read_value.schema(), "description": f"{row.help}.{default}{only}"}


def _of_backend(options: tuple[OptionSpec, ...]) -> Schema:
    return {
        "type": "object",
        "properties": {spec.name: _of_option(spec) for spec in options},
        "additionalProperties": False,
    }


def _of_option(spec: OptionSpec) -> Schema:
    """What is read by a function of its own may be anything; of the rest, null is the default."""
    if spec.parse is not None:
        return {"description": spec.help}
    schema: dict[str, object] = {"type": [_TYPES[spec.type], "null"], "description": spec.help}
    if spec.choices:
        schema["enum"] = [*spec.choices, None]
    if spec.minimum is not None:
        schema["minimum"] = spec.minimum
    if spec.maximum is not None:
        schema["maximum"] = spec.maximum
    return schema
