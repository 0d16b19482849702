"""Which tables does the index have?"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "damaged",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_damaged")),
    )
    op.create_table(
        "metric_rows",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("row", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_metric_rows")),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("schema_version", sa.String(length=16), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("machine", sa.Text(), nullable=True),
        sa.Column("cpu", sa.Text(), nullable=True),
        sa.Column("gpus", sa.Text(), nullable=True),
        sa.Column("memory", sa.BigInteger(), nullable=True),
        sa.Column("commit_id", sa.Text(), nullable=True),
        sa.Column("commit_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("dirty", sa.Boolean(), nullable=True),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("case_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("path", name=op.f("uq_sessions_path")),
    )
    op.create_index("ix_sessions_started", "sessions", ["started"], unique=False)
    op.create_table(
        "cases",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("nodeid", sa.Text(), nullable=False),
        sa.Column("measurement", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=True),
        sa.Column("verdict_reason", sa.Text(), nullable=True),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=True),
        sa.Column("quantization", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("parameters", sa.BigInteger(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("engine_version", sa.Text(), nullable=True),
        sa.Column("server", sa.Text(), nullable=True),
        sa.Column("conversation", sa.Text(), nullable=True),
        sa.Column("turn", sa.Integer(), nullable=True),
        sa.Column("way", sa.String(length=8), nullable=True),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        sa.Column("conversations", sa.Integer(), nullable=True),
        sa.Column("request_rate", sa.Float(), nullable=True),
        sa.Column("depth", sa.Integer(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("disturbance", sa.Text(), nullable=True),
        sa.Column("spoiled", sa.Text(), nullable=True),
        sa.Column("usable", sa.Boolean(), nullable=False),
        sa.Column("work", sa.String(length=64), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_cases_session_id_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
    )
    op.create_index(
        "ix_cases_model_backend_quantization", "cases", ["model", "backend", "quantization"], unique=False
    )
    op.create_index(
        "ix_cases_nodeid_measurement_started", "cases", ["nodeid", "measurement", "started"], unique=False
    )
    op.create_index("ix_cases_session_id_position", "cases", ["session_id", "position"], unique=True)
    op.create_index("ix_cases_started", "cases", ["started"], unique=False)
    op.create_table(
        "metrics",
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("case_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("median", sa.Float(precision=53), nullable=True),
        sa.Column("mean", sa.Float(precision=53), nullable=True),
        sa.Column("stddev", sa.Float(precision=53), nullable=True),
        sa.Column("min", sa.Float(precision=53), nullable=True),
        sa.Column("max", sa.Float(precision=53), nullable=True),
        sa.Column("p50", sa.Float(precision=53), nullable=True),
        sa.Column("p90", sa.Float(precision=53), nullable=True),
        sa.Column("p95", sa.Float(precision=53), nullable=True),
        sa.Column("p99", sa.Float(precision=53), nullable=True),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("fk_metrics_case_id_cases"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("started", "case_id", "name", name=op.f("pk_metrics")),
    )
    op.create_index("ix_metrics_case_id", "metrics", ["case_id"], unique=False)
    op.create_index("ix_metrics_name_started", "metrics", ["name", "started"], unique=False)
    _partition_by_time()


def _partition_by_time() -> None:
    """Where the database has TimescaleDB, let it keep the values of metrics in pieces of time."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    if connection.execute(sa.text("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'")).first():
        op.execute("SELECT create_hypertable('metrics', 'started', migrate_data => true)")


def downgrade() -> None:
    """Take them away."""
    op.drop_index("ix_metrics_name_started", table_name="metrics")
    op.drop_index("ix_metrics_case_id", table_name="metrics")
    op.drop_table("metrics")
    op.drop_index("ix_cases_started", table_name="cases")
    op.drop_index("ix_cases_session_id_position", table_name="cases")
    op.drop_index("ix_cases_nodeid_measurement_started", table_name="cases")
    op.drop_index("ix_cases_model_backend_quantization", table_name="cases")
    op.drop_table("cases")
    op.drop_index("ix_sessions_started", table_name="sessions")
    op.drop_table("sessions")
    op.drop_table("metric_rows")
    op.drop_table("damaged")
