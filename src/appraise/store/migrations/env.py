"""What Alembic runs: every step in the one transaction of the connection that it is given."""

from __future__ import annotations

from alembic import context

from appraise.store.migrations import VERSION_TABLE
from appraise.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
