"""Is the service well, and what can be asked of it?"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from pytest_llmbench._version import __version__

router = APIRouter(tags=["Service"])


class Health(BaseModel):
    """Whether the service can do its work."""

    status: Literal["ok"]
    version: str = Field(description="of pytest-llmbench")


@router.get("/health")
def health(request: Request) -> Health:
    """Whether the service answers."""
    return Health(status="ok", version=__version__)
