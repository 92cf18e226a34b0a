"""Counts in Prometheus' text format."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from appraise.serving.models import LoadedModel
from appraise.serving.rest.log_metrics import LogMetrics
from appraise.serving.rest.tally import LATENCY_BUCKETS, SIZE_BUCKETS, Counts, Tally
from appraise.store.backlog import Backlog


class _Counts(Collector):
    def __init__(self, tally: Tally, models: Iterable[LoadedModel], queue: int, workers: int) -> None:
        self._tally = tally
        self._models = tuple(models)
        self._queue = queue
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """The metrics, in order."""
        yield _counter(
            "appraise_requests", "Requests answered.", ("route", "method", "status"), self._tally.requests.items()
        )
        latency = HistogramMetricFamily(
            "appraise_request_seconds", "Time from the start of a request to its answer.", labels=("route",)
        )
        for route, buckets in self._tally.latency.items():
            latency.add_metric((route,), _cumulative(LATENCY_BUCKETS, buckets), sum_value=buckets[-1])
        yield latency
        homes: Counts = {}
        for (name, version, _), count in self._tally.predictions.items():
            homes[name, version] = homes.get((name, version), 0.0) + count
        yield _counter("appraise_predictions", "Homes valued.", ("model", "version"), homes.items())
        yield _counter(
            "appraise_estimates",
            "Estimates by confidence grade; those of the grade none are not to be used.",
            ("model", "version", "grade"),
            self._tally.predictions.items(),
        )
        yield _counter(
            "appraise_refused_rows", "Rows of batches that were refused.", ("model",), self._tally.refusals.items()
        )
        sizes = HistogramMetricFamily("appraise_rows_together", "Rows that were valued in one call.")
        sizes.add_metric((), _cumulative(SIZE_BUCKETS, self._tally.sizes), sum_value=self._tally.sizes[-1])
        yield sizes
        yield GaugeMetricFamily("appraise_queue_depth", "Rows and batches that wait in this worker.", self._queue)
        yield GaugeMetricFamily("appraise_workers", "Worker processes.", self._workers)
        # Linux counts in KiB, macOS in bytes.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        yield GaugeMetricFamily("appraise_worker_peak_memory_bytes", "Most memory this worker has held.", peak)
        age = GaugeMetricFamily(
            "appraise_model_age_seconds", "Since the model was trained.", labels=("model", "version")
        )
        for model in self._models:
            age.add_metric((model.name, model.version), time.time() - model.manifest.created_at.timestamp())
        yield age


def render(
    tally: Tally, models: Iterable[LoadedModel], *, queue: int, workers: int, backlog: Backlog | None = None
) -> bytes:
    """All metrics as text; those of the prediction log where what waits in its spool is given."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counts(tally, models, queue, workers))
    if backlog is not None:
        registry.register(LogMetrics(tally.log, backlog))
    return generate_latest(registry)


def _counter(
    name: str, help_text: str, labels: Sequence[str], counts: Iterable[tuple[tuple[str, ...], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_text, labels=labels)
    for key, count in counts:
        family.add_metric(key, count)
    return family


def _cumulative(bounds: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    total, buckets = 0.0, []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=False):
        total += count
        buckets.append((bound, total))
    return buckets
