"""From requests to predictions and dead letters: one batch, one call of the predictor for each model in it."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from appraise.errors import AppraiseError, LogFullError, MessageError, UnknownModelError
from appraise.logs import get_logger
from appraise.serving.batching import value_rows
from appraise.serving.columns import ColumnReader
from appraise.serving.estimates import grade_of
from appraise.serving.models import Lineup, LoadedModel
from appraise.serving.predictor import DEFAULT_LEVEL, Estimates
from appraise.serving.streaming.deadletters import Header, dead_letter_headers, headers_of, left_out
from appraise.serving.streaming.messages import Interval, Prediction, decode_request, encode, plain_requests, refused
from appraise.serving.streaming.scoring import Answers
from appraise.serving.streaming.transactions import Output

if TYPE_CHECKING:
    from confluent_kafka import Message

    from appraise.store.log import PredictionLog

_log = get_logger(__name__)

#: Headers of a request that its answer carries on: traces (W3C, B3) and what clients match answers by.
_PASSED_ON = ("traceparent", "tracestate", "baggage", "b3", "correlation_id", "correlationid", "kafka_correlationid")
_PREFIX = "x-"
#: Seconds that the log may take to make room.
_LOG_SECONDS = 10.0
#: Models whose decoders are kept: each new champion has its own.
_MOST_READERS = 32
#: Where the hexadecimal digits of a UUID stand among its 36 characters.
_DIGITS = [place for place in range(36) if place not in (8, 13, 18, 23)]


class _Asked(NamedTuple):
    """A request that could be read.

    Attributes:
        place: its message's place in the batch.
        request_id: what the client calls it.
        features: the home, as JSON or as values.
    """

    place: int
    request_id: str | None
    features: Any


class _Batch:
    """Messages of one topic, and what each comes to.

    Attributes:
        outputs: the prediction or the dead letter of each message, None until it is there.
        dead_letters: how many of them are dead letters.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.topic = cast("str", messages[0].topic())
        self.partitions = cast("list[int]", [message.partition() for message in messages])
        self.offsets = cast("list[int]", [message.offset() for message in messages])
        self.created_ms = [message.timestamp()[1] for message in messages]
        self.outputs: list[Output | None] = [None] * len(messages)
        self.dead_letters = 0

    def where(self, place: int) -> str:
        """The place of a message in Kafka."""
        return f"{self.topic}/{self.partitions[place]}/{self.offsets[place]}"


