"""Is what cannot fit found out before anything is loaded?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.cases import room
from pytest_llmbench.cases.room import Space
from pytest_llmbench.cases.target import EngineTarget, ServerTarget
from pytest_llmbench.models.room import Room
from pytest_llmbench.models.spec import Known, ModelSpec
from pytest_llmbench.settings.sources import Precedence, Source, read_marker

ENGINE = EngineTarget(Registry().get("llamacpp"))
STARTED, RUNS = ServerTarget(engine="vllm"), ServerTarget(base_url="http://h/v1")
SHORT = ModelSpec("org/name", alias="short", known=Known(context_length=1024))
BIG = ModelSpec("org/name", alias="big", known=Known(memory=2**40))


def misfit(target: Any, spec: ModelSpec, *, load: bool = False, **given: Any) -> str | None:
    held = Precedence().settings(Source.of(read_marker([((), given)], "here")))
    return Space().misfit(target, spec, held, load=load)


def test_a_model_that_is_too_large_is_told_with_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[None] = []

    def machine() -> Room:
        looked.append(None)
        return Room(2**30)

    monkeypatch.setattr(room, "this_machine", machine)
    for target in (ENGINE, STARTED):
        assert misfit(target, BIG) == (
            "big needs 1.00 TiB of memory (recommended_memory_gb in the models file), and this machine has "
            "1.00 GiB"
        )
    looked.clear()
    # What runs elsewhere has its own memory, and of what is not said nothing is looked up.
    assert misfit(RUNS, BIG) is misfit(ENGINE, SHORT) is misfit(ENGINE, ModelSpec("tiny")) is None
    assert not looked


@pytest.mark.parametrize(
    ("target", "load", "given", "said"),
    [
        (ENGINE, False, {"max_new_tokens": 1023}, None),
        (ENGINE, False, {"max_new_tokens": 1024}, "a prompt and 1024 more are longer"),
        (STARTED, True, {"prompt_length": 512, "output_length": 512}, None),
        (STARTED, True, {"prompt_length": 512, "output_length": 513}, "requests of 1025 tokens "),
        (STARTED, True, {"prompt_length": "normal:1000:9", "max_new_tokens": 64}, "requests of 1064 tokens "),
        (STARTED, True, {"dataset": "a.jsonl", "max_new_tokens": 1000}, None),
        (STARTED, False, {"backend_options": {"server": {"context": 1024}}}, None),
        (STARTED, False, {"backend_options": {"server": {"context": 2048}}}, "server.context=2048 is longer"),
        (ENGINE, False, {"backend_options": {"server": {"context": 2048}}}, None),
        (RUNS, True, {"prompt_length": 4096}, None),
    ],
)
def test_what_is_longer_than_the_context_is_told(
    target: Any, load: bool, given: dict[str, Any], said: str | None
) -> None:
    found = misfit(target, SHORT, load=load, **given)
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(
            "short has a context of 1024 tokens (context_length in the models file), and " + said
        )
