"""What runs beside the workers of a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from appraise.jobs.batches import carrying_out
from appraise.jobs.db import prepared
from appraise.jobs.loading import loading
from appraise.jobs.serving.plan import ServePlan


@contextmanager
def companions(plan: ServePlan) -> Iterator[None]:
    """Prepare the database, load the prediction log and carry out batch runs for as long as the block runs.

    To be entered when there is a model to serve: a service that refuses to start has no use for a database.
    """
    with prepared(plan.database), loading(plan.loading), carrying_out(plan.batches):
        yield
