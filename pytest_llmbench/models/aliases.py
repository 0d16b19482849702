"""Which short names has the user given to models?

A YAML file of names, each with a model or with a model and what belongs to it::

    small: synthetic/llama-82m
    chat:
      model: org/name-GGUF
      quantization: q4_k_m
      revision: main
    llama:
      hf_repo: org/name
      gguf_repo: org/name-GGUF
      gguf_file: name-Q4_K_M.gguf
      context_length: 8192
      recommended_memory_gb: 6

Everything is text as it is written (a revision ``0123`` keeps its zero). A relative path is meant
from the file's own folder. The names may stand under a key ``models``, and ``hf_id`` and ``dtype_default``
are other programs' words for ``hf_repo`` and ``quantization``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.metrics.units import size
from pytest_llmbench.models.names import is_hub_name, read_name
from pytest_llmbench.models.spec import Form, Known, ModelSpec
from pytest_llmbench.models.synthetic.shapes import is_synthetic

GB = 10**9
"""Bytes of a unit of ``recommended_memory_gb``."""
MOST_BYTES = 2**20
"""Of a file of aliases."""

ELSEWHERE = {"hf_id": "hf_repo", "dtype_default": "quantization"}
"""What other programs' files call a key of an alias, and what it is here."""
_TYPES = {"fp16": "f16", "fp32": "f32"}
"""What they call a type of weights."""


class Alias(BaseModel):
    """What one name stands for, as it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    quantization: str | None = None
    revision: str | None = None
    hf_repo: str | None = None
    gguf_repo: str | None = None
    gguf_file: str | None = None
    context_length: int | None = Field(None, gt=0, le=2**40)
    recommended_memory_gb: float | None = Field(None, gt=0, le=2**20)
    local_files_only: bool = False

    @property
    def repos(self) -> tuple[tuple[Form, str], ...]:
        """The hub's repository for each form that has one of its own."""
        both = (("hf", self.hf_repo), ("gguf", self.gguf_repo))
        return tuple((form, repo) for form, repo in both if repo is not None)

    @property
    def known(self) -> Known | None:
        """What it says beside where its model is."""
        memory = self.recommended_memory_gb
        known = Known(
            self.repos,
            self.gguf_file,
            self.context_length,
            None if memory is None else int(memory * GB),
        )
        return None if known == Known() else known


ALIAS_KEYS = (*Alias.model_fields, *ELSEWHERE)
"""What an alias may have."""


class Written(NamedTuple):
    """Where an alias is written."""

    file: Path
    where: str
    """``FILE:LINE``, for messages."""


@dataclass(frozen=True, slots=True, eq=False)
class Aliases:
    """The names of one file, or of a suite."""

    entries: Mapping[str, Alias]
    written: Mapping[str, Written]

    @property
    def names(self) -> list[str]:
        return list(self.entries)

    def over(self, weaker: Aliases | None) -> Aliases:
        """These, and of *weaker* those whose names these do not have."""
        if weaker is None:
            return self
        return Aliases({**weaker.entries, **self.entries}, {**weaker.written, **self.written})

    def spec(self, name: str) -> ModelSpec:
        """The model that *name* stands for.

        :raises UsageError: saying in which line, if the model is unknown.
        """
        alias = self.entries[name]
        where = f"{self.written[name].where}: alias {name!r}"
        model = alias.model or alias.repos[0][1]
        if ModelSpec(model).is_path and not model.startswith("~"):
            model = str(self.written[name].file.parent / model)
        try:
            spec = read_name(model)
        except UsageError as error:
            msg = f"{where}: {error}"
            raise UsageError(msg) from None
        if alias.revision is not None:
            if spec.is_path or is_synthetic(spec.name):
                msg = f"{where}: {model} has no revisions; only models of a hub have"
                raise UsageError(msg)
            spec = replace(spec, revision=alias.revision)
        for _, repo in alias.repos:
            if not is_hub_name(repo):
                msg = f"{where}: {repo!r} is not a hub's repository, which is written ORG/NAME"
                raise UsageError(msg)
        spec = replace(spec, quantization=alias.quantization, alias=name, known=alias.known)
        return replace(spec, local_files_only=alias.local_files_only)