class Answerer:
    """Answers requests by the models on show.

    Args:
        lineup: the models on show now.
        predictions: the topic of the answers.
        dead_letters: the topic of what was refused.
        dataset: the dataset of requests that name none; the only one served where None.
        log: keeps each prediction; None keeps none.
    """

    def __init__(
        self,
        lineup: Callable[[], Lineup],
        *,
        predictions: str,
        dead_letters: str,
        dataset: str | None = None,
        log: PredictionLog | None = None,
    ) -> None:
        self._lineup = lineup
        self._predictions = predictions
        self._dead_letters = dead_letters
        self._dataset = dataset
        self._log = log
        self._largest_dead_letter: int | None = None
        self._readers: dict[str, ColumnReader] = {}

    def answer(self, messages: Sequence[Message]) -> Answers:
        """The predictions and dead letters of a batch of one topic, its predictions handed to the log.

        Raises:
            LogError: the log takes no more.
        """
        lineup, batch = self._lineup(), _Batch(messages)
        groups: dict[tuple[str | None, float], list[_Asked]] = {}
        closer: list[int] = []
        for place, request in enumerate(plain_requests([message.value() or b"" for message in messages])):
            if request is None:
                closer.append(place)
                continue
            asked = _Asked(place, request.request_id, request.features)
            groups.setdefault((request.dataset, request.level or DEFAULT_LEVEL), []).append(asked)
        for (dataset, level), group in groups.items():
            closer += self._answer_plain(lineup, dataset, level, group, batch)
        self._answer_closely(lineup, closer, batch)
        outputs = [output for output in batch.outputs if output is not None]
        return Answers(outputs, batch.dead_letters, batch.created_ms)

    def settle(self, seconds: float) -> None:
        """Wait until the log has every prediction that was handed to it.

        Raises:
            LogError: it has not, after so long.
        """
        if self._log is not None:
            self._log.flush(seconds=seconds)

    def too_large(self, answers: Answers) -> None:
        """Learn that the broker takes no dead letter as large as the largest of these."""
        sizes = [len(one.value or b"") for one in answers.outputs if one.topic == self._dead_letters]
        if sizes:
            self._largest_dead_letter = max(sizes) - 1
            _log.warning("dead letters of this size go without their value", size=max(sizes))

    def _answer_plain(
        self, lineup: Lineup, dataset: str | None, level: float, group: list[_Asked], batch: _Batch
    ) -> list[int]:
        """Answer requests as most are; returns the places of those that need a closer look."""
        everyone = [one.place for one in group]
        try:
            model = self._model(lineup, dataset)
        except UnknownModelError:
            return everyone
        taken, columns = self._reader(model).read([one.features for one in group])
        if not taken:
            return everyone
        estimates = _tried(lambda: model.predictor.predict_columns(columns, level=level))
        if not isinstance(estimates, Estimates):
            _log.error("a batch could not be valued, and is valued row by row", exc_info=estimates, rows=len(taken))
            return everyone
        if len(taken) == len(group):
            self._write(model, estimates, group, batch)
            return []
        self._write(model, estimates, [group[number] for number in taken], batch)
        return list(set(everyone) - {group[number].place for number in taken})

    def _answer_closely(self, lineup: Lineup, places: Sequence[int], batch: _Batch) -> None:
        """Answer or refuse requests one by one, with the reason."""
        groups: dict[tuple[str, float], tuple[LoadedModel, list[_Asked]]] = {}
        for place in sorted(places):
            stage = "decode"
            try:
                request = decode_request(batch.messages[place].value())
                stage = "check"
                model = self._model(lineup, request.dataset)
                _check(model, request.features)
            except (MessageError, UnknownModelError) as error:
                self._refuse(place, error, stage, batch)
            else:
                _, group = groups.setdefault((model.digest, request.level), (model, []))
                group.append(_Asked(place, request.request_id, request.features))
        for (_, level), (model, group) in groups.items():
            self._answer_rows(model, level, group, batch)

    def _answer_rows(self, model: LoadedModel, level: float, group: Sequence[_Asked], batch: _Batch) -> None:
        """Answer requests that were checked; one that the model fails on is refused, and holds up nobody else."""
        estimates = _tried(lambda: value_rows(model, [one.features for one in group], level))
        if isinstance(estimates, Estimates):
            self._write(model, estimates, group, batch)
        elif len(group) > 1:
            for one in group:
                self._answer_rows(model, level, [one], batch)
        else:
            reason = f"{model.name} {model.version} failed on it: {type(estimates).__name__}: {estimates}"
            self._refuse(group[0].place, MessageError(reason), "predict", batch)

    def _model(self, lineup: Lineup, dataset: str | None) -> LoadedModel:
        wanted = dataset or self._dataset or lineup.default
        if wanted is None:
            raise UnknownModelError(
                "the message names no dataset, and several are served",
                hint=f"give it a dataset, one of {', '.join(lineup.known)}",
            )
        found = lineup.find(wanted, version=None, alias=None)
        if isinstance(found, LoadedModel):
            return found
        raise UnknownModelError(f"the champion of {wanted} is not in memory")

    def _reader(self, model: LoadedModel) -> ColumnReader:
        reader = self._readers.get(model.digest)
        if reader is None:
            if len(self._readers) >= _MOST_READERS:
                self._readers.clear()
            reader = self._readers[model.digest] = ColumnReader(model.spec)
        return reader

    def _write(self, model: LoadedModel, estimates: Estimates, group: Sequence[_Asked], batch: _Batch) -> None:
        """Put predictions where they belong, and hand them to the log."""
        places = [one.place for one in group]
        partitions = [batch.partitions[place] for place in places]
        offsets = [batch.offsets[place] for place in places]
        created_ms = [batch.created_ms[place] for place in places]
        now = dt.datetime.now(tz=dt.UTC).isoformat(timespec="milliseconds")
        confidence = estimates.confidence.tolist()
        predictions = map(
            Prediction,
            estimates.estimate.tolist(),
            prediction_ids(batch.topic, partitions, offsets, created_ms),
            [one.request_id or batch.where(one.place) for one in group],
            repeat(model.name),
            repeat(model.version),
            repeat(now),
            map(Interval, estimates.lower.tolist(), estimates.upper.tolist(), repeat(estimates.level)),
            confidence,
            map(grade_of, confidence),
            estimates.warnings,
            [one.features for one in group],
            repeat(model.spec.currency),
            repeat(model.spec.price_unit),
        )
        values = list(map(encode, predictions))
        self._keep(values)
        topic, outputs = self._predictions, batch.outputs
        for place, partition, value in zip(places, partitions, values, strict=True):
            message = batch.messages[place]
            headers = message.headers()
            passed = passed_on(headers_of(message)) if headers else None
            outputs[place] = Output(topic, partition, message.key(), value, passed)

    def _keep(self, records: Sequence[bytes]) -> None:
        """Hand predictions to the log, and wait for room where it has none."""
        if self._log is None:
            return
        while records:
            try:
                taken = self._log.append_many(records)
            except LogFullError:
                # What was lost before is for `settle` to tell.
                self._log.flush(since=self._log.lost, seconds=_LOG_SECONDS)
                taken = self._log.append_many(records)
            records = records[taken:]

    def _refuse(self, place: int, error: AppraiseError, stage: str, batch: _Batch) -> None:
        message = batch.messages[place]
        headers = dead_letter_headers(message, error, stage=stage)
        value = message.value()
        largest = self._largest_dead_letter
        if value is not None and largest is not None and len(value) > largest:
            headers.append(left_out(len(value)))
            value = None
        batch.outputs[place] = Output(self._dead_letters, batch.partitions[place], message.key(), value, headers)
        batch.dead_letters += 1


