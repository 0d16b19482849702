"""Which model does a name mean, and where are its files?

:func:`parse_spec` reads a name without touching the network; :func:`resolve` builds, finds or
downloads the files.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.errors import ModelError, UsageError, suggest
from pytest_llmbench.models.paths import from_folder
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.models.synthetic.shapes import PREFIX, SHAPES, is_synthetic, shape_of

if TYPE_CHECKING:
    from pytest_llmbench.models.aliases import Aliases
    from pytest_llmbench.models.spec import Form, ResolvedModel

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def parse_spec(text: str, *, aliases: Aliases | None = None, folder: Path | None = None) -> ModelSpec:
    """The model that ``NAME`` or ``NAME@REVISION`` means.

    Aliases come first, then paths, synthetic models and hub ids. Paths have to exist; whether a
    hub has a model is found out by :func:`resolve`.

    :param folder: from where a relative path is meant; the working directory if None.
    :raises UsageError: for a name that no model has; it lists what there is.
    """
    if aliases is not None and text in aliases.entries:
        return aliases.spec(text)
    spec = ModelSpec(text)
    if spec.is_path:
        path = from_folder(text, folder)
        if not path.exists():
            where = "" if Path(text).expanduser().is_absolute() else f" in {folder or Path.cwd()}"
            msg = f"there is no model at {text}: no such file or folder{where}"
            raise UsageError(msg)
        _check_model_at(path)
        return spec if folder is None else ModelSpec(str(path))
    name, at, revision = text.partition("@")
    if aliases is not None and name in aliases.entries:
        spec = aliases.spec(name)
    elif is_synthetic(name):
        spec = ModelSpec(shape_of(name).model_name)
    elif _HUB_ID.fullmatch(name):
        spec = ModelSpec(name)
    else:
        raise _unknown(text, name, aliases, folder)
    if not at:
        return spec
    if spec.is_path or is_synthetic(spec.name):
        msg = f"{text}: {spec.name} has no revisions; only models of a hub have"
        raise UsageError(msg)
    if not revision:
        msg = f"{text}: a branch, a tag or a commit is missing after the '@'"
        raise UsageError(msg)
    return replace(spec, revision=revision)


def _check_model_at(path: Path) -> None:
    """Refuse a path at which no model lies."""
    from pytest_llmbench.models.forms import forms_at

    try:
        forms_at(path)
    except ModelError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        msg = f"the model at {path} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from None


def _unknown(text: str, name: str, aliases: Aliases | None, folder: Path | None) -> UsageError:
    known = [shape.model_name for shape in SHAPES.values()]
    if aliases is not None:
        known += aliases.names
    hint = f"; did you mean {PREFIX + name!r}?" if name in SHAPES else suggest(name, known) or "."
    if name and from_folder(text, folder).exists():
        hint = f"; the file or folder of that name is written './{text}'."
    return UsageError(
        f"there is no model {text!r}{hint} There are {', '.join(known)}; a path to a GGUF file or a Hugging "
        "Face folder (./NAME, /NAME); a hub's ORG/NAME or ORG/NAME@REVISION; and aliases of --llm-models-file"
    )


def resolve(spec: ModelSpec, form: Form, *, quiet: bool = False) -> ResolvedModel:
    """The model's files in the *form* that an engine loads, built or downloaded if need be.

    :param quiet: show no progress bar; without it there is one on a terminal only.
    :raises ModelError: if the model cannot be built, found, fetched or read.
    """
    from pytest_llmbench.models.forms import find_form

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
