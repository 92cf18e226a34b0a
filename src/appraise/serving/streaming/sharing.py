"""Two ways to share partitions out, which may not meet in one group.

Workers either join the group, which gives each partition to one of them, or name a partition each. Kafka takes the
offsets of both, and a request that one of each had read would be answered twice.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from appraise.datasets.locks import locked
from appraise.errors import StreamError
from appraise.serving.streaming.clients import KafkaConfig, translated
from appraise.serving.streaming.lag import PASSING
from appraise.serving.streaming.slots import file_name

#: How workers of a group come to their partitions, and what each kind is called.
_NAMED, _SHARED = "named", "shared"
#: Seconds between two questions.
_PAUSE_SECONDS = 0.1
_HINT = "start all of them with --partition, or none of them"


@contextmanager
def keep_to_one_way(kafka: KafkaConfig, folder: Path, group: str, partition: int | None) -> Iterator[None]:
    """Keep workers of a group that name a partition and those that share them out from working at the same time.

    Seen are all workers of this machine, and those of others that have joined the group.

    Args:
        kafka: the cluster.
        folder: where this machine's locks are.
        group: the worker's group.
        partition: the partition that it names; None where the group gives it some.

    Raises:
        StreamError: workers of the other kind are at work, or the cluster cannot be asked.
    """
    ours, others = (_SHARED, _NAMED) if partition is None else (_NAMED, _SHARED)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # One at a time, or two of one kind that look at the same moment would take each other for the other kind.
        with locked(_path(folder, group, "door"), fcntl.LOCK_EX):
            try:
                with locked(_path(folder, group, others), fcntl.LOCK_EX | fcntl.LOCK_NB):
                    stack.enter_context(locked(_path(folder, group, ours), fcntl.LOCK_SH))
            except BlockingIOError:
                raise _refused(group, partition) from None
        if partition is not None and members_of(kafka, group):
            raise _refused(group, partition)
        yield


def members_of(kafka: KafkaConfig, group: str) -> tuple[str, ...]:
    """The ids of the clients that have joined a group.

    Raises:
        StreamError: the cluster cannot be asked.
    """
    from confluent_kafka import KafkaError, KafkaException

    admin = kafka.admin()
    deadline = time.monotonic() + kafka.seconds
    while True:
        left = max(_PAUSE_SECONDS, deadline - time.monotonic())
        try:
            found = admin.describe_consumer_groups([group], request_timeout=left)[group].result()
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() == KafkaError.GROUP_ID_NOT_FOUND:
                return ()
            if cause.name() not in PASSING or time.monotonic() + _PAUSE_SECONDS > deadline:
                raise translated(error, kafka, f"the members of {group} cannot be told") from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return tuple(str(member.member_id) for member in found.members)


def _refused(group: str, partition: int | None) -> StreamError:
    if partition is None:
        return StreamError(
            f"workers of the group {group} have been started for a partition each, and this one would share them all: "
            "requests would be answered twice",
            hint=_HINT,
        )
    return StreamError(
        f"workers share the partitions of the group {group} out, and this one would take partition {partition} beside "
        "them: requests would be answered twice",
        hint=f"{_HINT}; one that was killed counts until its session has ended",
    )


def _path(folder: Path, group: str, way: str) -> Path:
    return folder / f"{file_name(group)}.{way}.way"
