"""What has to be fetched for a model of a hub, how large is it, and is it here already?

The files go into the cache of huggingface_hub, which takes up a connection that was lost where it broke, and
keeps every file that came whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmbench.errors import ModelError, UsageError
from pytest_llmbench.metrics.units import size
from pytest_llmbench.models.forms import FORMS, find_form
from pytest_llmbench.models.hub import file_sizes, hub_cache, kept_file
from pytest_llmbench.models.resolve import resolve
from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel
from pytest_llmbench.models.synthetic.shapes import is_synthetic


@dataclass(frozen=True, slots=True)
class Fetch:
    """The files of one model in one form."""

    spec: ModelSpec
    form: Form
    sizes: Mapping[str, int]
    """Bytes of each file, by its name in the repository."""
    here: int
    """Bytes of those that are in the cache already."""

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())

    @property
    def needed(self) -> int:
        """Bytes of memory: what its alias says, or else the files'."""
        told = None if self.spec.known is None else self.spec.known.memory
        return self.total if told is None else told

    def run(self, *, quiet: bool = False) -> ResolvedModel:
        """Fetch what is missing.

        :raises ModelError: if it cannot be fetched, or the disk has no room for it.
        """
        missing, place = self.total - self.here, hub_cache()
        if missing > (free := _free(place)):
            msg = (
                f"{self.spec.label} needs {size(missing)} more in {place}, and {size(free)} are free: make "
                "room, or set HF_HOME to another folder"
            )
            raise ModelError(msg)
        return resolve(self.spec, self.form, quiet=quiet)


def plan_fetch(spec: ModelSpec, form: Form | None, prefer: Sequence[Form] = ()) -> Fetch:
    """What has to be fetched for a model.

    :param form: that of its files; None for the one that its repository has, of several the first that is in
        *prefer*.
    :raises UsageError: for a model that is not on a hub, or whose alias has no files of the form.
    :raises ModelError: if there is no such model, or the hub does not answer.
    """
    if spec.is_path or is_synthetic(spec.name):
        what = "lies here already" if spec.is_path else f"is built here: llmbench models build {spec.name}"
        msg = f"{spec.alias or spec.name} is not a hub's model, it {what}"
        raise UsageError(msg)
    if form is not None and not spec.has_form(form):
        msg = f"the models file names no {find_form(form).models} for {spec.alias} ({form}_repo)"
        raise UsageError(msg)
    order = dict.fromkeys([*prefer, *FORMS]) if form is None else {form: None}
    if spec.quantization is not None and form is None:
        order = {one: None for one in order if find_form(one).quantized}
    failures: list[ModelError] = []
    for one in order:
        if spec.has_form(one):
            meant = spec.of_form(one)
            sizes = file_sizes(meant)
            where = meant.name if meant.revision is None else f"{meant.name}@{meant.revision}"
            try:
                chosen = find_form(one).choose(meant, list(sizes), where)
            except ModelError as error:
                failures.append(error)
                continue
            here = sum(kept_file(meant, name) or 0 for name in chosen)
            return Fetch(spec, one, {name: sizes[name] for name in chosen}, here)
    if not failures:
        msg = f"{spec.alias or spec.name} has no files with a quantization to choose (gguf_repo)"
        raise UsageError(msg)
    # Where there are several files of a form, the others' reasons do not matter.
    raise max(failures, key=lambda error: "several" in str(error))


def _free(place: Path) -> int:
    """Bytes that are free where *place* is, or will be."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free
