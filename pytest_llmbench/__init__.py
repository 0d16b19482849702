"""pytest-llmbench: LLM inference benchmarks as test cases."""

from __future__ import annotations

__version__ = "0.1.0"
