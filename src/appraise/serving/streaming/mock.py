"""librdkafka's built-in mock cluster: enough to see the parts play together, and no evidence of anything more.

It keeps everything in memory for as long as one client lives, makes four partitions of each topic, shows what was
aborted, and drops the offsets of transactions: `docs/decisions/0013-streams.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from appraise.serving.streaming.clients import KafkaConfig

_SECONDS = 10.0


@contextmanager
def mock_cluster(topics: Iterable[str]) -> Iterator[KafkaConfig]:
    """A cluster in this process, with these topics, for as long as the block runs."""
    from confluent_kafka import Producer

    keeper = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    found = keeper.list_topics(timeout=_SECONDS)
    for name in topics:
        keeper.list_topics(name, timeout=_SECONDS)
    yield KafkaConfig(",".join(f"{one.host}:{one.port}" for one in found.brokers.values()), seconds=_SECONDS)
    keeper.flush(_SECONDS)
