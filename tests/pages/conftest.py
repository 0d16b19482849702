"""A real browser in front of a real service, which measures a real model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parents[1] / "browser" / "axe" / "axe.min.js"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a service answers whose jobs take seconds."""
    pytest.importorskip("llama_cpp")
    folder = tmp_path_factory.mktemp("service")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment |= {
        "LLMBENCH_STORE": str(folder / "store"),
        "LLMBENCH_MODELS": "tiny",
        "LLMBENCH_BACKENDS": "llamacpp",
        "LLMBENCH_SUITES": str(folder),
        # Whatever else this machine does is not what is looked at here.
        "PYTEST_ADDOPTS": "--llm-monitor-rate=0",
    }
    environment.pop("LLMBENCH_DATABASE_URL", None)
    environment.pop("DATABASE_URL", None)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest_llmbench", "serve", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            cwd=folder,
            text=True,
        )
        assert process.stdout is not None
        said = re.search(r"http://[0-9.:]+", process.stdout.readline())
        if said is None:
            pytest.fail((folder / "log").read_text())
        yield said[0]
        process.terminate()
        process.wait(30)


class Watched:
    """Opens pages of the service, and notes whatever is not as it should be."""

    def __init__(self, browser: Any, address: str) -> None:
        self._browser, self.address = browser, address
        self._contexts: list[Any] = []
        self.wrong: list[str] = []

    def open(self, path: str, **options: Any) -> Any:
        """A page of its own, which may ask this service alone."""
        context = self._browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.wrong.append(message.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda asked: self._asked(asked.url))
        page.goto(self.address + path)
        return page

    def _asked(self, url: str) -> None:
        if not url.startswith(self.address):
            self.wrong.append(f"asked {url}")

    def close(self) -> None:
        """Close every page."""
        for context in self._contexts:
            context.close()


@pytest.fixture
def watched(browser: Any, address: str) -> Iterator[Watched]:
    """At the end, nothing may have been said on a console, or asked of another host."""
    made = Watched(browser, address)
    yield made
    made.close()
    assert made.wrong == []


def violations(page: Any) -> list[str]:
    """What axe finds, and whether the page is wider than its window."""
    page.evaluate(AXE.read_text())
    run = "axe.run().then(found => found.violations.map(one => one.id + ': ' + one.nodes[0].html))"
    found: list[str] = page.evaluate(run)
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    return [*found, "it scrolls to the side"] if wide else found
