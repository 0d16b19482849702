"""What may a suite say, as a JSON Schema?

For editors that complete and check what is written. What :func:`pytest_llmbench.settings.suite.read_suite`
takes, the schema takes too; of what it cannot express (two cases of one name, a variable that is not set),
the reader has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_llmbench.settings.matrix_table import matrix_schema
from pytest_llmbench.settings.schema import DIALECT, presets_schema, settings_schema
from pytest_llmbench.settings.suite_rows import CASE_KEYS, NAME, ROWS, SUITE_KEYS, VERSION
from pytest_llmbench.settings.sweep import KEYS, TYPES
from pytest_llmbench.settings.tags import tag_schema, tags_schema
from pytest_llmbench.settings.variables import NAME as VARIABLE

if TYPE_CHECKING:
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.settings.rows import Schema

_SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{"}
"""What stands for something else."""


def suite_schema(registry: Registry | None = None) -> Schema:
    """The schema of a suite.

    :param registry: as of :func:`pytest_llmbench.settings.schema.settings_schema`.
    """
    definitions = {key: _or_variable(of) for key, of in settings_schema(registry, ROWS)["properties"].items()}
    settings: dict[str, Schema] = {key: {"$ref": f"#/$defs/{key}"} for key in ROWS}
    sweep = _sweep()
    own: dict[str, Schema] = {
        "name": {
            "anyOf": [
                {"type": "string", "pattern": f"^{NAME}$"},
                {"type": "integer", "minimum": 0},
                _VARIABLE,
            ]
        },
        "tags": tags_schema({"anyOf": [tag_schema(), _VARIABLE]}),
        "sweep": {"anyOf": [sweep, {"type": "null"}]},
    }
    own = {key: {**own[key], "description": CASE_KEYS[key]} for key in CASE_KEYS}
    case = {**_object({**own, **settings}), "required": ["name"]}
    parts: dict[str, Schema] = {
        "version": {"const": VERSION},
        "extends": {"type": "string", "minLength": 1},
        "models": _nullable(_models()),
        "presets": _nullable(_presets(settings)),
        "variables": _nullable(
            {
                "type": "object",
                "propertyNames": {"pattern": f"^{VARIABLE}$"},
                "additionalProperties": _SCALAR,
            }
        ),
        "defaults": _nullable(_object(settings)),
        "sweep": {"anyOf": [sweep, {"type": "null"}]},
        "cases": {"type": "array", "items": case, "minItems": 1},
        "matrix": matrix_schema(),
    }
    properties = {key: {**parts[key], "description": SUITE_KEYS[key]} for key in SUITE_KEYS}
    return {
        "$schema": DIALECT,
        **_object(properties),
        "required": ["version"],
        "anyOf": [{"required": ["cases"]}, {"required": ["extends"]}],
        "$defs": definitions,
    }


def _presets(settings: Mapping[str, Schema]) -> Schema:
    """As they are elsewhere, with variables."""
    made = {key: value for key, value in presets_schema().items() if key != "$schema"}
    one = made["additionalProperties"]
    said = {
        key: {"anyOf": [settings[key], {"type": "null"}]} if key in settings else of
        for key, of in one["properties"].items()
    }
    return {**made, "additionalProperties": {**one, "properties": said}}


def _sweep() -> Schema:
    """Paths begin with the key of a setting; the reader judges their values."""
    path = {"pattern": rf"^({'|'.join(map(re.escape, ROWS))})(\.|$)"}
    values = {"anyOf": [{"type": "array", "minItems": 1}, {"type": "string", "minLength": 3}]}
    table = {"type": "object", "propertyNames": path, "minProperties": 1}
    points = {"type": "array", "items": table, "minItems": 1}
    parts: dict[str, Schema] = {
        "type": {"anyOf": [{"enum": list(TYPES)}, _VARIABLE]},
        "parameters": {"anyOf": [{**table, "additionalProperties": values}, points]},
        "exclude": {"type": "array", "items": table},
    }
    return {**_object({key: parts[key] for key in KEYS}), "required": ["parameters"]}


def _models() -> Schema:
    from pytest_llmbench.models.aliases import ALIAS_KEYS

    one = _object(dict.fromkeys(ALIAS_KEYS, _SCALAR))
    return {"type": "object", "additionalProperties": {"anyOf": [{"type": "string", "minLength": 1}, one]}}


def _object(properties: dict[str, Any]) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _nullable(of: Schema) -> Schema:
    return {**of, "type": ["object", "null"]}


def _or_variable(of: Schema) -> Schema:
    """What may also be a variable."""
    kept = {key: value for key, value in of.items() if key != "description"}
    return {"anyOf": [kept, _VARIABLE], "description": of["description"]}
