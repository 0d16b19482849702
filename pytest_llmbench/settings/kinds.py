"""What can a case be, and what measures it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Fixture = Literal["llm_model", "llm_load", "llm_chat"]
"""What measures a case."""
CASE_FIXTURES = ("llm_model", "llm_load", "llm_chat", "llm_server")
"""The fixtures that stand for a case; a test that has one of them is a benchmark."""
FIXTURES: tuple[Fixture, ...] = get_args(Fixture)

KINDS = {
    "model": "what llm_model measures",
    "chat": "conversations (llm_chat)",
    "engine": "models in a process of their own",
    "sampled": "a temperature above 0",
    "running": "servers that run already (--llm-base-url)",
    "started": "servers that are started (--llm-serve)",
    "docker": "servers in a container (--llm-serve=docker:ENGINE)",
    "https": "servers behind https://",
    "load": "load levels (llm_load)",
    "closed": "load levels of a concurrency",
    "conversations": "load levels of conversations",
    "open": "load levels at a request rate",
    "made": "load levels with made prompts",
}
"""What a case can be, in words; a setting or an option of a backend may be for some of them only."""

_UNDER_LOAD = ("load", "closed", "conversations", "open", "made")
NEVER: Mapping[Fixture, tuple[str, ...]] = {
    "llm_model": ("chat", *_UNDER_LOAD),
    "llm_load": ("model", "chat", "engine"),
    "llm_chat": ("model", *_UNDER_LOAD),
}
"""What a case of a fixture never is."""
OF_FIXTURE: Mapping[str, str] = {"llm_model": "model", "llm_load": "load", "llm_chat": "chat"}
"""What a case of a fixture always is."""
