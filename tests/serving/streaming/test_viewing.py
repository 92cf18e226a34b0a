"""Messages that are read without a group, where the broker goes away meanwhile."""

import pytest

from appraise.errors import BrokerUnavailableError
from appraise.serving.streaming import viewing
from appraise.serving.streaming.clients import KafkaConfig


class _Silent:
    """A consumer that nothing comes to."""

    def poll(self, _seconds: float) -> None:
        """Say that nothing came."""


def test_who_reads_to_the_end_is_told_that_the_broker_is_away_and_who_follows_waits(monkeypatch):
    def away(_config, _client):
        raise BrokerUnavailableError("no Kafka broker answers")

    monkeypatch.setattr(viewing, "metadata_of", away)
    monkeypatch.setattr(viewing, "_LOOK_SECONDS", 0.0)
    kafka = KafkaConfig("127.0.0.1:9")
    with pytest.raises(BrokerUnavailableError):
        next(viewing._messages(kafka, _Silent(), "requests", {0: 5}, None))
    assert next(viewing._messages(kafka, _Silent(), "requests", None, 0.05), None) is None
