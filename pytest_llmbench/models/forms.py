"""In which forms do models lie, and what does each know of its files?

A form is one row of :data:`FORMS`, with a module of its own: how it is recognized at a path, chosen in a
hub's repository, read, and built from a synthetic shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pytest_llmbench.errors import ModelError, UsageError, few, suggest
from pytest_llmbench.models.gguf import Gguf
from pytest_llmbench.models.huggingface import HuggingFace
from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel

if TYPE_CHECKING:
    from pytest_llmbench.models.outline import Outline
    from pytest_llmbench.models.synthetic.builder import Entry
    from pytest_llmbench.models.synthetic.shapes import Shape


class FileForm(Protocol):
    """What a form of model files knows of them."""

    name: str
    """What a backend's, or a server's, ``form`` says."""
    models: str
    """What messages call its models."""
    looks: str
    """How messages describe one."""
    backend: str
    """The backend that help names beside it."""
    quantized: bool
    """Whether the files hold the quantization; if not, it is made when a model is loaded."""
    quantizations: tuple[str, ...]
    """What a synthetic model can be built in."""

    def is_model(self, file: Path) -> bool:
        """Whether a file by itself is a model of this form."""

    def weights_in(self, folder: Path, names: Sequence[str]) -> bool:
        """Whether weights of this form lie in *folder*, in which *names* are.

        :raises ModelError: if it holds too much to be a model's folder.
        """

    def described_in(self, names: Sequence[str]) -> bool:
        """Whether *names* are those of a model of this form whose weights are missing.

        It counts where no form finds its weights.
        """

    def local(self, spec: ModelSpec, path: Path) -> ResolvedModel:
        """The model that is *path*, a file or a folder, or lies in it.

        :raises ModelError: if it is not there, not whole, or not as it was asked for.
        """

    def place(self, spec: ModelSpec, path: Path) -> Path:
        """What an engine is given of the model that is *path*, a file or a folder, or lies in it.

        :raises ModelError: if it is not there, or not as it was asked for.
        """

    def outline(self, place: Path) -> Outline:
        """What the files of the model at a *place* say.

        :raises ModelError: if they are not whole.
        """

    def choose(self, spec: ModelSpec, names: Sequence[str], where: str) -> list[str]:
        """Which files of a hub's repository to fetch; *where* is what messages call it.

        :raises ModelError: if it has none of this form.
        """

    def fetched(self, spec: ModelSpec, folder: Path, chosen: Sequence[str]) -> ResolvedModel:
        """The model of the files that :meth:`choose` has *chosen*, which lie below *folder* now."""

    def synthetic(self, shape: Shape, quantization: str | None) -> Entry:
        """Where a synthetic model lies in the cache, and how it is written.

        :raises ModelError: for a quantization that it cannot be built in.
        """


FORMS: Mapping[Form, FileForm] = {form.name: form for form in (HuggingFace(), Gguf())}


def find_form(name: str) -> FileForm:
    """The form called *name*.

    :raises UsageError: if there is none; it lists what there is.
    """
    if name not in FORMS:
        known = list(FORMS)
        msg = f"there is no form {name!r}{suggest(name, known)}; there are: {', '.join(known)}"
        raise UsageError(msg)
    return FORMS[name]


def forms_at(path: Path) -> frozenset[Form]:
    """The forms in which a model lies at *path*: of a file its own, of a folder those of its files.

    Whether the files are whole is found out when they are read.

    :raises ModelError: if no model lies there, or the folder holds too much to be a model's.
    """
    looks = " or ".join(form.looks for form in FORMS.values())
    if path.is_file():
        if found := frozenset(name for name, form in FORMS.items() if form.is_model(path)):
            return found
        msg = f"{path} is not a model; a model is {looks}"
        raise ModelError(msg)
    names = [file.name for file in path.iterdir()]
    found = frozenset(name for name, form in FORMS.items() if form.weights_in(path, names))
    found = found or frozenset(name for name, form in FORMS.items() if form.described_in(names))
    if not found:
        there = few(sorted(names), 20) or "nothing"
        msg = f"the folder {path} holds no model; a model is {looks}; there is: {there}"
        raise ModelError(msg)
    return found
