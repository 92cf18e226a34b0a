"""Which cluster is meant: the configured one, or else the broker of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from appraise.errors import BrokerUnavailableError
from appraise.jobs.kafka.broker import LocalBroker
from appraise.serving.streaming.clients import KafkaConfig, Option
from appraise.serving.streaming.topics import Topics


@dataclass(frozen=True, slots=True)
class KafkaPlan:
    """Where Kafka is looked for: plain values.

    Attributes:
        folder: of the broker of this machine.
        servers: the configured cluster; None where none is.
        options, seconds: as of `KafkaConfig`.
        topics: their names.
    """

    folder: Path
    servers: str | None = None
    options: Mapping[str, Option] = field(default_factory=dict, repr=False)
    seconds: float = 10.0
    topics: Topics = field(default_factory=Topics)

    def find(self) -> KafkaConfig:
        """The cluster.

        Raises:
            BrokerUnavailableError: none is configured, and none runs here.
        """
        servers = self.servers
        if servers is None:
            local = LocalBroker(self.folder).running()
            if local is None:
                raise BrokerUnavailableError(
                    "no Kafka is configured, and no broker runs on this machine",
                    hint="start one: appraise kafka start; or name one: export KAFKA_BOOTSTRAP_SERVERS=HOST:PORT",
                )
            servers = local.bootstrap_servers
        return KafkaConfig(servers, self.options, self.seconds)
