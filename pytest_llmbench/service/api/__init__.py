"""What can a script ask over HTTP? One module a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI


def add_api(app: FastAPI) -> None:
    """Add every route of the API to *app*."""
    from pytest_llmbench.service.api import (
        benchmarks,
        compared,
        known,
        matrices,
        recommendations,
        results,
        system,
    )

    for of in (benchmarks, known, results, compared, recommendations, matrices, system):
        app.include_router(of.router)
