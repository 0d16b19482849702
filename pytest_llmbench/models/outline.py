"""What do a model's files say of it before it is loaded?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmbench.models.attention import Attention


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of a model before it is loaded."""

    size: int
    """Bytes of all weight files; of a synthetic model that is not built yet, roughly."""
    context: int | None
    """Tokens that it was trained for; None where its files do not say."""
    attention: Attention | None
    """None where a context takes no memory that could be told beforehand."""
    dtype: str | None = None
    """``f32``, ``f16`` or ``bf16``, where an engine would compute in what the weights are stored as."""
