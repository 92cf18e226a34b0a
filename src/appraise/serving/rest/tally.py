"""What a worker counts, in plain integers; Prometheus sees the sum over the workers when it asks."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from appraise.serving.estimates import Grade

#: Upper ends of the latency buckets, seconds; a request takes from a fifth of a millisecond to a few seconds.
LATENCY_BUCKETS = (0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: Upper ends of the buckets of rows that were valued in one call.
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

Counts = dict[tuple[str, ...], float]


class Tally:
    """Counts of one worker. Everything but a batch's rows is counted on the event loop."""

    def __init__(self) -> None:
        self.requests: Counts = {}
        #: By model, version and confidence grade.
        self.predictions: Counts = {}
        self.refusals: Counts = {}
        #: Where this worker's prediction log stood when it was last asked.
        self.log: Counts = {}
        self.latency: dict[str, list[float]] = {}
        self.sizes: list[float] = [0.0] * (len(SIZE_BUCKETS) + 2)
        # A batch's rows are counted in its thread.
        self._lock = threading.Lock()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        key = (route, method, str(status))
        self.requests[key] = self.requests.get(key, 0.0) + 1.0
        buckets = self.latency.get(route)
        if buckets is None:
            buckets = self.latency[route] = [0.0] * (len(LATENCY_BUCKETS) + 2)
        buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1.0
        buckets[-1] += seconds

    def valued(self, model: str, version: str, rows: int, grade: Grade) -> None:
        """Count rows that were valued, with estimates of this grade."""
        with self._lock:
            key = (model, version, grade)
            self.predictions[key] = self.predictions.get(key, 0.0) + rows

    def refused(self, model: str, rows: int) -> None:
        """Count rows that were refused."""
        with self._lock:
            self.refusals[model,] = self.refusals.get((model,), 0.0) + rows

    def batched(self, rows: int) -> None:
        """Count a call that valued this many rows."""
        with self._lock:
            self.sizes[bisect_left(SIZE_BUCKETS, rows)] += 1.0
            self.sizes[-1] += rows

    def snapshot(self) -> dict[str, Any]:
        """Everything, as JSON."""
        with self._lock:
            return {
                "requests": [[*key, count] for key, count in self.requests.items()],
                "predictions": [[*key, count] for key, count in self.predictions.items()],
                "refusals": [[*key, count] for key, count in self.refusals.items()],
                "log": [[*key, count] for key, count in self.log.items()],
                "latency": {route: list(buckets) for route, buckets in self.latency.items()},
                "sizes": list(self.sizes),
            }


def merged(snapshots: Iterable[dict[str, Any]]) -> Tally:
    """The sum of several workers' snapshots."""
    total = Tally()
    for snapshot in snapshots:
        for name in ("requests", "predictions", "refusals", "log"):
            counts: Counts = getattr(total, name)
            for *key, count in snapshot[name]:
                counts[tuple(key)] = counts.get(tuple(key), 0.0) + count
        for route, buckets in snapshot["latency"].items():
            before = total.latency.get(route, [0.0] * len(buckets))
            total.latency[route] = [a + b for a, b in zip(before, buckets, strict=True)]
        total.sizes = [a + b for a, b in zip(total.sizes, snapshot["sizes"], strict=True)]
    return total
