"""A real browser, which may reach nothing but the files of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parent / "axe" / "axe.min.js"
"""axe-core 4.14.1 (MPL-2.0, its license beside it): finds what people with a screen reader cannot use."""

Opened = Callable[..., Any]


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    """Open a file; at the end, nothing may have been said on the console or asked of a network."""
    pages, said, asked = [], [], []

    def open_file(path: Path, query: str = "", **options: Any) -> Any:
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))

        def only_files(route: Any) -> None:
            url = route.request.url
            if url.startswith("file:"):
                route.continue_()
            else:
                asked.append(url)
                route.abort()

        page.route("**/*", only_files)
        page.goto(path.as_uri() + query)
        return page

    yield open_file
    for page in pages:
        page.close()
    assert said == []
    assert asked == []
