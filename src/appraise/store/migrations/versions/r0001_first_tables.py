"""Features, predictions, outcomes, batches, keys, audit and stream offsets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    _features()
    _predictions()
    _outcomes()
    _batches()
    _administration()


def downgrade() -> None:
    """Drop them, and all that is in them."""
    for table in ("stream_offsets", "audit", "api_keys", "batches", "outcomes", "predictions", "user_features"):
        op.drop_table(table)


def _features() -> None:
    op.create_table(
        "user_features",
        sa.Column("feature_id", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()")),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("feature_value", postgresql.JSONB, nullable=False),
        sa.Column("ingestion_timestamp", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("feature_id", name="user_features_pkey"),
        sa.UniqueConstraint(
            "user_id",
            "event_type",
            "ingestion_timestamp",
            name="user_features_user_id_event_type_ingestion_timestamp_key",
        ),
    )


def _predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("prediction_id", sa.Uuid, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("arm", sa.Text, nullable=False, server_default=sa.text("'champion'")),
        sa.Column("alias", sa.Text),
        sa.Column("transport", sa.Text, nullable=False),
        sa.Column("caller", sa.Text),
        sa.Column("user_id", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("batch_id", sa.Uuid),
        sa.Column("level", sa.Double, nullable=False),
        sa.Column("estimate", sa.Double, nullable=False),
        sa.Column("lower", sa.Double, nullable=False),
        sa.Column("upper", sa.Double, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("warnings", sa.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("input", postgresql.JSONB, nullable=False),
        sa.Column("feature_sources", postgresql.JSONB),
        sa.Column("latency_ms", sa.Double),
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary, nullable=False),
        sa.Column("record_hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name="predictions_pkey"),
        sa.UniqueConstraint("writer", "position", name="predictions_writer_position_key"),
        sa.CheckConstraint("transport IN ('rest', 'batch', 'kafka')", name="predictions_transport_check"),
    )
    op.create_index("predictions_created_at_idx", "predictions", ["created_at"], postgresql_using="brin")
    newest = sa.text("created_at DESC")
    op.create_index("predictions_model_name_created_at_idx", "predictions", ["model_name", newest])
    op.create_index(
        "predictions_user_id_created_at_idx",
        "predictions",
        ["user_id", newest],
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_index(
        "predictions_batch_id_idx", "predictions", ["batch_id"], postgresql_where=sa.text("batch_id IS NOT NULL")
    )


def _outcomes() -> None:
    op.create_table(
        "outcomes",
        sa.Column("outcome_id", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()")),
        sa.Column("prediction_id", sa.Uuid),
        sa.Column("user_id", sa.Text),
        sa.Column("model_name", sa.Text),
        sa.Column("price", sa.Double, nullable=False),
        sa.Column("sold_at", _MOMENT, nullable=False),
        sa.Column("recorded_at", _MOMENT, nullable=False, server_default=sa.text("now()")),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("caller", sa.Text),
        sa.PrimaryKeyConstraint("outcome_id", name="outcomes_pkey"),
        sa.CheckConstraint("price > 0 AND price < 'infinity'", name="outcomes_price_check"),
        sa.CheckConstraint("prediction_id IS NOT NULL OR user_id IS NOT NULL", name="outcomes_subject_check"),
    )
    op.create_index(
        "outcomes_prediction_id_idx",
        "outcomes",
        ["prediction_id"],
        postgresql_where=sa.text("prediction_id IS NOT NULL"),
    )
    op.create_index(
        "outcomes_user_id_sold_at_idx",
        "outcomes",
        ["user_id", "sold_at"],
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_index("outcomes_sold_at_idx", "outcomes", ["sold_at"])
    op.create_index("outcomes_recorded_at_idx", "outcomes", ["recorded_at"])


def _batches() -> None:
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.Uuid, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("valued", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("refused", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("caller", sa.Text),
        sa.Column("started_at", _MOMENT, nullable=False, server_default=sa.text("now()")),
        sa.Column("finished_at", _MOMENT),
        sa.Column("detail", postgresql.JSONB),
        sa.PrimaryKeyConstraint("batch_id", name="batches_pkey"),
        sa.CheckConstraint("state IN ('running', 'done', 'failed')", name="batches_state_check"),
    )
    op.create_index("batches_started_at_idx", "batches", [sa.text("started_at DESC")])


def _administration() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("rate_per_second", sa.Double),
        sa.Column("revoked_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="api_keys_pkey"),
        sa.UniqueConstraint("hash", name="api_keys_hash_key"),
    )
    op.create_table(
        "audit",
        sa.Column("audit_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("at", _MOMENT, nullable=False, server_default=sa.text("now()")),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", postgresql.JSONB),
        sa.PrimaryKeyConstraint("audit_id", name="audit_pkey"),
    )
    op.create_index("audit_at_idx", "audit", ["at"])
    op.create_table(
        "stream_offsets",
        sa.Column("group_id", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("group_id", "topic", "partition", name="stream_offsets_pkey"),
    )
