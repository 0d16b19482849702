"""How do the cases of a test become parameters of pytest's?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmbench.cases.selection import Selected


def parametrize(metafunc: pytest.Metafunc, fixture: str, selected: Iterable[Selected]) -> None:
    """Make one test of each case that was *selected*; what cannot run is a skip with its reason."""
    params = [
        pytest.param(one.case, id=one.id, marks=() if one.skip is None else pytest.mark.skip(reason=one.skip))
        for one in selected
    ]
    metafunc.parametrize(fixture, params, indirect=True)
