"""Which backends are there?

The built-in ones, those of the entry point group ``pytest_llmbench.backends`` (each entry names a
:class:`~pytest_llmbench.backends.base.Backend` or a class that makes one without arguments), and
those that a ``pytest_llmbench_register_backends`` hook registers. The worker process has neither
hooks nor a registry: it gets a reference ``module:attribute`` and imports that.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from pytest_llmbench.backends.base import Availability, Backend, Engine, Options, OptionSpec
from pytest_llmbench.backends.options import RESERVED
from pytest_llmbench.errors import BackendUnavailableError, UsageError, suggest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pytest_llmbench.models.spec import Form, ResolvedModel

ENTRY_POINT_GROUP = "pytest_llmbench.backends"

BUILTIN = {
    "llamacpp": "pytest_llmbench.backends.llamacpp:LlamaCppBackend",
    "transformers": "pytest_llmbench.backends.transformers:TransformersBackend",
}


class Registry:
    """Backends by name, in the order: built-in, entry points, hooks."""

    def __init__(self) -> None:
        """Look nothing up yet."""
        self._registered: dict[str, Backend] = {}
        self._found: dict[str, Backend] | None = None

    def names(self) -> list[str]:
        """Every backend's name, installed or not, broken entry points too."""
        return list(self._all())

    def get(self, name: str) -> Backend:
        """The backend called *name*.

        :raises UsageError: if there is none; it lists what there is.
        """
        backends = self._all()
        if name not in backends:
            hint = suggest(name, list(backends))
            msg = f"there is no backend {name!r}{hint}; there are: {', '.join(backends)}"
            raise UsageError(msg)
        return backends[name]

    def register(self, backend: Backend) -> None:
        """Add a backend; for use in ``pytest_llmbench_register_backends(registry)``.

        :raises UsageError: if it is not a backend, or its name is taken.
        """
        problem = _problem(backend)
        if problem is not None:
            msg = f"cannot register {backend!r} as a backend: {problem}"
            raise UsageError(msg)
        if backend.name in self._all():
            msg = f"cannot register {backend!r}: there is a backend {backend.name!r}; give it another name"
            raise UsageError(msg)
        self._registered[backend.name] = backend

    def availability(self) -> dict[str, Availability]:
        """Backend name to whether it can run here, and if not, why and what to do."""
        return {name: b.availability() for name, b in self._all().items()}

    def _all(self) -> dict[str, Backend]:
        # Entry points are read on first use: a session without a benchmark never pays for it.
        if self._found is None:
            self._found = {name: from_reference(ref) for name, ref in BUILTIN.items()}
            for entry in _entry_points():
                backend = _from_entry_point(entry)
                self._found.setdefault(backend.name, backend)
        return {**self._found, **self._registered}


@dataclass
class BrokenBackend:
    """Stands for an entry point that cannot be used: it is listed, and says why."""

    name: str
    reason: str
    extra: str = ""
    form: Form = "hf"
    quantizations: tuple[str, ...] = ()
    options: tuple[OptionSpec, ...] = ()
    modules: tuple[str, ...] = ()

    def availability(self) -> Availability:
        """Never available; the reason names the entry point and what went wrong."""
        return Availability(False, self.reason)

    def versions(self) -> Mapping[str, str]:
        """Nothing is known."""
        return {}

    def load(self, model: ResolvedModel, options: Options) -> Engine:
        """Raise :class:`BackendUnavailableError` with the reason."""
        raise BackendUnavailableError(self.reason)


def reference_of(backend: Backend) -> str:
    """The ``module:attribute`` that :func:`from_reference` makes an equal backend of, elsewhere.

    That is a module-level name of the instance itself, or else its class.

    :raises UsageError: if neither can be imported under a name.
    """
    kind = type(backend)
    for module_name in dict.fromkeys((kind.__module__, getattr(backend, "__module__", kind.__module__))):
        module = sys.modules.get(module_name)
        for attribute, value in vars(module).items() if module is not None else ():
            if value is backend:
                return f"{module_name}:{attribute}"
    reference = f"{kind.__module__}:{kind.__qualname__}"
    try:
        again = from_reference(reference)
    except UsageError as error:
        msg = f"backend {backend.name!r} cannot be found again by a worker process: {error}"
        raise UsageError(msg) from error
    if type(again) is not kind or again.name != backend.name:
        msg = (
            f"backend {backend.name!r} cannot be found again by a worker process: {reference} makes "
            f"{again.name!r}; keep the instance in a module-level name of the module {kind.__module__}"
        )
        raise UsageError(msg)
    return reference


def from_reference(reference: str) -> Backend:
    """The backend at ``module:attribute``; a class is called without arguments.

    :raises UsageError: if it cannot be imported, or is not a backend.
    """
    module_name, _, path = reference.partition(":")
    try:
        found: object = import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
        backend = found() if isinstance(found, type) else found
    except Exception as error:
        msg = f"backend {reference!r} cannot be imported: {type(error).__name__}: {error}"
        raise UsageError(msg) from error
    problem = _problem(backend)
    if problem is not None:
        msg = f"{reference!r} is not a backend: {problem}"
        raise UsageError(msg)
    return cast("Backend", backend)


def _problem(candidate: object) -> str | None:
    if isinstance(candidate, type):
        return "it is a class; pass an instance"
    members = (*Backend.__annotations__, "availability", "versions", "load")
    missing = [name for name in members if not hasattr(candidate, name)]
    if missing:
        return f"it has no {', '.join(missing)}"
    name = cast("Backend", candidate).name
    taken = RESERVED.get(name)
    return None if taken is None else f"the name {name!r} stands for {taken}; give it another"


def _entry_points() -> list[EntryPoint]:
    from importlib.metadata import entry_points

    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name)


def _from_entry_point(entry: EntryPoint) -> Backend:
    try:
        return from_reference(entry.value)
    except UsageError as error:
        owner = f" of {entry.dist.name}" if entry.dist is not None else ""
        return BrokenBackend(entry.name, f"entry point {entry.name!r}{owner} is broken: {error}")
