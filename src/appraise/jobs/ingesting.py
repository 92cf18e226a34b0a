"""Ingest: from feature events in Kafka to the table of features, each once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from appraise.datasets.constraints import shown
from appraise.datasets.spec import DatasetSpec
from appraise.errors import Problem
from appraise.jobs.scoring import stopped_by_signals
from appraise.serving.rows import RowChecker
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.health import HealthServer, Pulse
from appraise.serving.streaming.ingesting import EventCheck, FeatureSink, check_event_time
from appraise.serving.streaming.lives import WorkerLimits, check_topics, ingesting_session, topics_present
from appraise.serving.streaming.supervising import Supervisor
from appraise.serving.streaming.tally import Tally
from appraise.serving.streaming.topics import Topics
from appraise.store.database import Database
from appraise.store.features import FeatureEvent


@dataclass(frozen=True, slots=True)
class IngestingPlan:
    """How to ingest.

    Attributes:
        kafka, topics: where from.
        database: where to.
        group: the consumer group, under which the database keeps the offsets too.
        limits: batches and deadlines.
        partition: the one partition; the group shares them out where None.
        spec: the dataset whose columns the events must be about; any where None.
        health_host, health_port: where health and metrics are; port 0 takes a free one.
    """

    kafka: KafkaConfig
    topics: Topics
    database: Database
    group: str
    limits: WorkerLimits
    partition: int | None = None
    spec: DatasetSpec | None = None
    health_host: str = "127.0.0.1"
    health_port: int = 0


@dataclass(frozen=True, slots=True)
class Ingesting:
    """What is ingested, and where."""

    source: str
    database: str
    dead_letters: str
    group: str
    partition: int | None
    health: str

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "source": self.source,
            "database": self.database,
            "dead_letters": self.dead_letters,
            "group": self.group,
            "partition": self.partition,
            "health": self.health,
        }


def ingest(plan: IngestingPlan, *, announce: Callable[[Ingesting], None]) -> None:
    """Ingest until SIGTERM or Ctrl-C.

    Args:
        plan: how.
        announce: is called once, when the topics and the database have been found.

    Raises:
        StreamError: a topic is missing, the cluster cannot be reached or refuses.
        StoreError: the database cannot be reached, or has other tables.
        SettingsError: the health endpoint cannot listen.
    """
    topics = plan.topics
    dead_letters = topics.dead_letters(topics.events)
    check_topics(plan.kafka, topics.events, (dead_letters,), plan.partition)
    tally, pulse = Tally("ingest"), Pulse()
    with ExitStack() as stack:
        database = stack.enter_context(plan.database)
        if database.embedded:
            database.upgrade(actor="appraise stream ingest")
        else:
            database.check()
        health = HealthServer(plan.health_host, plan.health_port, pulse, tally)
        stack.callback(health.close)
        stop = stack.enter_context(stopped_by_signals())
        announce(
            Ingesting(
                topics.events,
                database.address,
                dead_letters,
                plan.group,
                plan.partition,
                health.url,
            )
        )
        sink = FeatureSink(database, plan.group, topics.events)
        check = event_check(plan.spec)
        session = ingesting_session(plan.kafka, topics, plan.group, plan.partition, sink, check, tally, plan.limits)
        look = topics_present(plan.kafka, (topics.events, dead_letters))
        Supervisor(session, stop, tally, pulse, plan.limits.stall_seconds, look).run()


def event_check(spec: DatasetSpec | None) -> EventCheck:
    """What is asked of an event: a time that makes sense and, of a dataset's, a value that its column takes."""
    if spec is None:
        return check_event_time
    checker = RowChecker(spec)

    def check(event: FeatureEvent, now: dt.datetime) -> Problem | None:
        refused = checker.problem_of(event.event_type, event.value)
        if refused is None:
            return check_event_time(event, now)
        return Problem(0, event.event_type, refused, shown(event.value))

    return check
