"""What is answered goes to the prediction log: at once in the default mode, with the disk's word in `sync`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from appraise.errors import LogError, LogFullError
from appraise.serving.batching import answers_of
from appraise.serving.models import LoadedModel
from appraise.serving.predictor import Estimates
from appraise.serving.rest import messages
from appraise.serving.rest.http import Scope
from appraise.serving.rest.parameters import Options
from appraise.serving.rest.problems import Refusal
from appraise.serving.rest.stamps import new_id, now
from appraise.serving.versions import DEFAULT_ALIAS
from appraise.store.log import PredictionLog
from appraise.store.logplan import LogState
from appraise.store.records import CHECK, Served, ServedInterval

#: Requests that may wait for room in the log at a time; beyond it they are refused at once.
_MOST_HELD = 1024
_MOST_TAILS = 1024
#: How long somebody who looks for an estimate waits for it to be written, on however busy a machine.
_CATCH_UP_SECONDS = 5.0

#: What a single answer says itself, and its record therefore already.
_SAID_BY_ANSWERS = frozenset(("currency", "price_unit"))


class Recorder:
    """Records the estimates of one worker. `answered` belongs to the event loop, the other calls to other threads.

    Args:
        log: where they go.
    """

    def __init__(self, log: PredictionLog) -> None:
        self._log = log
        self._sync = log.plan.mode == "sync"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsettled: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._moved: asyncio.Future[None] | None = None
        self._held = 0
        self._tails: dict[tuple[object, ...], bytes] = {}

    def open(self) -> None:
        """Begin to listen to what the log says of records that are on the disk."""
        self._loop = asyncio.get_running_loop()
        self._log.listen(self._heard)

    def close(self, *, seconds: float) -> None:
        """Have everything that was answered on the disk."""
        self._log.close(seconds=seconds)

    def catch_up(self) -> None:
        """Wait until what this worker answered can be found, or for some seconds, in another thread than the loop's."""
        if self._log.state().trouble is None:
            self._log.catch_up(seconds=_CATCH_UP_SECONDS)

    @property
    def commit_seconds(self) -> float:
        """How long a record may gather before it is written."""
        return self._log.plan.commit_seconds

    def state(self) -> LogState:
        """Where this worker's log stands."""
        return self._log.state()

    def answered(self, scope: Scope, model: LoadedModel, options: Options, answer: bytes) -> Awaitable[None] | None:
        """Record one answer, given as the JSON that will be sent.

        Returns:
            What to wait for before it is sent, None where there is nothing to wait for. It raises a Refusal where the
            estimate cannot be recorded.
        """
        record = answer[:-1] + self._tail(scope, model, options)
        if self._held:
            return self._when_there_is_room(record)
        try:
            number = self._log.append(record)
        except LogFullError:
            return self._when_there_is_room(record)
        return self._settling(number) if self._sync else None

    def answered_batch(
        self,
        scope: Scope,
        model: LoadedModel,
        options: Options,
        batch: messages.BatchPrediction,
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        """Record the answers of a batch, in its own thread.

        Args:
            scope, model, options: of the request.
            batch: what will be sent.
            rows: as they were valued, by their position.

        Raises:
            Refusal: they cannot be recorded.
        """
        origin = self._origin(scope, model, options)
        self._answered(
            Served(
                prediction_id=one.prediction_id,
                timestamp=batch.timestamp,
                model_name=batch.model_name,
                model_version=batch.model_version,
                prediction=one.prediction,
                prediction_interval=ServedInterval(
                    one.prediction_interval.lower, one.prediction_interval.upper, one.prediction_interval.level
                ),
                confidence_score=one.confidence_score,
                confidence_grade=one.confidence_grade,
                warnings=one.warnings,
                input_features=dict(rows[one.row]),
                batch_id=batch.batch_id,
                user_id=_given(one.user_id),
                feature_sources=_given(one.feature_sources),
                **origin,
            )
            for one in batch.results
            if isinstance(one, messages.Valued)
        )

    def answered_rows(
        self,
        scope: Scope,
        model: LoadedModel,
        options: Options,
        rows: Sequence[Mapping[str, Any]],
        estimates: Estimates,
        *,
        request_id: str,
    ) -> None:
        """Record the estimates of rows that are answered together, in another thread than the event loop's.

        Raises:
            Refusal: they cannot be recorded.
        """
        origin = self._origin(scope, model, options)
        self._answered(
            Served(
                prediction_id=new_id(),
                timestamp=now(),
                model_name=model.name,
                model_version=model.version,
                prediction=one.estimate,
                prediction_interval=ServedInterval(one.lower, one.upper, estimates.level),
                confidence_score=one.confidence,
                confidence_grade=one.grade,
                warnings=one.warnings,
                input_features=dict(row),
                request_id=request_id,
                **origin,
            )
            for row, one in zip(rows, answers_of(estimates), strict=True)
        )

    def _answered(self, records: Iterable[Served]) -> None:
        plan, lost = self._log.plan, self._log.lost
        try:
            self._log.append_all(records, seconds=plan.wait_seconds)
            if self._sync:
                self._log.flush(since=lost, seconds=plan.wait_seconds + 30.0)
        except LogError as error:
            raise _refused(error.message) from error

    def _origin(self, scope: Scope, model: LoadedModel, options: Options) -> dict[str, Any]:
        """What a record says beside the answer."""
        return {
            "transport": "rest",
            "arm": _arm(options),
            "alias": options.alias or (DEFAULT_ALIAS if options.version is None else None),
            "caller": scope.get("appraise.caller"),
            "currency": model.spec.currency,
            "price_unit": model.spec.price_unit,
        }

    def _tail(self, scope: Scope, model: LoadedModel, options: Options) -> bytes:
        """The same as the end of a JSON object."""
        key = model.digest, options.version, options.alias, options.check, scope.get("appraise.caller")
        tail = self._tails.get(key)
        if tail is None:
            if len(self._tails) >= _MOST_TAILS:
                self._tails.clear()
            origin = {
                name: value
                for name, value in self._origin(scope, model, options).items()
                if value is not None and name not in _SAID_BY_ANSWERS
            }
            tail = self._tails[key] = b"," + msgspec.json.encode(origin)[1:]
        return tail

    def _settling(self, number: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsettled.append((number, future))
        return future

    async def _when_there_is_room(self, record: bytes) -> None:
        if self._held >= _MOST_HELD:
            self._log.refused()
            raise _refused("too many estimates wait to be recorded")
        self._held += 1
        try:
            number = await self._append_later(record)
        finally:
            self._held -= 1
        if self._sync:
            await self._settling(number)

    async def _append_later(self, record: bytes) -> int:
        reason = ""
        try:
            async with asyncio.timeout(self._log.plan.wait_seconds):
                while True:
                    if self._moved is None:
                        self._moved = asyncio.get_running_loop().create_future()
                    try:
                        return self._log.append(record)
                    except LogFullError as error:
                        reason = error.message
                    await asyncio.shield(self._moved)
        except TimeoutError as error:
            self._log.refused()
            raise _refused(reason) from error

    def _heard(self, first: int, last: int, reason: str | None) -> None:
        """In a thread of the log: pass it on."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, first, last, reason)

    def _settle(self, first: int, last: int, reason: str | None) -> None:
        moved, self._moved = self._moved, None
        if moved is not None:
            moved.set_result(None)
        earlier: list[tuple[int, asyncio.Future[None]]] = []
        while self._unsettled and self._unsettled[0][0] <= last:
            number, future = self._unsettled.popleft()
            if number < first:
                # What was withdrawn is told at once, what came before it when the disk has it.
                earlier.append((number, future))
            elif not future.done():
                if reason is None:
                    future.set_result(None)
                else:
                    future.set_exception(_refused(reason))
        self._unsettled.extendleft(reversed(earlier))


def _arm(options: Options) -> str:
    """What chose the model."""
    if options.check:
        return CHECK
    if options.alias is None and options.version is not None:
        return "version"
    return options.alias or DEFAULT_ALIAS


def _given(value: Any) -> Any:
    return None if value is msgspec.UNSET else value


def _refused(reason: str) -> Refusal:
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"the estimate cannot be recorded, and is not given: {reason}",
        hint="try again in a few seconds",
        headers=((b"retry-after", b"2"),),
    )
