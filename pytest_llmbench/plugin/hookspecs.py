"""What can another plugin or a conftest add?

See https://docs.pytest.org/en/stable/how-to/writing_hook_functions.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmbench.backends.registry import Registry


def pytest_llmbench_register_backends(registry: Registry) -> None:
    """Add backends to those that are built in or come by the entry point ``pytest_llmbench.backends``.

    The backend has to be an attribute of a module, because the worker process imports it again:

    .. code-block:: python

        # conftest.py
        from my_engine.llmbench import backend

        def pytest_llmbench_register_backends(registry):
            registry.register(backend)
    """
