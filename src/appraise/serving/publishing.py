"""What the REST routes ask of whoever sends messages to topics; the streams know how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Record(NamedTuple):
    """A message to send.

    Attributes:
        key, value: as bytes; None where there is none.
        partition: where to; by the key, or else any, where None.
    """

    key: bytes | None
    value: bytes | None
    partition: int | None


class Published(NamedTuple):
    """Where a message is."""

    partition: int
    offset: int


class NotPublished(NamedTuple):
    """Why a message is nowhere.

    Attributes:
        reason: one clause.
        retriable: whether it may go well later.
    """

    reason: str
    retriable: bool


class Publisher(Protocol):
    """Sends messages to topics."""

    async def publish(self, topic: str, records: Sequence[Record]) -> list[Published | NotPublished]:
        """Send messages, and wait until each arrived or did not, within a deadline.

        Raises:
            ForbiddenTopicError: messages of clients do not go to this topic.
            UnknownTopicError: there is no such topic.
            UnknownPartitionError: it has no such partition; nothing was sent.
            BrokerUnavailableError: there is no cluster for now.
            StreamError: the cluster refuses.
            Overloaded: more is on its way than is allowed.
        """

    def configured(self) -> bool:
        """Whether there is a cluster to send to."""

    def sign_of_life(self) -> str:
        """What the cluster says of itself, one clause.

        Raises:
            StreamError: it does not answer.
        """

    def close(self, seconds: float) -> None:
        """Wait until what is on its way arrived or did not, and let go of the cluster."""
