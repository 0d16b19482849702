"""How does a command get the document that REF names, and cases of it?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.errors import UsageError, few, suggest

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord, ResultsDocument

RefArgument = Annotated[str, typer.Argument(metavar="REF", help="Which document; the newest by default.")]


def read(store: Path, ref: str) -> ResultsDocument:
    """The document that *ref* names; what was passed over on the way is said on standard error."""
    from pytest_llmbench.results.frames import load

    results = load(ref, store)
    warn(results.problems)
    return results.document


def warn(problems: Iterable[str]) -> None:
    """Say what was damaged and passed over."""
    for problem in problems:
        typer.echo(f"llmbench: warning: {problem}", err=True)


def matching(document: ResultsDocument, text: str) -> list[CaseRecord]:
    """The cases with *text* in their id, or whose measurement is called so.

    :raises UsageError: if there is none.
    """
    found = [case for case in document.cases if text in case.nodeid or text == case.measurement]
    if not found:
        near = suggest(text, [case.nodeid for case in document.cases])
        msg = f"no case of session {document.session.id} has {text!r} in its id{near}"
        raise UsageError(msg)
    return found


def one_case(document: ResultsDocument, text: str) -> CaseRecord:
    """The one case with *text* in its id; one whose whole id it is comes first.

    :raises UsageError: if there is none, or there are several.
    """
    from pytest_llmbench.results.records import label_of

    found = matching(document, text)
    ids = {label_of(case.nodeid, case.measurement): case for case in found}
    if len(found) > 1 and text not in ids:
        msg = f"{text!r} is in the ids of {len(found)} cases; use more of one: {few(list(ids))}"
        raise UsageError(msg)
    return ids.get(text, found[0])
