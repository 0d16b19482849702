"""What can be asked of the API, for a page made from what ``/openapi.json`` says?"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_DEEPEST = 6
"""Objects that stand in one another, of which the page tells."""


@dataclass(frozen=True, slots=True)
class Field:
    """One value that a request or an answer has."""

    name: str
    """With a dot for each object that it stands in: ``config.prompt``."""
    where: str
    """``path``, ``query``, ``header`` or ``body``."""
    type: str
    required: bool
    about: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method at one address."""

    method: str
    path: str
    title: str
    about: str
    fields: tuple[Field, ...]
    answers: tuple[tuple[str, str, str], ...]
    """Each with its status, what it means, and in which form it comes."""
    example: str
    """As a command line."""


@dataclass(frozen=True, slots=True)
class Group:
    """What belongs together."""

    name: str
    operations: tuple[Operation, ...]


def groups(openapi: Mapping[str, Any], address: str) -> list[Group]:
    """Everything that an OpenAPI document has, in its order; *address* stands before examples' paths."""
    found: dict[str, list[Operation]] = {}
    for path, methods in openapi["paths"].items():
        for method, about in methods.items():
            made = _operation(openapi, path, method.upper(), about, address)
            found.setdefault((about.get("tags") or ["Others"])[0], []).append(made)
    return [Group(name, tuple(operations)) for name, operations in found.items()]


def page(openapi: Mapping[str, Any], address: str) -> str:
    """The page, as HTML: no script, and nothing from elsewhere."""
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # None: a browser would ask for one, and find that there is none.
        '<link rel="icon" href="data:,">',
        "<title>The API of llmbench</title>",
        '<link rel="stylesheet" href="/static/page.css"></head><body><main>',
        f"<h1>The API of llmbench {_text(openapi['info']['version'])}</h1>",
        f"<p>{_text(openapi['info'].get('description', ''))} For tools: ",
        '<a href="/openapi.json">openapi.json</a>. <a href="/">Pages</a>.</p>',
        "<p>Where the service has a token, requests have the header "
        "<code>Authorization: Bearer TOKEN</code>. Errors are <code>application/problem+json</code>.</p>",
    ]
    for group in groups(openapi, address):
        parts.append(f"<h2>{_text(group.name)}</h2>")
        for one in group.operations:
            parts += _section(one)
    return "\n".join([*parts, "</main></body></html>", ""])


def _text(text: str) -> str:
    return html.escape(text)


def _section(one: Operation) -> Iterator[str]:
    yield f"<section><h3><code>{one.method} {_text(one.path)}</code></h3>"
    yield f"<p>{_text(one.about or one.title)}</p>"
    yield f"<pre><code>{_text(one.example)}</code></pre>"
    if one.fields:
        yield "<table><thead><tr><th>Name</th><th>In</th><th>Type</th><th>What it is</th></tr></thead><tbody>"
        for field in one.fields:
            name = _text(field.name) + (", required" if field.required else "")
            cells = (field.where, _text(field.type), _text(field.about))
            yield f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        yield "</tbody></table>"
    answers = "; ".join(f"{status}: {_text(says)}" for status, says, _ in one.answers)
    yield f"<p>Answers: {answers}</p></section>"


def _operation(
    openapi: Mapping[str, Any], path: str, method: str, about: Mapping[str, Any], address: str
) -> Operation:
    body = about.get("requestBody", {}).get("content", {}).get("application/json", {})
    fields = [
        Field(
            one["name"],
            one["in"],
            type_of(openapi, one.get("schema", {})),
            one.get("required", False),
            one.get("description", ""),
        )
        for one in about.get("parameters", ())
    ]
    fields += _body(openapi, body.get("schema", {}))
    answers = tuple(
        (status, one.get("description", ""), ", ".join(one.get("content", {})))
        for status, one in about.get("responses", {}).items()
    )
    example = _example(openapi, body)
    command = f"curl {'' if method == 'GET' else f'-X {method} '}'{address}{path}'"
    if example is not None:
        command += f" -H 'Content-Type: application/json' -d '{json.dumps(example)}'"
    return Operation(
        method,
        path,
        about.get("summary", ""),
        about.get("description", ""),
        tuple(fields),
        answers,
        command,
    )


def _example(openapi: Mapping[str, Any], body: Mapping[str, Any]) -> Any:
    schema = _meant(openapi, body.get("schema", {}))
    given = schema.get("examples") or [schema.get("example")]
    return given[0]


def _body(
    openapi: Mapping[str, Any], schema: Mapping[str, Any], before: str = "", depth: int = 0
) -> Iterator[Field]:
    schema = _meant(openapi, schema)
    needed = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        about = one.get("description", "")
        yield Field(f"{before}{name}", "body", type_of(openapi, one), name in needed, about)
        if depth < _DEEPEST:
            yield from _body(openapi, one, f"{before}{name}.", depth + 1)


def _meant(openapi: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference means; of several that one may be, the first that is an object."""
    if (ref := schema.get("$ref")) is not None:
        meant: Mapping[str, Any] = openapi["components"]["schemas"][ref.rpartition("/")[2]]
        return meant
    for one in schema.get("anyOf", ()):
        if (found := _meant(openapi, one)).get("properties"):
            return found
    return schema


def type_of(openapi: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A schema in a few words: ``integer, 1 to 500``, ``array of string``."""
    if "$ref" in schema:
        return type_of(openapi, _meant(openapi, schema))
    if "anyOf" in schema:
        kinds = [type_of(openapi, one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"array of {type_of(openapi, schema.get('items', {}))}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    if (most := schema.get("maxLength")) is not None:
        return f"{kind}, at most {most} characters"
    return kind
