"""How is one case of a document read, without all the others?"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.processes.garbage import gc_paused
from pytest_llmbench.results.document import CASES, END, read_case, read_document
from pytest_llmbench.results.records import Header, ResultsDocument
from pytest_llmbench.results.upgrade import NOW, major_of


def read_one_case(path: Path | str, position: int) -> ResultsDocument:
    """The document with one of its cases alone, the one at *position* from 0.

    Of a document that is laid out as we write it, the lines before it are passed over unread.

    :raises ResultsError: if the document cannot be read, or has no such case.
    """
    path = Path(path)
    document = _by_lines(path, position)
    if document is None:
        document = read_document(path)
        document.cases = document.cases[position : position + 1] if position >= 0 else []
    if not document.cases:
        msg = f"{path} has no case at position {position}"
        raise ResultsError(msg)
    return document


def _by_lines(path: Path, position: int) -> ResultsDocument | None:
    """As above; None where the file is laid out in another way, or is another version's."""
    try:
        with path.open("rb") as file, gc_paused():
            head = file.readline()
            if not head.endswith(CASES) or position < 0:
                return None
            header = Header.model_validate_json(head + END)
            if major_of(header.schema_version) != NOW:
                return None
            for place, line in enumerate(file):
                if line == END:
                    break
                if place == position:
                    document = ResultsDocument.model_validate(header.model_dump())
                    document.cases = [read_case(line.removesuffix(b"\n").removesuffix(b","), NOW)]
                    return document
    except (OSError, ValueError, ValidationError):
        # Whoever reads it whole says what is wrong.
        return None
    return None
