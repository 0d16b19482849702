"""Which model does a name mean, and where are its files?

:func:`parse_spec` reads a name without touching the network; :func:`resolve` builds, finds or
downloads the files; :func:`outline_of` and :func:`kept_place` look at those that are here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.errors import ModelError
from pytest_llmbench.models.names import at_revision, read_name
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.models.synthetic.shapes import is_synthetic, shape_of

if TYPE_CHECKING:
    from pytest_llmbench.models.aliases import Aliases
    from pytest_llmbench.models.outline import Outline
    from pytest_llmbench.models.spec import Form, ResolvedModel


def parse_spec(text: str, *, aliases: Aliases | None = None, folder: Path | None = None) -> ModelSpec:
    """The model that ``NAME`` or ``NAME@REVISION`` means.

    Aliases come first, then paths, synthetic models and hub ids. Paths have to exist; whether a
    hub has a model is found out by :func:`resolve`.

    :param folder: from where a relative path is meant; the working directory if None.
    :raises UsageError: for a name that no model has; it lists what there is.
    """
    if aliases is None:
        return read_name(text, folder=folder)
    if text in aliases.entries:
        return aliases.spec(text)
    name, at, revision = text.partition("@")
    if name in aliases.entries and not ModelSpec(text).is_path:
        return at_revision(text, aliases.spec(name), at, revision)
    return read_name(text, known=aliases.names, folder=folder)


def resolve(spec: ModelSpec, form: Form, *, quiet: bool = False) -> ResolvedModel:
    """The model's files in the *form* that an engine loads, built or downloaded if need be.

    :param quiet: show no progress bar; without it there is one on a terminal only.
    :raises ModelError: if the model cannot be built, found, fetched or read.
    """
    from pytest_llmbench.models.forms import find_form

    spec = spec.of_form(form)
    if is_synthetic(spec.name):
        entry = find_form(form).synthetic(shape_of(spec.name), spec.quantization)
        return entry.resolved(spec, quiet=quiet)
    if spec.is_path:
        path = Path(spec.name).expanduser().absolute()
        if not path.exists():
            msg = f"the model at {path} was removed"
            raise ModelError(msg)
        return find_form(form).local(spec, path)
    from pytest_llmbench.models.hub import hub_model

    return hub_model(spec, find_form(form), quiet=quiet)


def outline_of(spec: ModelSpec, form: Form) -> Outline | None:
    """What the files of a model say in the *form* that an engine loads; None where they are not here whole.

    A synthetic model is known before it is built.
    """
    from pytest_llmbench.models.forms import find_form

    found = find_form(form)
    try:
        if is_synthetic(spec.of_form(form).name):
            return found.synthetic(shape_of(spec.of_form(form).name), spec.quantization).outline
        place = kept_place(spec, form)
        return None if place is None else found.outline(place)
    except (ModelError, OSError):
        # What is wrong with them is said where they are needed.
        return None


def kept_place(spec: ModelSpec, form: Form) -> Path | None:
    """What an engine is given of a model whose files are here already; None if they are not."""
    from pytest_llmbench.models.forms import find_form

    spec, found = spec.of_form(form), find_form(form)
    try:
        if is_synthetic(spec.name):
            entry = found.synthetic(shape_of(spec.name), spec.quantization)
            return None if entry.cached_size is None else entry.path
        if spec.is_path:
            path = Path(spec.name).expanduser().absolute()
            return found.place(spec, path) if path.exists() else None
        from pytest_llmbench.models.hub import kept_folder

        folder = kept_folder(spec)
        return None if folder is None else found.place(spec, folder)
    except (ModelError, OSError):
        return None
