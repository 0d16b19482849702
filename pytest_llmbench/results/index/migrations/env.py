"""How does Alembic run a step? In the transaction, and on the connection, that it is given."""

from __future__ import annotations

from alembic import context

from pytest_llmbench.results.index.schema import comparison

# Alembic runs this file, and then there is one.
if (config := getattr(context, "config", None)) is not None:
    context.configure(**comparison(config.attributes["connection"]))
    context.run_migrations()
