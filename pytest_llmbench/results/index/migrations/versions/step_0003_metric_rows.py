"""What does each session say of its metrics?"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Keep it by session; the next update reads all documents again, which fills it."""
    op.drop_table("metric_rows")
    op.create_table(
        "metric_rows",
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("row", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f("fk_metric_rows_session_id_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_id", "name", name=op.f("pk_metric_rows")),
    )
    op.create_index("ix_metric_rows_name_session_id", "metric_rows", ["name", "session_id"], unique=False)
    _read_again()


def downgrade() -> None:
    """Keep one for all sessions."""
    op.drop_index("ix_metric_rows_name_session_id", table_name="metric_rows")
    op.drop_table("metric_rows")
    op.create_table(
        "metric_rows",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("row", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_metric_rows")),
    )
    _read_again()


def _read_again() -> None:
    # No file has this size, and no document this hash.
    op.execute("UPDATE sessions SET size = -1, digest = ''")
