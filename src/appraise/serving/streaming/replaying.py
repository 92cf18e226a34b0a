"""Dead letters listed, and sent back to where they came from once what refused them is mended.

A replay is exactly once: the message goes back in the same transaction as a mark in the dead-letter topic that says so,
and a letter with a mark is never sent again. Letters stay where they are, so that a replay of some leaves the others.
Two replays at a time cannot happen: the second takes the transactional id over, which ends the first.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass

from appraise.errors import StreamError
from appraise.serving.streaming.calling import Calls
from appraise.serving.streaming.clients import KafkaConfig, metadata_of
from appraise.serving.streaming.deadletters import Origin, mark_of, marked, origin_of, replayed_headers
from appraise.serving.streaming.failures import AbortedError, ClientsLostError
from appraise.serving.streaming.lives import init_transactions
from appraise.serving.streaming.topics import Topics, list_topics
from appraise.serving.streaming.transactions import Output, Transaction
from appraise.serving.streaming.viewing import Seen, view

#: Letters of one transaction.
_TOGETHER = 500
_TRANSACTION_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused message that was not sent back yet.

    Attributes:
        seen: the letter itself.
        origin: where it came from, and why it was refused.
    """

    seen: Seen
    origin: Origin

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {**self.seen.to_dict(), "origin": asdict(self.origin)}


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did.

    Attributes:
        sent: letters that went back, by the topic that they went to.
        kept: letters that the filter left.
        incomplete: letters whose value was too large to be kept, which cannot go back.
    """

    sent: dict[str, int]
    kept: int
    incomplete: int

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return asdict(self)


def dead_letters(
    config: KafkaConfig, topics: Topics, inputs: Iterable[str], *, reason: str | None = None
) -> Generator[DeadLetter, None, None]:
    """The dead letters of topics that were not sent back yet, in the order of their partitions.

    Args:
        config, topics: where.
        inputs: the topics that refused them.
        reason: a part of the kind of error, the stage or the sentence; all letters where None.

    Raises:
        UnknownTopicError: a dead-letter topic is not there.
        StreamError: the cluster refuses.
    """
    for source in inputs:
        name = topics.dead_letters(source)
        (topic,) = list_topics(config, [name])
        for partition in topic.partitions:
            answered = {
                offset
                for one in view(config, name, partition=partition.partition, to_end=True)
                if (offset := marked(one.headers)) is not None
            }
            for one in view(config, name, partition=partition.partition, to_end=True):
                origin = origin_of(one.headers)
                # What somebody else put there, or what came from elsewhere, is no letter of this topic.
                if origin is None or origin.topic != source or one.offset in answered:
                    continue
                if reason is None or _matches(origin, reason):
                    yield DeadLetter(one, origin)


def replay(
    config: KafkaConfig,
    topics: Topics,
    inputs: Iterable[str],
    *,
    reason: str | None = None,
    most: int | None = None,
    replayed: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Send dead letters back to the topic and partition they came from, byte for byte, each once.

    Args:
        config, topics, inputs, reason: as of `dead_letters`.
        most: letters to send; all where None.
        replayed: is told how many went back, transaction by transaction.

    Raises:
        UnknownTopicError: a topic, or the partition that a letter came from, is not there.
        StreamError: the cluster refuses, or another replay took over; what was sent is not sent again by the next.
    """
    producer = config.producer(
        {
            "transactional.id": topics.group("replay"),
            "transaction.timeout.ms": round(_TRANSACTION_SECONDS * 1000),
            "retry.backoff.ms": 5,
        }
    )
    # One that is not connected yet takes a second to begin.
    metadata_of(config, producer)
    sent = Counter[str]()
    calls = Calls()
    try:
        # First: from here on no other replay can commit, so that the marks that are read are all there will be.
        init_transactions(config, producer, _TRANSACTION_SECONDS, calls)
        chosen = _Chosen(dead_letters(config, topics, tuple(inputs)), reason, most)
        while batch := list(itertools.islice(chosen, _TOGETHER)):
            transaction = Transaction(producer, seconds=_TRANSACTION_SECONDS, calls=calls)
            for one in batch:
                transaction.produce(_sent_back(one))
            transaction.commit()
            sent.update(one.origin.topic for one in batch)
            replayed(len(batch))
    except (AbortedError, ClientsLostError) as error:
        raise StreamError(
            f"the replay ended after {sent.total():,} messages: {error}",
            hint="run it again: what went back does not go back twice",
        ) from error
    finally:
        calls.close()
    return Replayed(dict(sent), chosen.kept, chosen.incomplete)


class _Chosen:
    """The letters that go back; the others are counted."""

    def __init__(self, letters: Iterator[DeadLetter], reason: str | None, most: int | None) -> None:
        self.kept = self.incomplete = 0
        self._letters = letters
        self._reason = reason
        self._left = most

    def __iter__(self) -> Iterator[DeadLetter]:
        return self

    def __next__(self) -> DeadLetter:
        for one in self._letters:
            if not one.origin.whole:
                self.incomplete += 1
            elif self._left == 0 or (self._reason is not None and not _matches(one.origin, self._reason)):
                self.kept += 1
            else:
                self._left = None if self._left is None else self._left - 1
                return one
        raise StopIteration


def _sent_back(letter: DeadLetter) -> tuple[Output, Output]:
    """A letter's message as it goes back, and the mark that it did."""
    seen, origin = letter.seen, letter.origin
    headers = replayed_headers(seen.headers, origin)
    return (
        Output(origin.topic, origin.partition, seen.key, seen.value, headers),
        Output(seen.topic, seen.partition, None, None, mark_of(seen.offset)),
    )


def _matches(origin: Origin, reason: str) -> bool:
    wanted = reason.casefold()
    return any(wanted in text.casefold() for text in (origin.reason, origin.stage, origin.message))
