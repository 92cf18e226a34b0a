"""Records of the prediction log byte for byte, the segments they came in, and what has no row of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables and columns."""
    op.alter_column("predictions", "writer", new_column_name="segment")
    op.execute(
        "ALTER TABLE predictions RENAME CONSTRAINT predictions_writer_position_key TO predictions_segment_position_key"
    )
    op.add_column("predictions", sa.Column("currency", sa.Text))
    op.add_column("predictions", sa.Column("price_unit", sa.Double, nullable=False, server_default=sa.text("1")))
    op.add_column("predictions", sa.Column("record", sa.Text, nullable=False))
    op.drop_index("predictions_created_at_idx", "predictions")
    op.create_index("predictions_created_at_prediction_id_idx", "predictions", ["created_at", "prediction_id"])
    op.create_table(
        "log_segments",
        sa.Column("segment", sa.Text, nullable=False),
        sa.Column("log", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("header", sa.Text, nullable=False),
        sa.Column("loaded_bytes", sa.BigInteger, nullable=False),
        sa.Column("frames", sa.BigInteger, nullable=False),
        sa.Column("last_hash", sa.LargeBinary, nullable=False),
        sa.Column("sealed_frames", sa.BigInteger),
        sa.Column("sealed_hash", sa.LargeBinary),
        sa.Column("damaged_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("loaded_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("segment", name="log_segments_pkey"),
    )
    op.create_table(
        "log_unlisted",
        sa.Column("unlisted_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("segment", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("prediction_id", sa.Uuid),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary, nullable=False),
        sa.Column("record_hash", sa.LargeBinary, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("unlisted_id", name="log_unlisted_pkey"),
        sa.UniqueConstraint("segment", "position", "record_hash", name="log_unlisted_segment_position_record_hash_key"),
    )


def downgrade() -> None:
    """Drop them, and all that is in them."""
    op.drop_table("log_unlisted")
    op.drop_table("log_segments")
    op.drop_index("predictions_created_at_prediction_id_idx", "predictions")
    op.create_index("predictions_created_at_idx", "predictions", ["created_at"], postgresql_using="brin")
    for column in ("record", "price_unit", "currency"):
        op.drop_column("predictions", column)
    op.execute(
        "ALTER TABLE predictions RENAME CONSTRAINT predictions_segment_position_key TO predictions_writer_position_key"
    )
    op.alter_column("predictions", "segment", new_column_name="writer")
