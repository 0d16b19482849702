"""Did the engine do what it was asked?

A configuration that was recorded and never applied makes a row of a catalog that is not true. What an engine
says of itself after it was loaded is in the document, beside what was asked; where they differ, the result is
not one of its cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from pytest_llmbench.backends.base import OptionSpec
from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.errors import UsageError
from pytest_llmbench.results.records import CaseRecord

_FACTS_OF_QUANTIZATION = ("quantization", "file_type")
"""What engines call it."""
_NAME = re.compile(r"[a-z]+\d*(?:_(?:[01]|k)(?![a-z0-9]))?")
"""What all spell alike: ``q8_0``, ``q4_k`` of ``q4_k_m`` and of ``Q4_K - Medium``, ``iq3``."""


def not_as_asked(case: CaseRecord, quantization: str | None, registry: Registry | None = None) -> str | None:
    """What the engine did in another way than it was asked, with both values; None where all is as asked.

    :param quantization: that the cell asks for.
    """
    return next(_differences(case, quantization, registry or Registry()), None)


def _differences(case: CaseRecord, quantization: str | None, registry: Registry) -> Iterator[str]:
    if quantization is not None and case.model.quantization not in (None, quantization):
        yield f"the model was to be {quantization}, and {case.model.quantization} was measured"
    specs = _specs(case.model.backend, registry)
    for process in case.processes:
        for name in _FACTS_OF_QUANTIZATION:
            told = process.engine.get(name)
            if quantization is not None and told is not None and _name(told) != _name(quantization):
                yield f"quantization was to be {quantization}, and the engine says {told}"
        for name, asked in case.protocol.options.items():
            if asked is None or name not in specs or name not in process.engine:
                continue
            if not specs[name].holds(asked, process.engine[name]):
                yield f"{name} was to be {asked}, and the engine says {process.engine[name]}"


def _specs(backend: str, registry: Registry) -> dict[str, OptionSpec]:
    """The rows of a backend's options; empty for a server, of which a document knows no such facts."""
    with suppress(UsageError):
        return {spec.name: spec for spec in registry.get(backend).options}
    return {}


def _name(quantization: object) -> str:
    text = str(quantization).casefold().removeprefix("all ").replace(" - ", "_")
    found = _NAME.match(text)
    return found[0] if found else text
