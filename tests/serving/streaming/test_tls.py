"""A broker that speaks TLS: who knows its authority talks to it, everybody else is told why not."""

import time

import pytest
from tests.serving.streaming.certificates import Authority

from appraise.errors import BrokerUnavailableError, SettingsError
from appraise.serving.streaming import clients
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.producing import Outgoing, send
from appraise.serving.streaming.topics import create_topics, list_topics

#: How long each question may take; what is refused at once is said long before.
_SECONDS = 60.0


def test_who_knows_the_authority_sends_and_others_are_told_why_not(sealed, broker, topics, tmp_path, monkeypatch):
    # This broker is not one that may be about to come back.
    monkeypatch.setattr(clients, "_DOWN_SECONDS", 0.5)
    address, authority = sealed
    right = KafkaConfig(address, {"security.protocol": "SSL", "ssl.ca.location": authority})
    create_topics(right, [f"{topics.prefix}sealed"], partitions=1)
    (sent,) = send(right, f"{topics.prefix}sealed", [Outgoing(b"under seal")])
    assert (sent.partition, sent.offset) == (0, 0)

    other = Authority.made("another authority").write(tmp_path / "other.pem")
    began = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match="certificate verify failed") as caught:
        list_topics(KafkaConfig(address, {"security.protocol": "SSL", "ssl.ca.location": other}, seconds=_SECONDS))
    assert "ssl.ca.location" in caught.value.hint
    assert time.monotonic() - began < _SECONDS / 2
    # The plain listener resets the connection or closes it, as it happens, and librdkafka says which.
    with pytest.raises(BrokerUnavailableError, match=r"no safe .*(PLAINTEXT broker|closed by peer)") as caught:
        list_topics(KafkaConfig(broker.bootstrap_servers, right.options))
    assert "security.protocol" in caught.value.hint
    assert "that this port is the one for TLS" in caught.value.hint
    with pytest.raises(BrokerUnavailableError, match="no Kafka broker answers"):
        list_topics(KafkaConfig(address, seconds=1.0))


def test_a_certificate_file_that_is_not_there_is_named(tmp_path):
    missing = str(tmp_path / "none.pem")
    with pytest.raises(SettingsError, match=r"none\.pem"):
        KafkaConfig("127.0.0.1:9", {"security.protocol": "SSL", "ssl.ca.location": missing}).producer()
