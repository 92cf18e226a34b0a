"""What ends a transaction, or the clients that it was made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import KafkaError


class AbortedError(Exception):
    """The transaction was aborted; nothing of it will be read.

    Attributes:
        error: Kafka's reason.
    """

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.error = error


class ClientsLostError(Exception):
    """The clients are of no more use: fenced, broken, or in doubt of an outcome.

    Attributes:
        error: Kafka's reason, None where there is none but time.
    """

    def __init__(self, message: str, error: KafkaError | None = None) -> None:
        super().__init__(message)
        self.error = error
