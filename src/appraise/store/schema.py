"""The tables, as SQLAlchemy Core knows them; `migrations/versions` holds the steps that make them.

Times are `timestamptz`, estimates double precision in the target's unit. There are no foreign keys between
`predictions`, `outcomes` and `batches`: each is written by processes of its own, in whatever order they catch up after
an outage, and a record that cannot be kept because another is still on its way would be a record lost.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

#: Names are given, not chosen by the server, so that a later migration can say which constraint it means.
metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)

_Moment = DateTime(timezone=True)

#: What is known of a user: one row for each value that a feature had. `event_type` is the feature's name, a column of
#: the dataset; `feature_value` is JSON, because a column may be a number, a truth or a text; `ingestion_timestamp` is
#: the event's own time. The unique constraint's index, read backwards, is what finds the latest value as of a moment.
user_features = Table(
    "user_features",
    metadata,
    Column("feature_id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("user_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("feature_value", JSONB, nullable=False),
    Column("ingestion_timestamp", _Moment, nullable=False),
    UniqueConstraint("user_id", "event_type", "ingestion_timestamp"),
)

#: The prediction log: one row for each estimate that was served.
#:
#: - `model_name` is the dataset's name too, `arm` what chose the model (champion, challenger, shadow, canary,
#:   version) or `check` where it was asked to see whether it works, `alias` what the request asked for.
#: - `caller` is the name of the API key, `user_id` whose features or which home it was about, `request_id` what the
#:   client or the service called the request, `batch_id` the batch it was part of.
#: - `input` is the row as it was valued, `feature_sources` says of each of its columns `request` or `store` where
#:   stored features took part.
#: - `record` is what was logged, byte for byte, from which every other column is read.
#: - `segment` and `position` are its place in the log: positions of a segment count from 1 without a gap (its header is
#:   0), and `record_hash` is the SHA-256 of the position, the hash before it and the record (see `chain`).
predictions = Table(
    "predictions",
    metadata,
    Column("prediction_id", Uuid, primary_key=True),
    Column("created_at", _Moment, nullable=False),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("arm", Text, nullable=False, server_default=text("'champion'")),
    Column("alias", Text),
    Column("transport", Text, nullable=False),
    Column("caller", Text),
    Column("user_id", Text),
    Column("request_id", Text),
    Column("batch_id", Uuid),
    Column("level", Double, nullable=False),
    Column("estimate", Double, nullable=False),
    Column("lower", Double, nullable=False),
    Column("upper", Double, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("warnings", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("input", JSONB, nullable=False),
    Column("feature_sources", JSONB),
    Column("latency_ms", Double),
    Column("segment", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("record_hash", LargeBinary, nullable=False),
    Column("currency", Text),
    Column("price_unit", Double, nullable=False, server_default=text("1")),
    Column("record", Text, nullable=False),
    UniqueConstraint("segment", "position"),
    CheckConstraint("transport IN ('rest', 'batch', 'kafka')", name="transport"),
    # Read backwards, it gives the latest predictions, page by page.
    Index("predictions_created_at_prediction_id_idx", "created_at", "prediction_id"),
    Index("predictions_model_name_created_at_idx", "model_name", text("created_at DESC")),
    Index(
        "predictions_user_id_created_at_idx",
        "user_id",
        text("created_at DESC"),
        postgresql_where=text("user_id IS NOT NULL"),
    ),
    Index("predictions_batch_id_idx", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
)

#: How far each segment of a spool has been loaded, written in the transaction that writes its records. `header` is its
#: first frame, `frames` how many are here, `last_hash` that of the last; `sealed_frames` and `sealed_hash` are what its
#: seal says, once it is closed.
log_segments = Table(
    "log_segments",
    metadata,
    Column("segment", Text, primary_key=True),
    Column("log", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("header", Text, nullable=False),
    Column("loaded_bytes", BigInteger, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("last_hash", LargeBinary, nullable=False),
    Column("sealed_frames", BigInteger),
    Column("sealed_hash", LargeBinary),
    Column("damaged_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("loaded_at", _Moment, nullable=False, server_default=func.now()),
)

#: Records that have no row in `predictions`: second copies of a `prediction_id`, and what is no record. They are kept
#: because the chain passes through them.
log_unlisted = Table(
    "log_unlisted",
    metadata,
    Column("unlisted_id", BigInteger, Identity(always=True), primary_key=True),
    Column("segment", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("prediction_id", Uuid),
    Column("reason", Text, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("record_hash", LargeBinary, nullable=False),
    Column("record", LargeBinary, nullable=False),
    UniqueConstraint("segment", "position", "record_hash"),
)

#: What homes really fetched. An outcome names a prediction, or a user or home whose earlier predictions it settles.
#: `price` is in the currency, whatever the target's unit, `sold_at` the sale, `recorded_at` when it became known here.
outcomes = Table(
    "outcomes",
    metadata,
    Column("outcome_id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("prediction_id", Uuid),
    Column("user_id", Text),
    Column("model_name", Text),
    Column("price", Double, nullable=False),
    Column("sold_at", _Moment, nullable=False),
    Column("recorded_at", _Moment, nullable=False, server_default=func.now()),
    Column("source", Text, nullable=False),
    Column("caller", Text),
    CheckConstraint("price > 0 AND price < 'infinity'", name="price"),
    CheckConstraint("prediction_id IS NOT NULL OR user_id IS NOT NULL", name="subject"),
    Index("outcomes_prediction_id_idx", "prediction_id", postgresql_where=text("prediction_id IS NOT NULL")),
    Index("outcomes_user_id_sold_at_idx", "user_id", "sold_at", postgresql_where=text("user_id IS NOT NULL")),
    Index("outcomes_sold_at_idx", "sold_at"),
    Index("outcomes_recorded_at_idx", "recorded_at"),
)

#: Batch runs: what was read and written, and how far it got.
batches = Table(
    "batches",
    metadata,
    Column("batch_id", Uuid, primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("rows", BigInteger, nullable=False, server_default=text("0")),
    Column("valued", BigInteger, nullable=False, server_default=text("0")),
    Column("refused", BigInteger, nullable=False, server_default=text("0")),
    Column("caller", Text),
    Column("started_at", _Moment, nullable=False, server_default=func.now()),
    Column("finished_at", _Moment),
    Column("detail", JSONB),
    CheckConstraint("state IN ('running', 'done', 'failed')", name="state"),
    Index("batches_started_at_idx", text("started_at DESC")),
)

#: API keys as hashes, for services on several machines that share them.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("created_at", _Moment, nullable=False),
    Column("rate_per_second", Double),
    Column("revoked_at", _Moment),
)

#: Who changed what, and when; rows are only ever added.
audit = Table(
    "audit",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", _Moment, nullable=False, server_default=func.now()),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", JSONB),
    Index("audit_at_idx", "at"),
)

#: How far each group of stream workers has written a partition: kept in the transaction that writes the rows, so that
#: a message is never written twice.
stream_offsets = Table(
    "stream_offsets",
    metadata,
    Column("group_id", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    PrimaryKeyConstraint("group_id", "topic", "partition"),
)
