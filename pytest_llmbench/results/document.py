"""How is a results document read and written?"""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import pydantic_core
from pydantic import BaseModel, ValidationError

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.processes.garbage import gc_paused
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.files import atomic_write, read_bounded, results_error
from pytest_llmbench.results.records import FACTS, SCHEMA_VERSION, CaseRecord, Header, ResultsDocument
from pytest_llmbench.results.upgrade import (
    NOW,
    OLDEST,
    major_of,
    upgrade_case,
    upgrade_document,
    upgrade_header,
)
from pytest_llmbench.secrets import mask_json


def json_schema() -> Json:
    """The JSON Schema (draft 2020-12) of a results document."""
    schema = {k: v for k, v in ResultsDocument.model_json_schema().items() if k != "title"}
    for record in FACTS:
        described = _described_fields(record)
        for name, field in schema["$defs"][record.__name__]["properties"].items():
            if name in described:
                field["description"] = described[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"pytest-llmbench results document {SCHEMA_VERSION}",
        **schema,
    }


def _described_fields(record: type[BaseModel]) -> dict[str, str]:
    """What the source says below each field of the dataclass that *record* inherits."""
    base = next(one for one in record.__mro__ if "__dataclass_fields__" in vars(one))
    (found,) = ast.parse(inspect.getsource(base)).body
    assert isinstance(found, ast.ClassDef)
    described = {}
    for field, text in pairwise(found.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match text:
                case ast.Expr(value=ast.Constant(value=str(words))):
                    described[field.target.id] = inspect.cleandoc(words)
    return described


def to_json(part: BaseModel) -> bytes:
    """Compact JSON in UTF-8; a value that JSON does not know (a path, a numpy number) is converted."""
    return mask_json(pydantic_core.to_json(part, fallback=_plain))


# A document is one JSON object with a line for the header and one for each case: it can be read
# case by case, which takes half the time and memory, a diff shows cases, and one that was cut off
# is known by its end.
CASES = b',"cases":[\n'
END = b"]}\n"


def write_document(path: Path | str, document: ResultsDocument) -> Path:
    """Write *document* to *path*: whole, or not at all. Returns the path.

    :raises ResultsError: if it cannot be written; what was at *path* before is still there.
    """
    path = Path(path)
    head = mask_json(pydantic_core.to_json(document, exclude={"cases"}, fallback=_plain))
    cases = b",\n".join(to_json(case) for case in document.cases)
    atomic_write(path, b"".join((head[:-1], CASES, cases, b"\n" if cases else b"", END)))
    return path


def read_document(path: Path | str) -> ResultsDocument:
    """Read a results document, however its JSON is laid out.

    :raises ResultsError: if it cannot be read, is damaged, is not a results document, or is one of
        another major version.
    """
    path = Path(path)
    # Collecting garbage amid a million new objects, none of which is garbage, takes longer than
    # making them.
    try:
        with path.open("rb") as file, gc_paused():
            major = _check_version(path, _peek(file.read(_HEADER_BYTES)))
            file.seek(0)
            document = _read_by_lines(file, major)
            if document is None:
                document = _read_whole(read_bounded(path, "the document"), major)
            return document
    except FileNotFoundError as error:
        msg = f"there is no results document {path}"
        raise ResultsError(msg) from error
    except OSError as error:
        raise results_error("read", path, error) from error
    except ValidationError as error:
        raise ResultsError(f"{path} {_explain(error)}") from error


def _read_by_lines(file: BinaryIO, major: int) -> ResultsDocument | None:
    """The document if it is laid out as we write it; None if it is not, or is damaged."""
    head = file.readline()
    if not head.endswith(CASES):
        return None
    try:
        document = _read_whole(head + END, major)
        for line in file:
            if line == END:
                return None if file.read(1) else document
            document.cases.append(read_case(line.removesuffix(b"\n").removesuffix(b","), major))
    except ValidationError:
        pass
    return None


def _read_whole(text: bytes, major: int) -> ResultsDocument:
    """:raises ValidationError: if it is not a document of the *major* version."""
    if major == NOW:
        return ResultsDocument.model_validate_json(text)
    return ResultsDocument.model_validate(upgraded(text, upgrade_document, major))


def read_case(line: bytes, major: int) -> CaseRecord:
    """One case of a document or a journal of the *major* version.

    :raises ValidationError: if it is none.
    """
    if major == NOW:
        return CaseRecord.model_validate_json(line)
    return CaseRecord.model_validate(upgraded(line, upgrade_case, major))


def upgraded(text: bytes, step: Callable[[Json, int], Json], major: int) -> Any:
    """What *step* makes of a JSON object of the *major* version; anything else as it is, to be refused.

    What is not as that version has it stays as it was, too: whoever checks it says what is wrong.
    """
    try:
        found = pydantic_core.from_json(text)
    except ValueError:
        # The checker's words for damaged JSON are the same, whichever version it is of.
        ResultsDocument.model_validate_json(text)
        raise
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        if isinstance(found, dict):
            step(found, major)
    return found


_HEADER_BYTES = 1 << 16


def read_header(path: Path | str) -> Header:
    """Read a document's header alone, in a time that does not grow with its cases.

    A document that was cut off is noticed by its end; damage amid the cases is not.

    :raises ResultsError: as :func:`read_document`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
            size = file.seek(0, 2)
            # With the end of the line before: a case's line may end like the document.
            file.seek(max(0, size - len(END) - 1))
            tail = file.read()
    except OSError as error:
        raise results_error("read", path, error) from error
    peeked = _peek(head)
    if tail == b"\n" + END and "cases" in peeked:
        major = _check_version(path, peeked)
        try:
            header = upgrade_header({k: v for k, v in peeked.items() if k != "cases"}, major)
            return Header.model_validate(header)
        except ValidationError as error:
            raise ResultsError(f"{path} {_explain(error)}") from error
    # Another program's spacing, or a header longer than usual: the whole file tells.
    document = read_document(path)
    return Header.model_validate(document.model_dump(exclude={"cases"}))


def check_version(path: Path, schema_version: object, versions: object) -> int:
    """The major version of a document or journal that this version reads.

    :raises ResultsError: for any other, saying which version wrote it and what to do.
    """
    if not isinstance(schema_version, str) or not re.fullmatch(r"\d+(\.\d+)*", schema_version):
        msg = f"{path} is not a results document of pytest-llmbench: it has no schema_version"
        raise ResultsError(msg)
    major = major_of(schema_version)
    if OLDEST <= major <= NOW:
        return major
    writer = versions.get("pytest-llmbench") if isinstance(versions, dict) else None
    msg = (
        f"{path} has schema version {schema_version}, written by pytest-llmbench "
        f"{writer or 'of an unknown version'}; this one reads {OLDEST}.0 to {NOW}.x: "
        "read it with the version that wrote it, or measure anew"
    )
    raise ResultsError(msg)


def _check_version(path: Path, peeked: Json) -> int:
    if not peeked:
        msg = f"{path} is not a results document of pytest-llmbench, or is damaged at its beginning"
        raise ResultsError(msg)
    return check_version(path, peeked.get("schema_version"), peeked.get("versions"))


def _peek(data: bytes) -> Json:
    """The top-level keys that the first bytes of *data* hold; empty if they are not a JSON object."""
    text = data[:_HEADER_BYTES].decode("utf-8", "ignore")
    try:
        parsed = pydantic_core.from_json(text, allow_partial=True)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _explain(error: ValidationError) -> str:
    """The first thing that is wrong, with where it is."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f"is damaged, or was cut off: {first['msg']}"
    where = ".".join(str(part) for part in first["loc"])
    return f"is damaged, or is not a results document: {where}: {first['msg']}"


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
