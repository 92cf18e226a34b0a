"""The steps that make and change the tables, run by `Database.upgrade`."""

from __future__ import annotations

#: Not Alembic's own name, which MLflow has where it shares the database.
VERSION_TABLE = "appraise_revision"

#: The last step; said here so that a service need not read the steps to know it.
NEWEST = "0002"
