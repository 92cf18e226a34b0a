"""The topics: their names, and how they are made, looked at and removed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from appraise.datasets.constraints import shown
from appraise.errors import StreamError, UnknownTopicError, did_you_mean
from appraise.serving.streaming.clients import KafkaConfig, metadata_of, translated

if TYPE_CHECKING:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

_DEAD_LETTERS = "_dead_letters"
_PAUSE_SECONDS = 0.05
_PASSING = (
    "NOT_LEADER_FOR_PARTITION",
    "LEADER_NOT_AVAILABLE",
    "FENCED_LEADER_EPOCH",
    "UNKNOWN_LEADER_EPOCH",
    "UNKNOWN_TOPIC_OR_PART",
)


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of the topics.

    Attributes:
        prefix: what each begins with, so that several installations can share a cluster.
    """

    prefix: str = ""

    @property
    def events(self) -> str:
        """Feature events: `{user_id, event_type, value, timestamp}`."""
        return f"{self.prefix}raw_data_events"

    @property
    def requests(self) -> str:
        """Homes to value."""
        return f"{self.prefix}price_requests"

    @property
    def predictions(self) -> str:
        """Their estimates, each on the partition number of its request."""
        return f"{self.prefix}price_predictions"

    def dead_letters(self, topic: str) -> str:
        """Where messages of a topic go that were refused."""
        return topic + _DEAD_LETTERS

    def group(self, work: str) -> str:
        """The consumer group of those who do the same work: `score`, `ingest`, `replay`."""
        return f"{self.prefix}appraise-{work}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The topics whose messages may be refused."""
        return self.events, self.requests

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic."""
        return (*self.inputs, self.predictions, *map(self.dead_letters, self.inputs))

    def named(self, name: str) -> str:
        """The topic that a short name means (`events`, `requests`, `predictions`); any other name means itself."""
        short = {"events": self.events, "requests": self.requests, "predictions": self.predictions}
        return short.get(name, name)


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition.

    Attributes:
        partition: its number.
        beginning, end: offsets of its oldest message, and of the next one.
        leader: the broker that leads it; -1 where none does.
        replicas, in_sync: brokers that hold it, and those of them that are up to date.
    """

    partition: int
    beginning: int
    end: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the cluster."""

    name: str
    partitions: tuple[Partition, ...]

    @property
    def offsets(self) -> int:
        """Offsets that its partitions hold; markers of transactions have offsets too."""
        return sum(one.end - one.beginning for one in self.partitions)

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {"name": self.name, "partitions": [asdict(one) for one in self.partitions], "offsets": self.offsets}


def create_topics(
    config: KafkaConfig,
    names: Iterable[str],
    *,
    partitions: int,
    replication: int = -1,
    grow: bool = False,
    options: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Make topics that are not there, and wait until they can be used.

    Args:
        config: the cluster.
        names: the topics.
        partitions: of each.
        replication: copies of each partition; the cluster's own default where -1.
        grow: add partitions to a topic that has fewer.
        options: of the topics, by Kafka's names (`retention.ms`).

    Returns:
        What was done by topic: `created`, `grown` or `unchanged`.

    Raises:
        StreamError: a topic has another number of partitions and may not grow, or the cluster refuses.
    """
    from confluent_kafka.admin import NewPartitions, NewTopic

    admin = config.admin()
    present = {name: len(topic.partitions) for name, topic in metadata_of(config, admin).topics.items()}
    done = {name: _planned(name, present.get(name), partitions, grow=grow) for name in names}
    new = [
        NewTopic(name, num_partitions=partitions, replication_factor=replication, config=dict(options or {}))
        for name, what in done.items()
        if what == "created"
    ]
    more = [NewPartitions(name, partitions) for name, what in done.items() if what == "grown"]
    deadline = time.monotonic() + config.seconds
    if new:
        _await(config, admin.create_topics(new, request_timeout=config.seconds), "be made")
    if more:
        _await(config, admin.create_partitions(more, request_timeout=config.seconds), "be given more partitions")
    while new or more:
        topics = metadata_of(config, admin).topics
        if all(_usable(topics.get(name), partitions) for name in done):
            _offsets(config, admin, {name: tuple(topics[name].partitions) for name in done})
            break
        if time.monotonic() > deadline:
            raise StreamError(f"the topics were not ready within {config.seconds:g} s", hint="see the broker's log")
        time.sleep(_PAUSE_SECONDS)
    return done


