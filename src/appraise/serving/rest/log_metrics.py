"""The prediction log in Prometheus' terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from appraise.store.backlog import Backlog
from appraise.store.logplan import LogState

_COUNTERS = {
    "taken": ("appraise_log_records", "Estimates that were handed to the prediction log."),
    "durable": ("appraise_log_durable_records", "Records that the disk has confirmed."),
    "refused": ("appraise_log_refused", "Estimates that were not given, because the log had no room."),
    "withdrawn": ("appraise_log_withdrawn", "Estimates that were not given, because a write failed (mode sync)."),
    "failures": ("appraise_log_write_failures", "Writes of the log that failed."),
}
_GAUGES = {
    "depth": ("appraise_log_queue_records", "Records that are not on the disk yet."),
    "bytes": ("appraise_log_queue_bytes", "Bytes of these."),
    "trouble": ("appraise_log_workers_in_trouble", "Workers that cannot write the log now."),
}


def counts_of(state: LogState) -> dict[tuple[str, ...], float]:
    """One worker's part, to be summed with the others'."""
    return {
        ("taken",): state.taken,
        ("durable",): state.durable - state.withdrawn,
        ("refused",): state.refused,
        ("withdrawn",): state.withdrawn,
        ("failures",): state.failures,
        ("depth",): state.depth,
        ("bytes",): state.waiting_bytes,
        ("trouble",): float(state.trouble is not None),
    }


class LogMetrics(Collector):
    """The metrics of the log.

    Args:
        counts: the workers' sum.
        backlog: what waits in the spool.
    """

    def __init__(self, counts: Mapping[tuple[str, ...], float], backlog: Backlog) -> None:
        self._counts = counts
        self._backlog = backlog

    def collect(self) -> Iterator[Metric]:
        """The metrics, in order."""
        for key, (name, help_text) in _COUNTERS.items():
            yield CounterMetricFamily(name, help_text, self._counts.get((key,), 0.0))
        for key, (name, help_text) in _GAUGES.items():
            yield GaugeMetricFamily(name, help_text, self._counts.get((key,), 0.0))
        backlog = self._backlog
        yield CounterMetricFamily("appraise_log_loaded_records", "Records brought into the database.", backlog.loaded)
        yield GaugeMetricFamily("appraise_log_spool_bytes", "Bytes of the spool.", backlog.spool_bytes)
        yield GaugeMetricFamily(
            "appraise_log_unloaded_bytes", "Bytes of it that are not in the database.", backlog.unloaded_bytes
        )
        yield GaugeMetricFamily(
            "appraise_log_oldest_unloaded_seconds",
            "Age of the oldest record that is not in the database.",
            backlog.oldest_seconds,
        )
        yield GaugeMetricFamily(
            "appraise_log_loading", "Whether a loader is at work.", float(backlog.loading and backlog.trouble is None)
        )
