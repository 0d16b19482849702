"""Does the registry know every backend, and say what is wrong with those it cannot use?"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends import registry as module
from pytest_llmbench.backends.base import Availability, Backend, Engine, OptionSpec
from pytest_llmbench.backends.registry import Registry, from_reference, reference_of
from pytest_llmbench.errors import BackendUnavailableError, UsageError


class Other:
    """A third party's backend."""

    name = "other"
    extra = "other"
    form = "gguf"
    quantizations: tuple[str, ...] = ()
    options: tuple[OptionSpec, ...] = ()
    modules: tuple[str, ...] = ()

    def __init__(self, name: str = "other", installed: bool = True) -> None:
        self.name = name
        self._installed = installed

    def availability(self) -> Availability:
        return Availability(self._installed, None if self._installed else "pip install other")

    def versions(self) -> Mapping[str, str]:
        return {}

    def load(self, model: Any, options: Mapping[str, Any]) -> Engine:
        raise AssertionError


KEPT = Other("kept")
NOT_A_BACKEND = "text"


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    points: list[EntryPoint] = []
    monkeypatch.setattr(module, "_entry_points", lambda: points)
    return points


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, module.ENTRY_POINT_GROUP)


def test_the_built_in_backends_are_there(entry_points: list[EntryPoint]) -> None:
    assert Registry().names() == ["llamacpp", "transformers"]
    assert all(isinstance(Registry().get(name), Backend) for name in Registry().names())


def test_asking_a_registry_imports_no_engine() -> None:
    import subprocess

    code = (
        "import sys; from pytest_llmbench.backends.registry import Registry;"
        "r = Registry(); r.availability();"
        "[b.versions() for b in map(r.get, r.names())];"
        "print([m for m in ('torch', 'transformers', 'llama_cpp', 'numpy') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_an_unknown_backend_is_refused_with_what_there_is(entry_points: list[EntryPoint]) -> None:
    with pytest.raises(UsageError, match=r"'lamacpp'; did you mean 'llamacpp'.*llamacpp, transformers"):
        Registry().get("lamacpp")


def test_an_entry_point_adds_a_backend(entry_points: list[EntryPoint]) -> None:
    entry_points.append(point("other", f"{__name__}:Other"))
    assert Registry().names() == ["llamacpp", "transformers", "other"]
    assert isinstance(Registry().get("other"), Other)


def test_an_entry_point_may_name_an_instance(entry_points: list[EntryPoint]) -> None:
    entry_points.append(point("kept", f"{__name__}:KEPT"))
    assert Registry().get("kept") is KEPT


def test_a_broken_entry_point_is_listed_with_the_reason(entry_points: list[EntryPoint]) -> None:
    entry_points.append(point("broken", "no_such_module_anywhere:Backend"))
    registry = Registry()
    assert "broken" in registry.names()
    assert "llamacpp" in registry.names()
    told = registry.availability()["broken"]
    assert not told.available
    assert "entry point 'broken'" in str(told.reason)
    assert "no_such_module_anywhere" in str(told.reason)
    with pytest.raises(BackendUnavailableError, match="no_such_module_anywhere"):
        registry.get("broken").load(None, {})  # type: ignore[arg-type]


def test_an_entry_point_that_is_no_backend_is_broken(entry_points: list[EntryPoint]) -> None:
    entry_points.append(point("text", f"{__name__}:NOT_A_BACKEND"))
    assert "is not a backend" in str(Registry().availability()["text"].reason)


def test_an_entry_point_cannot_take_a_built_in_name(entry_points: list[EntryPoint]) -> None:
    entry_points.append(point("llamacpp", "no_such_module_anywhere:Backend"))
    assert type(Registry().get("llamacpp")).__name__ == "LlamaCppBackend"


def test_a_hook_registers_a_backend(entry_points: list[EntryPoint]) -> None:
    registry = Registry()
    backend = Other()
    registry.register(backend)
    assert registry.get("other") is backend
    assert registry.names()[-1] == "other"


@pytest.mark.parametrize("name", ["server", "openai", "auto", "env"])
def test_a_name_that_stands_for_something_else_is_refused(entry_points: list[EntryPoint], name: str) -> None:
    backend = Other()
    backend.name = name
    with pytest.raises(UsageError, match=f"the name '{name}' stands for"):
        Registry().register(backend)


def test_a_taken_name_is_refused(entry_points: list[EntryPoint]) -> None:
    registry = Registry()
    registry.register(Other())
    with pytest.raises(UsageError, match="there is a backend 'other'"):
        registry.register(Other())


def test_what_lacks_a_part_is_not_registered(entry_points: list[EntryPoint]) -> None:
    with pytest.raises(UsageError, match=r"it has no .*options.*load"):
        Registry().register("text")  # type: ignore[arg-type]


def test_a_class_is_not_registered(entry_points: list[EntryPoint]) -> None:
    with pytest.raises(UsageError, match="pass an instance"):
        Registry().register(Other)  # type: ignore[arg-type]


def test_only_installed_backends_are_available(entry_points: list[EntryPoint]) -> None:
    registry = Registry()
    registry.register(Other("absent", installed=False))
    registry.register(Other("present"))
    told = registry.availability()
    assert told["present"].available
    assert not told["absent"].available
    assert told["absent"].reason == "pip install other"


@pytest.mark.parametrize("name", ["llamacpp", "transformers"])
def test_a_reference_leads_back_to_the_backend(name: str) -> None:
    backend = Registry().get(name)
    again = from_reference(reference_of(backend))
    assert type(again) is type(backend)
    assert again.name == name


def test_an_instance_kept_in_a_module_is_referred_to_by_its_name() -> None:
    assert reference_of(KEPT) == f"{__name__}:KEPT"
    assert from_reference(reference_of(KEPT)) is KEPT


def test_an_instance_that_its_class_does_not_make_again_has_no_reference() -> None:
    with pytest.raises(UsageError, match="module-level name"):
        reference_of(Other("by hand"))


def test_a_class_inside_a_function_has_no_reference() -> None:
    class Hidden(Other):
        pass

    with pytest.raises(UsageError, match="cannot be found again by a worker"):
        reference_of(Hidden())


def test_a_reference_to_nothing_says_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raises_at_import.py").write_text("raise RuntimeError('boom')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="RuntimeError: boom"):
        from_reference("raises_at_import:Backend")
