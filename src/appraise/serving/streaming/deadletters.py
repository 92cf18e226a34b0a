"""Dead letters: refused messages, byte for byte, with the headers of Kafka Connect that say why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from appraise.errors import AppraiseError

if TYPE_CHECKING:
    from confluent_kafka import Message

Header = tuple[str, bytes | None]

_CONNECT = "__connect.errors."
TOPIC = f"{_CONNECT}topic"
PARTITION = f"{_CONNECT}partition"
OFFSET = f"{_CONNECT}offset"
STAGE = f"{_CONNECT}stage"
REASON = f"{_CONNECT}exception.class.name"
MESSAGE = f"{_CONNECT}exception.message"
#: Why the value is not there, where the topic does not take the message whole.
LEFT_OUT = "appraise.value.left.out"
#: How often the message was sent back to where it came from.
REPLAYS = "appraise.replays"
_REPLAY_OF = "appraise.replay.of"

_LONGEST_MESSAGE = 2000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a refused message came from, and why it was refused.

    Attributes:
        topic, partition, offset: its place.
        stage: what refused it: `decode`, `check`, `predict` or `store`.
        reason: the kind of error.
        message: one sentence.
        replays: how often it was sent back before.
        whole: whether the dead letter has its value.
    """

    topic: str
    partition: int
    offset: int
    stage: str
    reason: str
    message: str
    replays: int = 0
    whole: bool = True


def headers_of(message: Message) -> list[Header]:
    """The headers of a consumed message, in their order."""
    return cast("list[Header]", message.headers() or [])


def dead_letter_headers(message: Message, error: AppraiseError, *, stage: str) -> list[Header]:
    """The headers of a dead letter: those of the message itself, then where it came from and why it was refused.

    Args:
        message: what is refused.
        error: why.
        stage: what refused it: `decode`, `check`, `predict` or `store`.
    """
    own = [header for header in headers_of(message) if not header[0].startswith(_CONNECT)]
    ours: dict[str, object] = {
        TOPIC: message.topic(),
        PARTITION: message.partition(),
        OFFSET: message.offset(),
        STAGE: stage,
        REASON: type(error).__name__,
        MESSAGE: error.message[:_LONGEST_MESSAGE],
    }
    return [*own, *((name, str(value).encode("utf-8", "replace")) for name, value in ours.items())]


def left_out(size: int) -> Header:
    """The header of a dead letter without its value, which had more bytes than the topic takes."""
    return LEFT_OUT, f"{size} bytes, more than the topic takes".encode()


def origin_of(headers: Sequence[Header]) -> Origin | None:
    """What the headers of a dead letter say; None where they are not those of one."""
    found = {name: (value or b"").decode("utf-8", "replace") for name, value in headers}
    try:
        return Origin(
            topic=found[TOPIC],
            partition=int(found[PARTITION]),
            offset=int(found[OFFSET]),
            stage=found.get(STAGE, ""),
            reason=found.get(REASON, ""),
            message=found.get(MESSAGE, ""),
            replays=int(found.get(REPLAYS, "0")),
            whole=LEFT_OUT not in found,
        )
    except (KeyError, ValueError):
        return None


def replayed_headers(headers: Sequence[Header], origin: Origin) -> list[Header]:
    """The headers of a message that is sent back: its own, and how often it was."""
    own = [one for one in headers if not one[0].startswith(_CONNECT) and one[0] != REPLAYS]
    return [*own, (REPLAYS, b"%d" % (origin.replays + 1))]


def mark_of(offset: int) -> list[Header]:
    """The headers of the mark that the dead letter at an offset of the same partition was sent back."""
    return [(_REPLAY_OF, b"%d" % offset)]


def marked(headers: Sequence[Header]) -> int | None:
    """The offset of the dead letter that a mark is about; None where it is no mark."""
    for name, value in headers:
        if name == _REPLAY_OF and value is not None and value.isdigit():
            return int(value)
    return None
