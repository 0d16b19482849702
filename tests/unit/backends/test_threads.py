"""Is the default number of threads honest about the machine?"""

from __future__ import annotations

import pytest

from pytest_llmbench.backends import threads
from pytest_llmbench.backends.threads import default_threads


@pytest.mark.parametrize(("usable", "expected"), [(1, 1), (2, 1), (8, 7)])
def test_one_core_stays_free(usable: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: usable)
    assert default_threads() == expected
