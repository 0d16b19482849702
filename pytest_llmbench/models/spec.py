"""Which model is meant, in which quantization, and where its files are?"""

from __future__ import annotations

import os.path
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_llmbench.models.paths import from_folder

Form = str
"""The file form an engine loads: the name of a row of :data:`pytest_llmbench.models.forms.FORMS`."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an alias says of a model beside its name."""

    repos: tuple[tuple[Form, str], ...] = ()
    """The hub's repository of each form that it has one for; empty where the model's name is for all."""
    file: str | None = None
    """Of the GGUF repository, where no quantization is asked for."""
    context_length: int | None = None
    """Tokens."""
    memory: int | None = None
    """Bytes that a machine should have for it."""


AS_IS = "as-is"
"""The quantization of a model that is taken as its files have it, where that needs a name."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a user names: before anything was looked up, downloaded or built.

    ``name`` is ``tiny``, ``synthetic/NAME``, a path or a hub id ``org/name``. ``quantization`` is
    None where the user left it to the model's own files.
    """

    name: str
    quantization: str | None = None
    revision: str | None = None
    alias: str | None = None
    """What the aliases file calls it; ``name`` is then what the alias stands for."""
    file: str | None = None
    """The file of its repository that is meant, where no quantization is asked for."""
    known: Known | None = None
    """What the aliases file says of it; None once its form has been chosen."""
    local_files_only: bool = False
    """Whether a hub's model is taken from the hub's cache alone."""

    def has_form(self, form: Form) -> bool:
        """Whether it may have files of *form*, as far as its alias says."""
        return self.known is None or not self.known.repos or form in dict(self.known.repos)

    def of_form(self, form: Form) -> ModelSpec:
        """The model whose files are of *form*."""
        if self.known is None:
            return self
        repos = dict(self.known.repos)
        file = self.known.file if form == "gguf" and self.quantization is None else None
        return replace(self, name=repos.get(form, self.name), file=file, known=None)

    @property
    def label(self) -> str:
        """A short name for test ids and tables: an alias, or else a path's last part without ``.gguf``."""
        name = self.alias or self.name
        if self.alias is None and self.is_path:
            # Path.stem would take what follows the dot of "model-1.7B" for a suffix. "./" has no last part.
            last = Path(os.path.abspath(from_folder(self.name, None))).name  # noqa: PTH100  # folds ".."
            name = last[: -len(".gguf")] if last.lower().endswith(".gguf") else last
        return name if self.quantization is None else f"{name}-{self.quantization}"

    @property
    def is_path(self) -> bool:
        """True for what is written as a path: absolute, ``./x``, ``../x``, ``~/x`` or ``*.gguf``."""
        return self.name.startswith(("/", "./", "../", "~", ".\\", "..\\")) or self.name.lower().endswith(
            ".gguf"
        )


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model whose files lie on this machine, ready for an engine to load."""

    spec: ModelSpec
    form: Form
    path: Path
    """The GGUF file (the first, if it is split), or the Hugging Face folder."""
    digest: str
    """``sha256:HEX`` over the weights: equal digests, equal weights."""
    parameters: int | None
    """How many weights the model has; None where the files do not say."""
    quantization: str | None
    """What the weight files hold, e.g. ``q8_0`` or ``f16``."""
    size: int
    """Bytes of all weight files."""


def spec_of(model: ResolvedModel | ModelSpec) -> ModelSpec:
    """Which model was asked for, whether or not its files are known."""
    return model if isinstance(model, ModelSpec) else model.spec
