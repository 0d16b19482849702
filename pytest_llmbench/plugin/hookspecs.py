"""What can another plugin or a conftest add?

See https://docs.pytest.org/en/stable/how-to/writing_hook_functions.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.metrics.registry import MetricRegistry


def pytest_llmbench_register_backends(registry: Registry) -> None:
    """Add backends to those that are built in or come by the entry point ``pytest_llmbench.backends``.

    The backend has to be an attribute of a module, because the worker process imports it again:

    .. code-block:: python

        # conftest.py
        from my_engine.llmbench import backend

        def pytest_llmbench_register_backends(registry):
            registry.register(backend)
    """


# A conftest.py of a folder is read while tests are collected, after the plugins were asked: it is asked then.
@pytest.hookspec(historic=True)
def pytest_llmbench_register_metrics(registry: MetricRegistry) -> None:
    """Add metrics to those that are built in.

    A metric is one row: what it means, how it is computed, judged and shown. It is then in documents, tables
    and exports, ``--llm-columns`` and ``--llm-gate`` know it, and a document tells what it is wherever it is
    read:

    .. code-block:: python

        # conftest.py
        from pytest_llmbench import Metric

        def pytest_llmbench_register_metrics(registry):
            registry.register(
                Metric(
                    name="ttft_per_prompt_token",
                    unit="s",
                    better="lower",
                    scope="round",
                    formula="TTFT / prompt tokens",
                    source="https://example.com/why",
                    compute=lambda t: (t.token_times[0] - t.sent) * 1e-9 / t.prompt_tokens,
                )
            )
    """
