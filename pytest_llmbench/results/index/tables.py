"""Which tables does the database have?

The index is made of the documents of a store, and can be made again at any time; jobs and what became of
them are the service's own. Times are UTC; durations are seconds, sizes bytes, and values of metrics are in
the metric's unit.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

from pytest_llmbench.results.records import MetricRecord

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMES)


class Moment(TypeDecorator[datetime]):
    """A time in UTC, which SQLite keeps without its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_Id = BigInteger().with_variant(Integer, "sqlite")


sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("path", Text, nullable=False, unique=True),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
    Column("schema_version", String(16), nullable=False),
    Column("started", Moment, nullable=False),
    Column("ended", Moment),
    Column("state", String(16), nullable=False),
    Column("host", Text),
    Column("machine", Text),
    Column("cpu", Text),
    Column("gpus", Text),
    Column("memory", BigInteger),
    Column("hardware", Text),
    Column("hardware_count", Integer),
    Column("market", String(16)),
    Column("matrix", Text),
    Column("cell", String(16)),
    Column("cell_key", String(16)),
    Column("commit_id", Text),
    Column("commit_time", Moment),
    Column("branch", Text),
    Column("dirty", Boolean),
    Column("versions", JSON, nullable=False),
    Column("case_count", Integer, nullable=False),
    Index("ix_sessions_started", "started"),
    Index("ix_sessions_matrix_cell", "matrix", "cell"),
)
"""``hardware`` is the label that a matrix has for it, else the product of the GPUs or the processor."""

damaged = Table(
    "damaged",
    metadata,
    Column("path", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
    Column("problem", Text, nullable=False),
)
"""Documents that cannot be read, which are not read again until they change."""

cases = Table(
    "cases",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("session_id", String(64), ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("nodeid", Text, nullable=False),
    Column("measurement", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("error", Text),
    Column("verdict", String(16)),
    Column("verdict_reason", Text),
    Column("backend", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("alias", Text),
    Column("quantization", Text),
    Column("digest", Text),
    Column("revision", Text),
    Column("parameters", BigInteger),
    Column("size", BigInteger),
    Column("engine_version", Text),
    Column("server", Text),
    Column("conversation", Text),
    Column("turn", Integer),
    Column("way", String(8)),
    Column("concurrency", Integer),
    Column("conversations", Integer),
    Column("request_rate", Float),
    Column("depth", Integer),
    Column("prompt_tokens", Integer),
    Column("output_tokens", Integer),
    Column("disturbance", Text),
    Column("left_out", Text),
    Column("spoiled", Text),
    Column("spoiled_cpu", Text),
    Column("weights", Text),
    Column("work", String(16), nullable=False),
    Column("task", String(16), nullable=False),
    Column("workload", String(16)),
    Column("prompts", JSON),
    Column("params", JSON, nullable=False),
    Column("started", Moment, nullable=False),
    Index("ix_cases_session_id_position", "session_id", "position", unique=True),
    Index("ix_cases_nodeid_measurement_started", "nodeid", "measurement", "started"),
    Index("ix_cases_model_quantization_started", "model", "quantization", "started"),
    Index("ix_cases_verdict_started", "verdict", "started"),
    Index("ix_cases_started", "started"),
    Index("ix_cases_task", "task"),
)
"""``left_out`` to ``prompts`` are as :class:`pytest_llmbench.results.index.facts.CaseFacts` says."""

STATISTICS = tuple(
    name for name, field in MetricRecord.model_fields.items() if field.annotation in (float, float | None)
)
"""Of a metric, by the record that the documents have."""

metrics = Table(
    "metrics",
    metadata,
    Column("started", Moment, primary_key=True),
    Column("case_id", _Id, ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(80), primary_key=True),
    Column("n", Integer, nullable=False),
    Column("level", Float(53)),
    Column("processes", Integer),
    *(Column(name, Float(53)) for name in STATISTICS),
    Index("ix_metrics_case_id", "case_id"),
    Index("ix_metrics_name_started", "name", "started"),
)

"""``level`` and ``processes`` are what comparisons take; none where other load spoiled it."""

totals = Table(
    "totals",
    metadata,
    Column("session_id", String(64), ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("model", String(100), primary_key=True),
    Column("backend", String(100), primary_key=True),
    Column("quantization", String(100), primary_key=True),
    Column("totals", JSON, nullable=False),
)
"""What the rounds of a session add up to; see :mod:`pytest_llmbench.results.index.totals`."""

metric_rows = Table(
    "metric_rows",
    metadata,
    Column("session_id", String(64), ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(80), primary_key=True),
    Column("row", JSON, nullable=False),
    Index("ix_metric_rows_name_session_id", "name", "session_id"),
)
"""What a document says of the metrics that its cases have: unit, direction, formula."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("device", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("request", JSON, nullable=False),
    Column("session_id", String(64)),
    Column("attempt", Integer, nullable=False, default=0),
    Column("created", Moment, nullable=False),
    Column("started", Moment),
    Column("ended", Moment),
    Column("reason", Text),
    Column("exit_status", Integer),
    Column("progress_done", Integer),
    Column("progress_total", Integer),
    Column("cancel_asked", Boolean, nullable=False, default=False),
    Column("idempotency_key", String(255), unique=True),
    Index("ix_jobs_device_state_created", "device", "state", "created"),
)

job_events = Table(
    "job_events",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("at", Moment, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("reason", Text),
    Index("ix_job_events_job_id", "job_id"),
)

INDEXED = (metrics, cases, totals, metric_rows, sessions, damaged)
"""What is made of documents, so that what others refer to comes last."""