def delete_topics(config: KafkaConfig, names: Iterable[str]) -> tuple[str, ...]:
    """Remove topics and all that is in them; returns those that were there.

    Raises:
        StreamError: the cluster refuses.
    """
    admin = config.admin()
    present = metadata_of(config, admin).topics
    found = tuple(name for name in names if name in present)
    if found:
        _await(config, admin.delete_topics(list(found), request_timeout=config.seconds), "be deleted")
    deadline = time.monotonic() + config.seconds
    while found and not set(found).isdisjoint(metadata_of(config, admin).topics):
        if time.monotonic() > deadline:
            raise StreamError(f"the topics were still there after {config.seconds:g} s", hint="see the broker's log")
        time.sleep(_PAUSE_SECONDS)
    return found


def list_topics(config: KafkaConfig, names: Iterable[str] | None = None) -> tuple[Topic, ...]:
    """Topics with the offsets of their partitions, by name; those of Kafka itself are left out.

    Args:
        config: the cluster.
        names: which; all where None.

    Raises:
        UnknownTopicError: a name that is not there.
        StreamError: the cluster refuses.
    """
    admin = config.admin()
    present = metadata_of(config, admin).topics
    wanted = sorted(name for name in present if not name.startswith("__")) if names is None else tuple(names)
    for name in wanted:
        if name not in present:
            raise unknown_topic(name, present)
    ends = _offsets(config, admin, {name: tuple(present[name].partitions) for name in wanted})
    return tuple(
        Topic(
            name,
            tuple(
                Partition(
                    number,
                    *ends[name, number],
                    leader=found.leader,
                    replicas=tuple(found.replicas),
                    in_sync=tuple(found.isrs),
                )
                for number, found in sorted(present[name].partitions.items())
            ),
        )
        for name in wanted
    )


def unknown_topic(name: str, known: Iterable[str]) -> UnknownTopicError:
    """The error that names the topic nearest to the one asked for."""
    # One of Appraise's own under a prefix is not misspelt: it was not made yet.
    near = None if name.endswith(Topics().all) else did_you_mean(name, [one for one in known if one[:2] != "__"])
    return UnknownTopicError(
        f"there is no topic {shown(name)}", hint=near or "appraise stream topics create makes those of Appraise"
    )


def _planned(name: str, present: int | None, partitions: int, *, grow: bool) -> str:
    if present is None:
        return "created"
    if present == partitions:
        return "unchanged"
    if present > partitions:
        raise StreamError(
            f"the topic {name} has {present} partitions, which cannot become {partitions}",
            hint="delete it first, with all that is in it: appraise stream topics delete",
        )
    if not grow:
        raise StreamError(
            f"the topic {name} has {present} partition{'s' if present > 1 else ''}, and {partitions} were asked for",
            hint="add --grow to add partitions; keys may then go to others than before",
        )
    return "grown"


def _usable(topic: Any, partitions: int) -> bool:
    return topic is not None and len(topic.partitions) >= partitions and all(
        one.leader >= 0 for one in topic.partitions.values()
    )  # fmt: skip


def _await(config: KafkaConfig, futures: Mapping[str, Any], what: str) -> None:
    from confluent_kafka import KafkaException

    for name, future in futures.items():
        try:
            future.result(timeout=config.seconds + 1.0)
        except KafkaException as error:
            raise translated(error, config, f"the topic {name} cannot {what}") from error


def _offsets(
    config: KafkaConfig, admin: AdminClient, partitions: Mapping[str, Iterable[int]]
) -> dict[tuple[str, int], tuple[int, int]]:
    """First offset, and the one after the last, of each partition."""
    from confluent_kafka import KafkaException, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    places = [TopicPartition(name, number) for name, numbers in partitions.items() for number in numbers]
    if not places:
        return {}
    deadline = time.monotonic() + config.seconds
    while True:
        try:
            first, last = (
                _offsets_of(admin.list_offsets(dict.fromkeys(places, spec), request_timeout=config.seconds), config)
                for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
            )
        except KafkaException as error:
            # A broker may say who leads a partition before that leader knows it.
            if error.args[0].name() not in _PASSING or time.monotonic() > deadline:
                raise translated(error, config, "the offsets cannot be read") from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return {place: (offset, last[place]) for place, offset in first.items()}


def _offsets_of(futures: Mapping[TopicPartition, Any], config: KafkaConfig) -> dict[tuple[str, int], int]:
    return {
        (place.topic, place.partition): future.result(timeout=config.seconds + 1.0).offset
        for place, future in futures.items()
    }
