"""Start, stop and look at the broker of this machine."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appraise.errors import StreamError
from appraise.jobs.kafka.broker import LocalBroker, RunningBroker
from appraise.jobs.kafka.jars import KAFKA_VERSION
from appraise.jobs.progress import Progress
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.topics import list_topics


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """The broker of this machine.

    Attributes:
        broker: it, None where none runs.
        folder: where its data are.
        changed: whether it was started or stopped just now.
        topics: how many topics it has; None where it was not asked, or does not answer.
        problem: why it does not answer.
        ignored: options that were given to no effect, for they count when it starts, and it runs already.
    """

    broker: RunningBroker | None
    folder: Path
    changed: bool = False
    topics: int | None = None
    problem: str | None = None
    ignored: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        found = self.broker
        started = None if found is None else dt.datetime.fromtimestamp(found.started_at, dt.UTC)
        return {
            "running": found is not None,
            "bootstrap_servers": None if found is None else found.bootstrap_servers,
            "pid": None if found is None else found.pid,
            "started_at": None if started is None else started.isoformat(timespec="seconds"),
            "version": KAFKA_VERSION,
            "folder": str(self.folder),
            "log": None if found is None else str(found.log),
            "changed": self.changed,
            "topics": self.topics,
            "problem": self.problem,
            "ignored": list(self.ignored),
        }


def start_broker(
    broker: LocalBroker, *, port: int | None, heap_mb: int | None, properties: Mapping[str, str], progress: Progress
) -> BrokerStatus:
    """Start the broker; one that runs already is left alone, and the status names the options that it does not have.

    Args:
        broker: it.
        port, properties, progress: as of `LocalBroker.start`, whose errors are raised.
        heap_mb: most memory of its heap, in MB; the usual where None.
    """
    found = broker.running()
    if found is not None:
        other_port = port is not None and found.bootstrap_servers.rpartition(":")[2] != str(port)
        given = {"--port": other_port, "--heap": heap_mb is not None, "--set": bool(properties)}
        return BrokerStatus(found, broker.folder, ignored=tuple(name for name, there in given.items() if there))
    with progress.task("starting the broker"):
        heap = {} if heap_mb is None else {"heap_mb": heap_mb}
        found = broker.start(port=port, properties=properties, progress=progress, **heap)
    return BrokerStatus(found, broker.folder, changed=True)


def stop_broker(broker: LocalBroker, progress: Progress) -> BrokerStatus:
    """Stop the broker, and say which it was; its topics stay."""
    found = broker.running()
    if found is not None:
        with progress.task("stopping the broker"):
            broker.stop()
    return BrokerStatus(found, broker.folder, changed=found is not None)


def broker_status(broker: LocalBroker) -> BrokerStatus:
    """Whether it runs, and whether it answers."""
    found = broker.running()
    if found is None:
        return BrokerStatus(None, broker.folder)
    try:
        count = len(list_topics(KafkaConfig(found.bootstrap_servers, seconds=3.0)))
    except StreamError as error:
        return BrokerStatus(found, broker.folder, problem=error.message)
    return BrokerStatus(found, broker.folder, topics=count)
