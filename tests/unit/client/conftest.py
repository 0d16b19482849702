"""With what is a load received in these tests?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_llmbench.client import native
from pytest_llmbench.client.plan import Receiver


@pytest.fixture(scope="module", params=["native", "python"])
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    """Both ways to receive, one after the other: with what was built from C, and without."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.setattr(native, "receive", None)
            patch.setattr(native, "skip_chunks", None)
        elif native.receive is None:
            pytest.skip("the native part was not built: is there a C compiler?")
        yield request.param
