"""How does Alembic run a step? In the transaction, and on the connection, that it is given."""

from __future__ import annotations

from alembic import context

from pytest_llmbench.results.index.schema import comparison

context.configure(**comparison(context.config.attributes["connection"]))
context.run_migrations()