def prediction_ids(
    topic: str, partitions: Sequence[int], offsets: Sequence[int], created_ms: Sequence[int]
) -> list[str]:
    """The ids of the predictions for requests of a topic, the same however often a request is read.

    Each is a UUID of version 8 (RFC 9562): 48 bits of when the request was produced, as in version 7, 34 of a hash of
    topic and partition, 40 of the offset. The time is part of it, for a topic that was made anew counts from 0 again.
    """
    hashes = {
        partition: int.from_bytes(hashlib.sha256(f"{topic}/{partition}".encode()).digest()[:5]) >> 6
        for partition in set(partitions)
    }
    origin = np.array([hashes[partition] for partition in partitions], np.uint64)
    created = np.array(created_ms, np.int64).astype(np.uint64)
    words = np.empty((len(partitions), 2), ">u8")
    words[:, 0] = (created << 16) | 0x8000 | (origin >> 22)
    words[:, 1] = (1 << 63) | ((origin & 0x3FFFFF) << 40) | (np.array(offsets, np.uint64) & 0xFFFFFFFFFF)
    text = np.full((len(partitions), 36), ord("-"), np.uint8)
    text[:, _DIGITS] = np.frombuffer(words.tobytes().hex().encode(), np.uint8).reshape(-1, 32)
    joined = text.tobytes().decode()
    return [joined[start : start + 36] for start in range(0, len(joined), 36)]


def passed_on(headers: Sequence[Header]) -> list[Header] | None:
    """The headers of a request that its answer carries on; None where there are none."""
    return [one for one in headers if (name := one[0].lower()) in _PASSED_ON or name.startswith(_PREFIX)] or None


def _check(model: LoadedModel, row: dict[str, Any]) -> None:
    """Raises MessageError where a row is refused."""
    try:
        problems = model.predictor.checker.problems([row])
    except OverflowError as error:
        raise MessageError("a whole number of the row is larger than any float") from error
    if problems:
        raise refused(problems)


def _tried(value: Callable[[], Estimates]) -> Estimates | Exception:
    """Estimates, or what the model met."""
    try:
        return value()
    except Exception as error:  # noqa: BLE001  a model may fail in any way; raised, its request would be read for ever
        return error
