"""Does the process that counts tokens answer what it is asked?"""

from __future__ import annotations

import pytest

from pytest_llmbench.errors import EngineError
from pytest_llmbench.measure.tokens_worker import Words


def test_it_loads_once_and_counts_until_it_is_closed() -> None:
    words = Words()
    with pytest.raises(EngineError, match="before a model was loaded"):
        words.handle({"op": "count", "text": "a"})
    load = {
        "op": "load",
        "backend": "tests.fakes.llmbench_fake:backend",
        "spec": {"name": "tiny"},
        "place": ".",
    }
    assert words.handle({**load, "options": {"context": 10}}) == {}
    assert words.handle({"op": "count", "text": "abc"}) == {"tokens": 4}
    text = words.handle({"op": "prompt", "tokens": 30, "seed": 1})["text"]
    assert words.handle({"op": "count", "text": text}) == {"tokens": 30}
    assert words.handle({"op": "close"}) == words.handle({"op": "close"}) == {}
