"""Which cases does a test stand for?

Every combination of the backends, models and quantisations that hold for it. What a backend
cannot run is a skip with its reason, so that a matrix over several engines stays one list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.options import AUTO

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

    from pytest_llmbench.backends.base import Backend
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.models.aliases import Aliases
    from pytest_llmbench.options import Session


@dataclass(frozen=True, slots=True)
class CaseParam:
    """What ``llm_model`` is parametrised with."""

    backend: Backend
    spec: ModelSpec

    @property
    def id(self) -> str:
        return f"{self.backend.name}-{self.spec.label}"


class Selector:
    """Turns settings into parameters; asks each backend only once whether it is there."""

    def __init__(self, registry: Registry, options: Session, aliases: Aliases | None) -> None:
        self._registry = registry
        self._options = options
        self._aliases = aliases
        self._missing: dict[str, str | None] = {}
        self._specs: dict[str, ModelSpec] = {}

    def check_command_line(self) -> None:
        """Refuse what the command line or the ini file names and nobody has, before anything runs.

        :raises UsageError: listing what there is.
        """
        for source in (self._options.command_line, self._options.ini):
            for name in source.get("backends", ()):
                if name == AUTO:
                    continue
                self._registry.get(name)
                if source is self._options.command_line and (reason := self.missing(name)) is not None:
                    msg = f"--llm-backend={name}: {reason}"
                    raise UsageError(msg)
            for model in source.get("models", ()):
                self.spec(model)
            self._check_options(source)
            self._check_quantizations(source)

    def check_marker(self, marker: Mapping[str, Any]) -> None:
        """The same for one test's marker.

        :raises UsageError: listing what there is.
        """
        for name in marker.get("backends", ()):
            if name != AUTO:
                self._registry.get(name)
        for model in marker.get("models", ()):
            self.spec(model)
        self._check_options(marker)
        self._check_quantizations(marker)

    def params(self, marker: Mapping[str, Any]) -> list[ParameterSet]:
        """One parameter a case, with its id; what cannot run is marked as skipped."""
        backends, reason = self.backends(marker)
        if reason is not None:
            return [pytest.param(None, id="none", marks=pytest.mark.skip(reason=reason))]
        models: Sequence[str] = self._options.setting("models", marker)
        quantizations: Sequence[str | None] = self._options.setting("quantizations", marker) or (None,)
        params = []
        for name in backends:
            backend = self._registry.get(name)
            for model in models:
                for quantization in quantizations:
                    spec = self.spec(model)
                    if quantization is not None:
                        spec = replace(spec, quantization=quantization)
                    case = CaseParam(backend, spec)
                    reason = misfit(backend, spec)
                    marks = () if reason is None else pytest.mark.skip(reason=reason)
                    params.append(pytest.param(case, id=case.id, marks=marks))
        return params

    def backends(self, marker: Mapping[str, Any]) -> tuple[list[str], str | None]:
        """The backends to run on, or none and why.

        A marker's ``backends`` says what the test supports; the command line and the ini file
        select among them.
        """
        supported: Sequence[str] | None = marker.get("backends")
        if supported is not None and AUTO in supported:
            supported = None
        wanted: Sequence[str] = self._options.setting("backends", {})
        if AUTO in wanted:
            candidates = supported if supported is not None else self._registry.names()
            missing = {name: reason for name in candidates if (reason := self.missing(name)) is not None}
            there = [name for name in candidates if name not in missing]
            if there:
                return there, None
            return [], "no backend of this test can run here: " + "; ".join(missing.values())
        chosen = [name for name in wanted if supported is None or name in supported]
        if not chosen:
            return [], (
                f"this test supports the backends {', '.join(supported or ())}, "
                f"and {', '.join(wanted)} was selected"
            )
        for name in chosen:
            if (reason := self.missing(name)) is not None:
                return [], reason
        return chosen, None

    def missing(self, name: str) -> str | None:
        """Why a backend cannot run here; None if it can."""
        if name not in self._missing:
            availability = self._registry.get(name).availability()
            self._missing[name] = (
                None if availability.available else availability.reason or f"{name} is missing"
            )
        return self._missing[name]

    def spec(self, model: str) -> ModelSpec:
        """The spec that a name stands for."""
        if model not in self._specs:
            from pytest_llmbench.models.resolve import parse_spec

            self._specs[model] = parse_spec(model, aliases=self._aliases)
        return self._specs[model]

    def _check_options(self, source: Mapping[str, Any]) -> None:
        from pytest_llmbench.backends.options import option_values

        for name, options in source.get("backend_options", {}).items():
            option_values(self._registry.get(name), options)

    def _check_quantizations(self, source: Mapping[str, Any]) -> None:
        for name in source.get("quantizations", ()):
            known = {b: self._registry.get(b).quantizations for b in self._registry.names()}
            if not any(name in quantizations for quantizations in known.values()):
                there = "; ".join(
                    f"{backend}: {', '.join(names)}" for backend, names in known.items() if names
                )
                msg = f"no backend has a quantisation {name!r}. There are {there}"
                raise UsageError(msg)


def misfit(backend: Backend, spec: ModelSpec) -> str | None:
    """Why *backend* cannot run *spec*, as far as its name tells; None if it may."""
    if spec.quantization is not None and spec.quantization not in backend.quantizations:
        there = ", ".join(backend.quantizations)
        return f"{backend.name} has no quantisation {spec.quantization!r}; it has {there}"
    if spec.is_path:
        form = "gguf" if spec.name.lower().endswith(".gguf") else "hf"
        if form != backend.form:
            kinds = {"gguf": "GGUF files", "hf": "Hugging Face folders"}
            return f"{backend.name} runs {kinds[backend.form]}, and {spec.name} is none"
    return None
