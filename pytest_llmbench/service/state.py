"""What do the routes and the pages share: what is configured, the store, its database and its queue?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pytest_llmbench.service.tokens import Tokens


class Configuration(Protocol):
    """What is read of the configuration."""

    @property
    def token(self) -> str | None:
        """Who has it may ask; None: everybody on this machine may."""

    @property
    def hosts(self) -> Sequence[str]:
        """Further names under which the service is asked."""


@dataclass
class Service:
    """One service; ``app.state.service`` of its application."""

    configuration: Configuration

    @cached_property
    def tokens(self) -> Tokens:
        """Who may ask."""
        return Tokens(self.configuration.token)
