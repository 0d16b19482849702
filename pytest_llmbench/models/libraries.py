"""What is to be said of a library that comes with the engines' extras, and is not installed?"""

from __future__ import annotations

from pytest_llmbench.errors import ModelError


def missing_library(package: str) -> ModelError:
    """The error for the missing *package*, naming the extras that install it."""
    return ModelError(
        f"this needs the package {package}, which comes with the engines: "
        "pip install 'pytest-llmbench[llamacpp]' or 'pytest-llmbench[transformers]'"
    )
