"""Which models and suites can be asked for?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from pydantic import BaseModel, Field

from pytest_llmbench.service.api.shared import Asked
from pytest_llmbench.service.requests import models, suites

if TYPE_CHECKING:
    from pathlib import Path

router = APIRouter(tags=["What there is"])

_LONGEST = 2**16
"""Bytes of a suite that are read for its description."""


class FormBody(BaseModel):
    """One form of a model's files."""

    form: str
    quantization: str
    size: int = Field(description="bytes; an estimate where it is not there yet")
    there: bool = Field(description="whether it lies in the cache")


class ModelBody(BaseModel):
    """One model."""

    model_id: str
    parameters: int | None
    forms: list[FormBody] = Field(
        description="what is known of them; empty where it is fetched when it is needed"
    )


class ModelList(BaseModel):
    """The models."""

    items: list[ModelBody]


class SuiteBody(BaseModel):
    """One suite."""

    name: str
    description: str | None
    links: dict[str, str]


class SuiteList(BaseModel):
    """The suites."""

    items: list[SuiteBody]


@router.get("/models")
@router.get("/models/", include_in_schema=False)
def list_models(service: Asked) -> ModelList:
    """The models that may be measured."""
    from pytest_llmbench.models.listing import listed_models

    known = {entry.name: entry for entry in listed_models()}
    items = []
    for name in models(service.configuration):
        entry = known.get(name)
        forms = () if entry is None else entry.forms
        items.append(
            ModelBody(
                model_id=name,
                parameters=None if entry is None else entry.parameters,
                forms=[
                    FormBody(
                        form=f.form, quantization=f.quantization, size=f.size, there=f.cached is not None
                    )
                    for f in forms
                ],
            )
        )
    return ModelList(items=items)


@router.get("/suites")
@router.get("/suites/", include_in_schema=False)
def list_suites(service: Asked) -> SuiteList:
    """The suites of the configured folders."""
    return SuiteList(
        items=[
            SuiteBody(name=name, description=_described(path), links={"runs": f"/suites/{name}/runs"})
            for name, path in suites(service.configuration).items()
        ]
    )


def _described(path: Path) -> str | None:
    """What a suite says of itself; None without a description, and for what is not YAML."""
    import yaml

    from pytest_llmbench.errors import one_line, shown

    try:
        with path.open("rb") as file:
            content = yaml.safe_load(file.read(_LONGEST).decode("utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    said = content.get("description") if isinstance(content, dict) else None
    return one_line(shown(said), 300) if isinstance(said, str) else None
