"""Which models and suites can be asked for?"""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from pytest_llmbench.service.api.shared import Asked
from pytest_llmbench.service.requests import models, suites

router = APIRouter(tags=["What there is"])


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
            SuiteBody(name=name, links={"runs": f"/suites/{name}/runs"})
            for name in suites(service.configuration)
        ]
    )
