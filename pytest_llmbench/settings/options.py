"""What is set of the options of backends and of servers?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_llmbench.models.paths import from_folder

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmbench.backends.base import Options
    from pytest_llmbench.backends.options import Configurable
    from pytest_llmbench.backends.registry import Registry


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """The options that some place gives, by backend and name: texts, or values that are typed already.

    Those of servers stand under ``server``. :func:`pytest_llmbench.backends.options.option_values` makes of
    one backend's all that it has.
    """

    given: Mapping[str, Options] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.given)

    def __iter__(self) -> Iterator[str]:
        """The names of the backends."""
        return iter(self.given)

    def of(self, backend: str) -> Options:
        """Those of one backend."""
        return self.given.get(backend, {})

    def over(self, weaker: BackendOptions) -> BackendOptions:
        """These, and of *weaker* those that these do not have."""
        if not self.given or not weaker.given:
            return self if self.given else weaker
        backends = dict.fromkeys([*weaker.given, *self.given])
        return BackendOptions({name: {**weaker.of(name), **self.of(name)} for name in backends})

    def located(self, registry: Registry, folder: Path | None) -> BackendOptions:
        """With every path among them absolute, where it was meant from *folder*."""
        if not self.given:
            return self
        from pytest_llmbench.servers.options import SERVER, options_of

        known = {SERVER, *registry.names()}
        return BackendOptions(
            {
                name: _located(options, options_of(name, registry), folder) if name in known else options
                for name, options in self.given.items()
            }
        )


def _located(options: Options, whose: Configurable, folder: Path | None) -> Options:
    paths = {spec.name for spec in whose.options if spec.path}
    return {
        name: str(from_folder(value, folder)) if name in paths and isinstance(value, str) and value else value
        for name, value in options.items()
    }
