"""What do the tests share? The models: built once on a machine, not once a test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from pytest_llmbench import secrets
from pytest_llmbench.models.cache import cache_folder

pytest.register_assert_rewrite("tests.engines.contract")

# pytester gives each test a home of its own, and with it an empty cache folder.
os.environ["LLMBENCH_CACHE"] = str(cache_folder())


@pytest.fixture(autouse=True)
def _no_secret_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's session learned would be masked in the words of the next one's."""
    monkeypatch.setattr(secrets, "_known", {})


@pytest.fixture(autouse=True)
def no_worker_of_xdist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this suite runs in parallel, the sessions that its tests start are still no part of that."""
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def cpus_alone() -> Iterator[None]:
    """An attempt at a cell of a matrix waits for CPUs that another one has: one test at a time makes any."""
    with FileLock(Path(tempfile.gettempdir()) / "llmbench-tests-cpus.lock"):
        yield


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is: the variable ``LLMBENCH_TEST_CHROMIUM`` says, else it is on the PATH."""
    found = shutil.which(os.environ.get("LLMBENCH_TEST_CHROMIUM", "chromium"))
    if found is None:
        pytest.skip("there is no Chromium: install Debian's package chromium, or set LLMBENCH_TEST_CHROMIUM")
    return found


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    """A browser of Playwright's, shared by all tests; each opens its own page."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as driver:
        # Chromium's own sandbox refuses root.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = driver.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        started.close()
