"""Which model does a name mean, aliases left out?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pytest_llmbench.errors import ModelError, UsageError, suggest
from pytest_llmbench.models.paths import from_folder, there_is
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.models.synthetic.shapes import PREFIX, SHAPES, is_synthetic, shape_of

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def is_hub_name(text: str) -> bool:
    """Whether it is written as a hub's repository is: ``ORG/NAME``, and nothing that means another model."""
    return _HUB_ID.fullmatch(text) is not None and not (is_synthetic(text) or ModelSpec(text).is_path)


def read_name(text: str, *, known: Sequence[str] = (), folder: Path | None = None) -> ModelSpec:
    """The model at a path, a synthetic one, or one of a hub, at its revision if it names one.

    :param known: what else there is, for the message.
    :param folder: from where a relative path is meant; the working directory if None.
    :raises UsageError: for a name that no model has; it lists what there is.
    """
    spec = ModelSpec(text)
    if spec.is_path:
        path = from_folder(text, folder)
        if not there_is(path):
            where = "" if text.startswith("~") or Path(text).is_absolute() else f" in {folder or Path.cwd()}"
            msg = f"there is no model at {text}: no such file or folder{where}"
            raise UsageError(msg)
        _check_model_at(path)
        return spec if folder is None else ModelSpec(str(path))
    name, at, revision = text.partition("@")
    if is_synthetic(name):
        spec = ModelSpec(shape_of(name).model_name)
    elif _HUB_ID.fullmatch(name):
        spec = ModelSpec(name)
    else:
        raise _unknown(text, name, known, folder)
    return at_revision(text, spec, at, revision)


def at_revision(text: str, spec: ModelSpec, at: str, revision: str) -> ModelSpec:
    """The *spec* at the revision that *text* has after its ``@``, if there is one.

    :raises UsageError: if the revision is missing, or the model has none.
    """
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


def _unknown(text: str, name: str, more: Sequence[str], folder: Path | None) -> UsageError:
    known = [*(shape.model_name for shape in SHAPES.values()), *more]
    hint = f"; did you mean {PREFIX + name!r}?" if name in SHAPES else suggest(name, known) or "."
    if name and there_is(from_folder(text, folder)):
        hint = f"; the file or folder of that name is written './{text}'."
    return UsageError(
        f"there is no model {text!r}{hint} There are {', '.join(known)}; a path to a GGUF file or a Hugging "
        "Face folder (./NAME, /NAME); a hub's ORG/NAME or ORG/NAME@REVISION; and aliases of --llm-models-file"
    )
