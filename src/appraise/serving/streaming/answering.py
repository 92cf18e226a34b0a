"""From requests to predictions and dead letters: one batch, one call of the predictor for each model in it."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from appraise.errors import AppraiseError, LogFullError, MessageError, UnknownModelError
from appraise.features.vocabulary import Values
from appraise.logs import get_logger
from appraise.serving.batching import Answer, answers_of
from appraise.serving.columns import ColumnChecker
from appraise.serving.models import Lineup, LoadedModel
from appraise.serving.predictor import Estimates, joined
from appraise.serving.streaming.deadletters import Header, dead_letter_headers, headers_of, left_out
from appraise.serving.streaming.messages import Interval, Prediction, PriceRequest, decode_request, encode, refused
from appraise.serving.streaming.reading import place_of
from appraise.serving.streaming.scoring import Answers, Output

if TYPE_CHECKING:
    from confluent_kafka import Message

    from appraise.store.log import PredictionLog

_log = get_logger(__name__)

#: Headers of a request that its answer carries on: traces (W3C, B3) and what clients match answers by.
_PASSED_ON = ("traceparent", "tracestate", "baggage", "b3", "correlation_id", "correlationid", "kafka_correlationid")
_PREFIX = "x-"
#: Seconds that the log may take to make room.
_LOG_SECONDS = 10.0
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "appraise:kafka").bytes
#: Characters of a version 5 UUID that hold the variant, by the digit that the hash has there.
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


class _Asked(NamedTuple):
    """A request that could be read, and its place in the batch."""

    place: int
    request: PriceRequest


class _Refused(NamedTuple):
    place: int
    error: AppraiseError
    stage: str


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
        self._checker: tuple[str, ColumnChecker] | None = None

    def answer(self, messages: Sequence[Message]) -> Answers:
        """The predictions and dead letters of a batch, its predictions handed to the log.

        Raises:
            LogError: the log takes no more.
        """
        lineup = self._lineup()
        outputs: list[Output | None] = [None] * len(messages)
        dead = 0
        groups: dict[tuple[str | None, float], list[_Asked]] = {}
        for place, message in enumerate(messages):
            try:
                request = decode_request(message.value())
            except MessageError as error:
                outputs[place] = self._refuse(message, error, "decode")
                dead += 1
            except Exception as error:  # noqa: BLE001
                # Whatever it is, it belongs to this message, and the partition goes on.
                _log.exception("a message could not be read", offset=message.offset(), partition=message.partition())
                reason = MessageError(f"the message cannot be read: {type(error).__name__}: {error}")
                outputs[place] = self._refuse(message, reason, "decode")
                dead += 1
            else:
                groups.setdefault((request.dataset, request.level), []).append(_Asked(place, request))
        for (dataset, level), asked in groups.items():
            dead += self._answer_group(lineup, dataset, level, asked, messages, outputs)
        created = [message.timestamp()[1] for message in messages]
        return Answers([output for output in outputs if output is not None], dead, created)

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

    def _answer_group(
        self,
        lineup: Lineup,
        dataset: str | None,
        level: float,
        asked: Sequence[_Asked],
        messages: Sequence[Message],
        outputs: list[Output | None],
    ) -> int:
        """Answer requests of one dataset and level; returns how many were refused."""
        try:
            model = self._model(lineup, dataset)
        except UnknownModelError as error:
            for one in asked:
                outputs[one.place] = self._refuse(messages[one.place], error, "check")
            return len(asked)
        asked, estimates, bad = self._valued(model, level, asked)
        for place, reason, stage in bad:
            outputs[place] = self._refuse(messages[place], reason, stage)
        if estimates is None:
            return len(bad)
        self._write(model, level, asked, answers_of(estimates), messages, outputs)
        return len(bad)

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

    def _valued(
        self, model: LoadedModel, level: float, asked: Sequence[_Asked]
    ) -> tuple[Sequence[_Asked], Estimates | None, list[_Refused]]:
        """The requests that could be valued, their estimates, and why the others could not."""
        predictor = model.predictor
        columns = self._columns(model, asked)
        try:
            if columns is not None:
                return asked, predictor.predict_columns(columns, level=level), []
            good: list[_Asked] = []
            bad: list[_Refused] = []
            for one in asked:
                error = _problem(model, one.request)
                if error is None:
                    good.append(one)
                else:
                    bad.append(_Refused(one.place, error, "check"))
            if not good:
                return good, None, bad
            rows = [one.request.features for one in good]
            return good, predictor.value(predictor.vocabulary.encode_rows(rows), level=level), bad
        except Exception:  # noqa: BLE001  whatever it is belongs to some of the rows
            _log.exception("a batch could not be valued, and is valued row by row", rows=len(asked))
            return _one_by_one(model, level, asked)

    def _columns(self, model: LoadedModel, asked: Sequence[_Asked]) -> dict[str, Values] | None:
        """The rows as columns, where none of them is refused; None where a closer look is needed."""
        if self._checker is None or self._checker[0] != model.digest:
            self._checker = model.digest, ColumnChecker(model.spec)
        return self._checker[1].accepted([one.request.features for one in asked])

    def _write(
        self,
        model: LoadedModel,
        level: float,
        asked: Sequence[_Asked],
        answers: Sequence[Answer],
        messages: Sequence[Message],
        outputs: list[Output | None],
    ) -> None:
        """Put the predictions where they belong, and hand them to the log."""
        name, version, currency, unit = model.name, model.version, model.spec.currency, model.spec.price_unit
        now = dt.datetime.now(tz=dt.UTC).isoformat(timespec="milliseconds")
        log = None if self._log is None else self._keep
        for (place, request), (estimate, lower, upper, confidence, warnings) in zip(asked, answers, strict=True):
            message = messages[place]
            topic, partition, offset = place_of(message)
            prediction = Prediction(
                estimate,
                prediction_id(topic, partition, offset, message.timestamp()[1]),
                request.request_id or f"{topic}/{partition}/{offset}",
                name,
                version,
                now,
                Interval(lower, upper, level),
                confidence,
                warnings,
                request.features,
                currency,
                unit,
            )
            value = encode(prediction)
            if log is not None:
                log(value)
            headers = passed_on(headers_of(message))
            outputs[place] = Output(self._predictions, partition, _key(message), value, headers)

    def _keep(self, record: bytes) -> None:
        """Hand a prediction to the log, and wait for room where it has none."""
        if self._log is None:
            return
        try:
            self._log.append(record)
        except LogFullError:
            self._log.flush(seconds=_LOG_SECONDS)
            self._log.append(record)

    def _refuse(self, message: Message, error: AppraiseError, stage: str) -> Output:
        headers = dead_letter_headers(message, error, stage=stage)
        value = message.value()
        largest = self._largest_dead_letter
        if value is not None and largest is not None and len(value) > largest:
            headers.append(left_out(len(value)))
            value = None
        return Output(self._dead_letters, place_of(message)[1], _key(message), value, headers)


def prediction_id(topic: str, partition: int, offset: int, created_ms: int) -> str:
    """The id of the prediction for one request: its version 5 UUID, the same however often the request is read.

    The time when the request was produced is part of it, for a topic that was made anew counts from 0 again.
    """
    name = f"{topic}/{partition}/{offset}/{created_ms}".encode()
    # What uuid.uuid5 does, without the object.
    digest = hashlib.sha1(_NAMESPACE + name, usedforsecurity=False).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{_VARIANT[digest[16]]}{digest[17:20]}-{digest[20:32]}"


def passed_on(headers: Sequence[Header]) -> list[Header] | None:
    """The headers of a request that its answer carries on; None where there are none."""
    if not headers:
        return None
    return [one for one in headers if (name := one[0].lower()) in _PASSED_ON or name.startswith(_PREFIX)] or None


def _key(message: Message) -> bytes | None:
    key = message.key()
    return key.encode() if isinstance(key, str) else key


def _problem(model: LoadedModel, request: PriceRequest) -> MessageError | None:
    """Why a row is refused, None where it is not."""
    try:
        problems = model.predictor.checker.problems([request.features])
    except OverflowError:
        return MessageError("a whole number of the row is larger than any float")
    return refused(problems) if problems else None


def _one_by_one(
    model: LoadedModel, level: float, asked: Sequence[_Asked]
) -> tuple[Sequence[_Asked], Estimates | None, list[_Refused]]:
    """The rows that the model can value at all: one that fails alone is refused, and holds up nobody else."""
    vocabulary = model.predictor.vocabulary
    good: list[_Asked] = []
    estimates: list[Estimates] = []
    bad: list[_Refused] = []
    for one in asked:
        try:
            problem = _problem(model, one.request)
            if problem is not None:
                bad.append(_Refused(one.place, problem, "check"))
                continue
            estimates.append(model.predictor.value(vocabulary.encode_rows([one.request.features]), level=level))
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to this row
            reason = MessageError(f"{model.name} {model.version} failed on it: {type(error).__name__}: {error}")
            bad.append(_Refused(one.place, reason, "predict"))
        else:
            good.append(one)
    return good, joined(estimates) if good else None, bad
