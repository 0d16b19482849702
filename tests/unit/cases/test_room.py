"""Is what cannot fit found out before anything is loaded?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.cases import room
from pytest_llmbench.cases.need import Need, of_load, of_prompt
from pytest_llmbench.cases.room import Fit, Space
from pytest_llmbench.cases.target import EngineTarget, ServerTarget
from pytest_llmbench.models.outline import Outline
from pytest_llmbench.models.room import Room
from pytest_llmbench.models.spec import Known, ModelSpec
from pytest_llmbench.settings.case import CaseSettings
from pytest_llmbench.settings.sources import Precedence, Source, read_marker

ENGINE = EngineTarget(Registry().get("llamacpp"))
STARTED, RUNS = ServerTarget(engine="vllm"), ServerTarget(base_url="http://h/v1")
SHORT = ModelSpec("org/name", alias="short", known=Known(context_length=1024))
BIG = ModelSpec("org/name", alias="big", known=Known(memory=2**40))


def settings(**given: Any) -> CaseSettings:
    return Precedence().settings(Source.of(read_marker([((), given)], "here")))


def misfit(target: Any, spec: ModelSpec, *, load: bool = False, **given: Any) -> str | None:
    held = settings(**given)
    need = of_load(held, made=True) if load else of_prompt(held, None)
    return Space().fit(target, spec, held).misfit(need)


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


# -- what the model's files say -----------------------------------------------------------------


TINY, LARGE = ModelSpec("tiny"), ModelSpec("synthetic/llama-3.1-8b")
TRANSFORMERS = EngineTarget(Registry().get("transformers"))


def asked(
    target: Any, spec: ModelSpec, prompt: int | None, *, space: Space | None = None, **given: Any
) -> tuple[Fit, Need]:
    held = settings(**given)
    return (space or Space()).fit(target, spec, held), of_prompt(held, prompt)


def fits(target: Any, spec: ModelSpec, prompt: int | None, **given: Any) -> str | None:
    fit, need = asked(target, spec, prompt, **given)
    return fit.misfit(need)


def test_what_is_longer_than_a_model_was_trained_for_is_told() -> None:
    assert fits(ENGINE, TINY, 8192 - 64) is None
    said = (
        "tiny has a context of 8192 tokens (what it was trained for), and a prompt of 8129 tokens and 64 more"
    )
    for target in (ENGINE, TRANSFORMERS, ServerTarget(engine="vllm")):
        assert str(fits(target, TINY, 8129)).startswith(said)
    assert "at a depth of 8000 and 64 more" in str(fits(ENGINE, TINY, 200, depth=8000))
    assert "a prompt at a depth of 8192 and" in str(fits(ENGINE, TINY, None, depth=8192))
    # Who sets a context that holds it, wants it.
    assert fits(ENGINE, TINY, 8129, backend_options={"llamacpp": {"n_ctx": 8193}}) is None
    assert fits(ENGINE, TINY, 8129, backend_options={"llamacpp": {"n_ctx": 8192}}) is not None
    # Only a server that runs already knows what its model was trained for.
    assert fits(RUNS, TINY, 10**6) is None


def test_what_memory_cannot_hold_is_told_with_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "this_machine", lambda: Room(20 * 2**30))
    # 2 x 32 layers x 8 heads x 128 values x 2 bytes are 128 KiB a token.
    assert fits(ENGINE, LARGE, 32_768 - 64, quantizations="q8_0") is None
    assert fits(ENGINE, LARGE, 65_536 - 64) == (
        "synthetic/llama-3.1-8b needs 23.0 GiB of memory or more for a context of 65536 tokens (weights "
        "15.0 GiB, KV cache 8.00 GiB), and this machine has 20.0 GiB"
    )
    # A cache of 8.5 bits for 16.
    small = {"llamacpp": {"type_k": "q8_0", "type_v": "q8_0"}}
    assert fits(ENGINE, LARGE, 65_536 - 64, backend_options=small) is None
    # Where nobody says how long the prompt is, nothing is looked up.
    assert fits(ENGINE, LARGE, None) is None
    monkeypatch.setattr(room, "this_machine", lambda: Room(20 * 2**30, 4 * 2**30))
    assert fits(ENGINE, LARGE, 65_536 - 64) is None


@pytest.mark.parametrize(
    ("target", "given", "bytes_each"),
    [
        (ENGINE, {}, 2.0),
        (ENGINE, {"backend_options": {"llamacpp": {"type_k": "f32"}}}, 3.0),
        (TRANSFORMERS, {}, 2.0),
        (TRANSFORMERS, {"backend_options": {"transformers": {"dtype": "f32"}}}, 4.0),
    ],
)
def test_the_memory_is_that_of_the_weights_and_of_every_token(
    target: Any, given: dict[str, Any], bytes_each: float
) -> None:
    fit, need = asked(target, TINY, 936, **given)
    memory = fit.memory(need)
    assert memory is not None
    assert memory.cache == 1000 * 2 * 6 * 4 * 64 * bytes_each
    assert memory.both == memory.cache + memory.weights
    assert memory.weights > 12_000_000


def test_of_weights_that_are_made_otherwise_than_they_are_stored_nothing_is_counted() -> None:
    for quantization, size in (("f16", True), ("int8_torchao", False), ("f32", False)):
        fit, need = asked(TRANSFORMERS, ModelSpec("tiny", quantization), 936)
        memory = fit.memory(need)
        assert memory is not None
        assert (memory.weights > 0) is size
    assert memory.cache == 1000 * 2 * 6 * 4 * 64 * 4


def test_nothing_is_known_of_what_is_not_here_or_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[ModelSpec] = []

    def outline(spec: ModelSpec, form: str) -> Outline | None:
        looked.append(spec)
        return Outline(100, 4096, None) if spec.name == "org/recurrent" else None

    monkeypatch.setattr("pytest_llmbench.models.resolve.outline_of", outline)
    space = Space()
    for name in ("org/recurrent", "org/absent"):
        fit, need = asked(ENGINE, ModelSpec(name), 1000, space=space)
        assert fit.memory(need) is fit.misfit(need) is None
    fit, need = asked(ENGINE, ModelSpec("org/recurrent"), 5000, space=space)
    assert "a context of 4096 tokens" in str(fit.misfit(need))
    # What is here is looked at once; what is not may come.
    assert [spec.name for spec in looked].count("org/recurrent") == 1
    assert [spec.name for spec in looked].count("org/absent") > 1


@pytest.mark.parametrize(
    ("target", "spec", "prompt", "given", "expected"),
    [
        (ENGINE, TINY, 4096 - 64, {}, None),
        (ENGINE, TINY, 4097 - 64, {}, 4097),
        (ENGINE, TINY, 8192 - 64, {}, 8192),
        (ENGINE, TINY, 8193 - 64, {}, None),
        (ENGINE, TINY, 36, {"depth": 8000}, 8100),
        (ENGINE, TINY, None, {"depth": 8000}, None),
        (ENGINE, LARGE, 100_000, {"max_new_tokens": 1}, 100_001),
        (ENGINE, TINY, 5000, {"backend_options": {"llamacpp": {"n_ctx": 128}}}, 128),
        (TRANSFORMERS, TINY, 5000, {}, None),
        (ServerTarget(engine="llamacpp-server"), TINY, 2048 - 64, {}, None),
        (ServerTarget(engine="llamacpp-server"), TINY, 2049 - 64, {}, 2049),
        (ServerTarget(engine="llama-server"), TINY, 5000, {}, None),
        (STARTED, TINY, 5000, {}, None),
        (RUNS, TINY, 5000, {}, None),
    ],
)
def test_a_context_is_set_where_the_default_does_not_hold_what_is_asked(
    target: Any, spec: ModelSpec, prompt: int | None, given: dict[str, Any], expected: int | None
) -> None:
    fit, need = asked(target, spec, prompt, **given)
    option = {"llamacpp": "n_ctx", "transformers": "n_ctx", "server": "context"}[target.name]
    assert fit.holding(need).of(target.name).get(option) == expected


def test_other_options_stay_beside_the_context() -> None:
    fit, need = asked(ENGINE, TINY, 5000, backend_options={"llamacpp": {"n_threads": 1}})
    assert fit.holding(need).of("llamacpp") == {"n_threads": 1, "n_ctx": 5064}


def test_an_estimate_is_bounded_by_what_the_model_was_trained_for() -> None:
    fit, _ = asked(ENGINE, TINY, None)
    assert fit.holding(Need(5000, 9000, "")).of("llamacpp")["n_ctx"] == 8192
    assert fit.holding(Need(8500, 9000, "")).of("llamacpp") == {}
