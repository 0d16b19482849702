"""Which models need no download, how large are they, and which are built already?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.models.synthetic.shapes import SHAPES

if TYPE_CHECKING:
    from pytest_llmbench.models.spec import Form, ResolvedModel


@dataclass(frozen=True, slots=True)
class FormEntry:
    """One form of a model's files."""

    form: Form
    quantization: str
    size: int
    """Bytes of the weights: what they are if they are cached, an estimate if not."""
    cached: Path | None
    """Where they lie; None if they are not built."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One synthetic model."""

    name: str
    """As in ``--llm-model``."""
    parameters: int
    forms: tuple[FormEntry, ...]

    @property
    def cached(self) -> tuple[FormEntry, ...]:
        """The forms that are built."""
        return tuple(form for form in self.forms if form.cached is not None)


def listed_models() -> list[ModelEntry]:
    """Every synthetic model with all forms that it can have, the smallest model first."""
    from pytest_llmbench.models.forms import FORMS

    entries = []
    for shape in SHAPES.values():
        forms = []
        for form in FORMS.values():
            for quantization in form.quantizations:
                entry = form.synthetic(shape, quantization)
                real = entry.cached_size
                size, place = (entry.size, None) if real is None else (real, entry.folder)
                forms.append(FormEntry(form.name, quantization, size, place))
        entries.append(ModelEntry(shape.model_name, shape.parameters, tuple(forms)))
    return entries


def build(
    name: str, quantization: str | None = None, form: Form = "gguf", *, quiet: bool = False
) -> ResolvedModel:
    """Build or fetch a model ahead; its files, as a benchmark would get them.

    :raises UsageError: if the model is unknown; :raises ModelError: if it cannot be found.
    """
    from pytest_llmbench.models.resolve import parse_spec, resolve

    return resolve(replace(parse_spec(name), quantization=quantization), form, quiet=quiet)
