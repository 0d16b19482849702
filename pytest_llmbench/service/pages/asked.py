"""What is asked of a page, and what is the answer?

A page is a function of :class:`Asked` that gives an :class:`Answer`. It knows nothing of HTTP beyond that,
and runs in a thread, where it may wait for the database or read a document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_llmbench.service.pages.look import rendered

if TYPE_CHECKING:
    from pytest_llmbench.service.state import Service

LONGEST = 500
"""Characters of a value in an address; a form may have more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, as far as pages read it."""

    service: Service
    address: str
    """Its path."""
    path: Mapping[str, str] = field(default_factory=dict)
    """The parts of it that a route names."""
    query: tuple[tuple[str, str], ...] = ()
    form: tuple[tuple[str, str], ...] = ()
    form_token: str = ""
    """What a form of this page has to have, by which it is known as ours."""

    def one(self, name: str) -> str:
        """The value of *name* in the query; of several the last, of none an empty text."""
        return next((value[:LONGEST].strip() for key, value in reversed(self.query) if key == name), "")

    def text(self, name: str) -> str:
        """The value of the field *name*, as it was typed."""
        return next((value for key, value in reversed(self.form) if key == name), "")

    def many(self, name: str) -> tuple[str, ...]:
        """All values of the field *name*, each once."""
        return tuple(dict.fromkeys(value for key, value in self.form if key == name))


@dataclass(frozen=True, slots=True)
class Choice:
    """A list to choose from: its field's name and label, the values and what they are called."""

    name: str
    label: str
    options: list[tuple[str, str]]
    chosen: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a browser gets."""

    body: str | bytes = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "text/html; charset=utf-8"


Page = Callable[[Asked], Answer]


class NotThereError(Exception):
    """There is nothing at an address; the text says what there is not, and what to do."""


def page(asked: Asked, template: str, *, status: int = 200, **values: object) -> Answer:
    """The page of *template*."""
    above = ("/ui/jobs", "/ui/compare", "/ui/matrix")
    below = next((where for where in above if asked.address.startswith(where)), None)
    html = rendered(template, here=below or asked.address, form_token=asked.form_token, **values)
    return Answer(html, status)


def go_to(address: str) -> Answer:
    """Send the browser to another page, which it asks for with GET."""
    return Answer(status=303, headers={"Location": address})