def read_aliases(path: Path) -> Aliases:
    """The aliases in a YAML file.

    :raises UsageError: naming the file, the line and the key, if something in it is not valid.
    """
    import yaml

    path = path.expanduser().absolute()
    try:
        text = _text(path)
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        # The base loader makes text of everything: no number, date or truth value is guessed.
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except OSError as error:
        msg = f"the models file {path} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        msg = f"{where}: this is not valid YAML: {getattr(error, 'problem', None) or error}"
        raise UsageError(msg) from error
    except RecursionError:
        msg = f"{path}: lists or mappings stand in one another too deep; a name has a model, or a mapping"
        raise UsageError(msg) from None
    if root is None:
        return Aliases({}, {})
    if not isinstance(content, dict):
        msg = f"{path}:1: expected names with a model each, such as 'small: synthetic/llama-82m'"
        raise UsageError(msg)
    if _wrapped(content):
        root, content = root.value[0][1], content["models"]
    lines: dict[str, int] = {}
    entries: dict[str, Alias] = {}
    for key, value in root.value:
        name, line = key.value, key.start_mark.line + 1
        if name in lines:
            msg = f"{path}:{line}: the name {name!r} was given in line {lines[name]} already"
            raise UsageError(msg)
        lines[name] = line
        key_lines: dict[str, int] = {}
        for inner, _ in value.value if isinstance(content[name], dict) else ():
            own, own_line = inner.value, inner.start_mark.line + 1
            if own in key_lines:
                msg = (
                    f"{path}:{own_line}: {name!r}, key {own!r}: it was given in line {key_lines[own]} already"
                )
                raise UsageError(msg)
            key_lines[own] = own_line
        keys = {key: f"{path}:{inner}" for key, inner in key_lines.items()}
        entries[name] = read_alias(name, content[name], f"{path}:{line}", keys)
    return Aliases(entries, {name: Written(path, f"{path}:{line}") for name, line in lines.items()})


def _text(path: Path) -> str:
    """The text of a file; no more of it is read than one may have.

    :raises OSError: if it cannot be read; :raises UnicodeDecodeError: if it is not UTF-8.
    :raises UsageError: if it is too large.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        msg = f"the models file {path} is larger than {size(MOST_BYTES)}: is it one?"
        raise UsageError(msg)
    return content.decode("utf-8")


def _known_type(key: str, said: object) -> object:
    """What one key of an alias says; a type of weights by our name for it."""
    return _TYPES.get(said, said) if key == "dtype_default" and isinstance(said, str) else said


def _wrapped(content: dict[str, object]) -> bool:
    """Whether the names stand under ``models``, as in other programs' files."""
    inner = content.get("models")
    return len(content) == 1 and isinstance(inner, dict) and not set(ALIAS_KEYS) & inner.keys()


def read_alias(name: str, value: object, where: str, keys: Mapping[str, str]) -> Alias:
    """What one name stands for; every part of *value* is a text.

    :param where: where the name stands, and *keys*, where each of its own keys does.
    :raises UsageError: if it is not a valid name, or not what one can stand for.
    """
    if is_synthetic(name) or "@" in name or not name or ModelSpec(name).is_path:
        msg = f"{where}: {name!r} is not a valid alias, because models are written that way; choose another"
        raise UsageError(msg)
    fields = {"model": value} if isinstance(value, str) else value
    if isinstance(fields, dict):
        known = list(ALIAS_KEYS)
        if (unknown := next((key for key in fields if key not in known), None)) is not None:
            hint = suggest(unknown, known).rstrip("?")
            msg = f"{keys.get(unknown, where)}: {name!r}, key {unknown!r}: unknown key{hint}; the keys are "
            raise UsageError(msg + ", ".join(known))
        for key in ELSEWHERE.keys() & fields.keys():
            if ELSEWHERE[key] in fields:
                msg = f"{keys.get(key, where)}: {name!r}: give {ELSEWHERE[key]!r} or {key!r}, and not both"
                raise UsageError(msg)
        none = ("", "~", "null")
        fields = {
            ELSEWHERE.get(key, key): None if said in none else _known_type(key, said)
            for key, said in fields.items()
        }
    named = isinstance(fields, dict) and any(fields.get(key) for key in ("model", "hf_repo", "gguf_repo"))
    if not isinstance(fields, dict) or not named:
        msg = f"{where}: {name!r} needs a model: '{name}: org/name', or a mapping with the key 'model'"
        raise UsageError(msg)
    try:
        alias = Alias.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        msg = f"{keys.get(key, where)}: {name!r}, key {key!r}: {first['msg']}"
        raise UsageError(msg) from None
    contradiction = None
    if alias.model is not None and alias.repos:
        contradiction = "'model' is for all backends; give it, or 'hf_repo' and 'gguf_repo', and not both"
    elif alias.gguf_file is not None and alias.gguf_repo is None:
        contradiction = "'gguf_file' is a file of 'gguf_repo': give that too"
    elif alias.revision is not None and len(alias.repos) > 1:
        contradiction = "'revision' is that of one repository, and there are 'hf_repo' and 'gguf_repo'"
    if contradiction is not None:
        msg = f"{where}: {name!r}: {contradiction}"
        raise UsageError(msg)
    return alias
