"""What a stream worker counts, and how Prometheus reads it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

#: Upper ends of the buckets of messages that were taken together.
_SIZE_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
#: Upper ends of the latency buckets, seconds: a transaction takes milliseconds, a broker that was away minutes.
_LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)

#: Where a worker's models come from: the cache alone so far, the registry that answered, or, after a question that
#: failed, still what was had before.
Known = Literal["cached", "answered", "failed"]

#: What a message comes to that is not refused, by what the worker does.
_DONE = {"score": "predicted", "ingest": "stored"}


class Tally:
    """Counts of one worker: its loop writes them, and the health endpoint reads them from another thread.

    Args:
        role: what the worker does (`score`, `ingest`).

    Attributes:
        lag: messages that wait in its partitions.
        partitions: those.
        models: the versions that answer, by name.
        registry: whether the registry has said which those are; None where no model is asked.
    """

    def __init__(self, role: str) -> None:
        self.role = role
        self.lag = 0
        self.partitions: tuple[int, ...] = ()
        self.models: dict[str, str] = {}
        self.registry: Known | None = None
        # From nought on: an alert can tell a count that rises from one that appears.
        self._messages: Counter[str] = Counter(dict.fromkeys((_DONE[role], "dead_letter"), 0))
        self._events: Counter[str] = Counter(committed=0, aborted=0)
        self._rebuilds: Counter[str] = Counter(lost=0, outage=0, stalled=0)
        self._sizes = [0.0] * (len(_SIZE_BUCKETS) + 2)
        self._latency = np.zeros(len(_LATENCY_BUCKETS) + 2)
        self._lock = threading.Lock()

    def committed(self, outcomes: Iterable[tuple[str, int]], created_ms: Sequence[int]) -> None:
        """Count a batch that was committed just now.

        Args:
            outcomes: how many messages came to what (`predicted`, `dead_letter`).
            created_ms: when each message was produced, milliseconds since 1970; below zero where that is not known.
        """
        created = np.asarray(created_ms, np.float64)
        seconds = np.maximum(time.time() - created[created > 0] / 1e3, 0.0)
        found = np.bincount(np.searchsorted(_LATENCY_BUCKETS, seconds), minlength=len(_LATENCY_BUCKETS) + 1)
        with self._lock:
            for outcome, count in outcomes:
                self._messages[outcome] += count
            self._events["committed"] += 1
            self._sizes[bisect_left(_SIZE_BUCKETS, len(created))] += 1
            self._sizes[-1] += len(created)
            self._latency[:-1] += found
            self._latency[-1] += seconds.sum()

    def aborted(self) -> None:
        """Count a transaction that was aborted, or could not be committed."""
        with self._lock:
            self._events["aborted"] += 1

    def rebuilt(self, reason: str) -> None:
        """Count clients that were made anew: because they were `lost`, or made no progress (`stalled`)."""
        with self._lock:
            self._rebuilds[reason] += 1

    def count_of(self, name: str) -> int:
        """One count: of messages by outcome, or of transactions (`committed`, `aborted`) or rebuilds by reason."""
        with self._lock:
            return self._messages[name] + self._events[name] + self._rebuilds[name]

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(self))
        return generate_latest(registry)

    def families(self) -> Iterator[Metric]:
        """The metrics, in order."""
        with self._lock:
            messages, events, rebuilds = dict(self._messages), dict(self._events), dict(self._rebuilds)
            sizes, latency = list(self._sizes), self._latency.tolist()
        yield _counter("appraise_stream_messages", "Messages that were dealt with.", "outcome", self.role, messages)
        yield _counter("appraise_stream_transactions", "Transactions.", "outcome", self.role, events)
        yield _counter("appraise_stream_rebuilds", "Clients that were made anew.", "reason", self.role, rebuilds)
        yield _histogram(
            "appraise_stream_batch_messages", "Messages of one transaction.", self.role, _SIZE_BUCKETS, sizes
        )
        yield _histogram(
            "appraise_stream_seconds",
            "Time from when a message was produced to the commit of what came of it.",
            self.role,
            _LATENCY_BUCKETS,
            latency,
        )
        yield _gauge("appraise_stream_lag", "Messages that wait in this worker's partitions.", self.role, self.lag)
        yield _gauge("appraise_stream_partitions", "Partitions of this worker.", self.role, len(self.partitions))
        served = GaugeMetricFamily("appraise_stream_model", "Models that answer.", labels=("model", "version"))
        for model, version in self.models.items():
            served.add_metric((model, version), 1.0)
        yield served


class _Families(Collector):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """The metrics, in order."""
        return self._tally.families()


def _counter(name: str, help_text: str, label: str, role: str, counts: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_text, labels=("role", label))
    for key, count in counts.items():
        family.add_metric((role, key), count)
    return family


def _gauge(name: str, help_text: str, role: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=("role",))
    family.add_metric((role,), value)
    return family


def _histogram(
    name: str, help_text: str, role: str, bounds: Sequence[float], counts: Sequence[float]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, help_text, labels=("role",))
    total, buckets = 0.0, []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=False):
        total += count
        buckets.append((bound, total))
    family.add_metric((role,), buckets, sum_value=counts[-1])
    return family
