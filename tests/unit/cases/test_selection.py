"""Are the cases of a test those of its targets, models, quantizations and levels, and is a skip explained?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.cases.selection import NO_SERVER, Selected, Selector
from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.sources import Precedence, Source
from tests.fakes.llmbench_fake import FakeBackend

URL = "http://h:1/v1"


@pytest.fixture
def registry() -> Registry:
    """One of fake engines alone that can run here, whatever is installed."""
    registry = Registry()
    registry._found = {}
    registry.register(FakeBackend())
    return registry


def selected(
    registry: Registry, fixture: str, marker: dict[str, Any] | None = None, **typed: Any
) -> list[Selected]:
    selector = Selector(registry, Precedence(Source.of(typed)), None)
    name, cases = selector.cases([fixture], Source.of(marker or {}))
    assert name == fixture
    return cases


def ids(cases: list[Selected]) -> list[str]:
    return [one.id if one.skip is None else f"{one.id}: {one.skip}" for one in cases]


def test_a_case_is_a_model_in_a_quantization_on_an_engine(registry: Registry) -> None:
    typed = {"models": ("tiny", "synthetic/llama-82m"), "quantizations": ("f16", "q8_0")}
    assert ids(selected(registry, "llm_model", **typed)) == [
        "fake-tiny-f16",
        "fake-tiny-q8_0",
        "fake-synthetic/llama-82m-f16",
        "fake-synthetic/llama-82m-q8_0",
    ]


def test_who_names_a_server_measures_on_it_alone(registry: Registry) -> None:
    assert ids(selected(registry, "llm_model", base_url=(URL,))) == ["server"]
    assert ids(selected(registry, "llm_model", serve=("vllm",))) == ["vllm-tiny"]
    both = ("vllm", "vllm:single-user", "docker:vllm:debug")
    assert ids(selected(registry, "llm_model", serve=both)) == [
        "vllm-tiny",
        "vllm+single-user-tiny",
        "docker-vllm+debug-tiny",
    ]


def test_a_backend_is_measured_beside_a_server_where_both_are_named(registry: Registry) -> None:
    both = ids(selected(registry, "llm_model", base_url=(URL,), backends=("fake", "server")))
    assert both == ["fake-tiny", "server"]
    one = ids(selected(registry, "llm_model", base_url=(URL,), backends=("fake",)))
    assert one == ["fake-tiny"]


def test_each_server_has_each_level_of_a_load(registry: Registry) -> None:
    typed = {"base_url": (URL, "http://h:2/v1"), "concurrency": (1, 8)}
    assert ids(selected(registry, "llm_load", **typed)) == [
        "server@h:1-c1",
        "server@h:1-c8",
        "server@h:2-c1",
        "server@h:2-c8",
    ]
    assert ids(selected(registry, "llm_server", **typed)) == ["server@h:1", "server@h:2"]


def test_conversations_are_levels_alone_and_with_each_concurrency(registry: Registry) -> None:
    alone = selected(registry, "llm_load", base_url=(URL,), conversations=(8, 32))
    assert ids(alone) == ["server-conv8", "server-conv32"]
    bound = selected(registry, "llm_load", base_url=(URL,), conversations=(8, 32), concurrency=(2, 4))
    assert ids(bound) == [f"server-conv{talks}c{most}" for talks in (8, 32) for most in (2, 4)]
    both = selected(registry, "llm_load", base_url=(URL,), conversations=(8,), request_rate=(0.5,))
    assert ids(both) == ["server-conv8", "server-r0.5"]


@pytest.mark.parametrize(
    ("fixture", "marker", "typed", "why"),
    [
        ("llm_load", {}, {}, NO_SERVER),
        ("llm_model", {"backends": ("server",)}, {}, NO_SERVER),
        ("llm_model", {}, {"backends": ("server",)}, NO_SERVER),
        ("llm_model", {"backends": ("fake",)}, {"base_url": (URL,)}, "this test does not run on a server"),
        ("llm_load", {"backends": ("fake",)}, {"base_url": (URL,)}, "this test does not run on a server"),
        ("llm_load", {}, {"base_url": (URL,), "backends": ("fake",)}, "and fake was selected"),
        (
            "llm_model",
            {"backends": ("server",)},
            {"backends": ("fake",)},
            "supports the backends server",
        ),
    ],
)
def test_a_test_without_a_target_is_one_skip_with_its_reason(
    registry: Registry, fixture: str, marker: dict[str, Any], typed: dict[str, Any], why: str
) -> None:
    (only,) = selected(registry, fixture, marker, **typed)
    assert (only.id, only.case) == ("none", None)
    assert why in str(only.skip)


def test_a_server_that_is_missing_is_told_beside_the_engines_that_are_there(registry: Registry) -> None:
    assert ids(selected(registry, "llm_model", backends=("fake", "server"))) == [
        "fake-tiny",
        f"none: {NO_SERVER}",
    ]


def test_a_quantization_that_a_target_does_not_have_is_a_skip(registry: Registry) -> None:
    (case,) = selected(registry, "llm_model", serve=("vllm",), quantizations=("q8_0",))
    assert case.id == "vllm-tiny-q8_0"
    assert "vllm takes a model as it is" in str(case.skip)


def test_a_model_that_one_target_alone_can_read_is_no_case_of_the_others(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    typed = Source.of({"models": (str(tmp_path / "m.gguf"),), "serve": ("vllm", "llama-server")})
    selector = Selector(registry, Precedence(typed), None)
    _, cases = selector.cases(["llm_load"], Source.of({}))
    assert ids(cases) == ["llama-server-m-c1"]
    (note,) = selector.notes
    assert note.endswith("it is measured on llama-server")


def test_what_an_engine_of_servers_is_called_is_not_a_backend(registry: Registry) -> None:
    selector = Selector(registry, Precedence(Source.of({"backends": ("vllm",)})), None)
    with pytest.raises(UsageError, match="vllm is a server: start one with --llm-serve=vllm"):
        selector.check_command_line()
