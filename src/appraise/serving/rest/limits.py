"""What the service allows, as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that keep one client from hurting the others.

    Attributes:
        max_batch_rows: rows of one batch.
        max_body_bytes: bytes of one body.
        request_seconds: time in which a request must have arrived whole.
        queue: single rows that may wait at a time.
        batch_queue: batches that may wait at a time.
        rate_per_second: requests of one key in a second, for keys without a limit of their own; None is no limit.
        cors_origins: origins whose pages may call the service from a browser.
        max_connections: connections at a time; beyond it a request is answered with 503.
    """

    max_batch_rows: int = 10_000
    max_body_bytes: int = 16 * 2**20
    request_seconds: float = 10.0
    queue: int = 1024
    batch_queue: int = 8
    rate_per_second: float | None = None
    cors_origins: tuple[str, ...] = ()
    max_connections: int = 10_000
