"""Which hardware, and which cell of a matrix, was a session measured on?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_COLUMNS: tuple[tuple[str, Any], ...] = (
    ("hardware", sa.Text()),
    ("hardware_count", sa.Integer()),
    ("market", sa.String(length=16)),
    ("matrix", sa.Text()),
    ("cell", sa.String(length=16)),
    ("cell_key", sa.String(length=16)),
)


def upgrade() -> None:
    """Add them; the next update reads all documents again, which fills them."""
    for name, kind in _COLUMNS:
        op.add_column("sessions", sa.Column(name, kind))
    op.add_column("cases", sa.Column("workload", sa.String(length=16)))
    op.create_index("ix_sessions_matrix_cell", "sessions", ["matrix", "cell"], unique=False)
    # No file has this size, and no document this hash.
    op.execute("UPDATE sessions SET size = -1, digest = ''")


def downgrade() -> None:
    """Take them away."""
    op.drop_index("ix_sessions_matrix_cell", table_name="sessions")
    with op.batch_alter_table("cases") as table:
        table.drop_column("workload")
    with op.batch_alter_table("sessions") as table:
        for name, _ in reversed(_COLUMNS):
            table.drop_column(name)
