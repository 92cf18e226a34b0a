"""The routes of what was served and of what came of it: estimates of the log, outcomes, live accuracy."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from appraise.datasets.constraints import shown
from appraise.errors import AppraiseError, DataError, RowError, StoreError, UnknownPredictionError
from appraise.serving.rest import past
from appraise.serving.rest.codec import decode
from appraise.serving.rest.http import Receive, Reply, Scope
from appraise.serving.rest.messages import FieldError
from appraise.serving.rest.parameters import query_of, whole_number
from appraise.serving.rest.predicting import Predicting
from appraise.serving.rest.problems import Refusal, field_error, overloaded, refused_rows
from appraise.serving.rest.service import Service
from appraise.store.backlog import read_backlog
from appraise.store.database import Database
from appraise.store.outcome_fields import Outcome, read_outcome
from appraise.store.outcomes import Recorded, add_outcomes, outcomes_of
from appraise.store.predictions import LoggedPrediction, find_in_database, find_in_spool, latest

T = TypeVar("T")

_THREADS = 4
#: Questions that may wait for the database at a time.
_MOST_WAITING = 64


class History:
    """The routes.

    Args:
        service: its log and database.
        predicting: reads bodies.
    """

    def __init__(self, service: Service, predicting: Predicting) -> None:
        self._service = service
        self._predicting = predicting
        self._spool = service.spool
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="history")
        self._asked = 0

    def close(self) -> None:
        """End the threads when their work is done."""
        self._threads.shutdown()

    async def prediction(self, scope: Scope, _receive: Receive) -> Reply:
        """One estimate, from the database, or from the spool where it is not loaded yet."""
        query_of(scope, ())
        prediction_id = _prediction_id(scope["path_params"]["id"])
        for attempt in range(2):
            try:
                found = await self._ask(lambda: self._find(prediction_id))
            except (UnknownPredictionError, StoreError):
                if attempt or not await self._caught_up():
                    raise
            else:
                return Reply(msgspec.json.encode(found))
        raise AssertionError("the second attempt answers or raises")

    async def latest(self, scope: Scope, _receive: Receive) -> Reply:
        """The latest predictions, a page at a time."""
        given = query_of(scope, ("limit", "cursor", "model", "user_id"))
        limit = whole_number(given, "limit", 50, 1, past.MOST_LATEST)
        database = self._database()
        cursor, model, user_id = (given.get(name) for name in ("cursor", "model", "user_id"))
        try:
            page = await self._ask(lambda: latest(database, limit=limit, cursor=cursor, model=model, user_id=user_id))
        except ValueError as error:
            raise Refusal(
                HTTPStatus.NOT_FOUND,
                f"there is no page at the cursor {shown(cursor)}",
                hint="give `next` of the page before, or no cursor for the newest",
            ) from error
        records = tuple(msgspec.Raw(one.record) for one in page.predictions)
        return Reply(msgspec.json.encode(past.LatestPredictions(records, page.next)))

    async def outcomes(self, scope: Scope, receive: Receive) -> Reply:
        """Take one outcome, or a list of them, each on its own."""
        query_of(scope, ())
        document = decode(await self._predicting.body(scope, receive))
        caller = scope.get("appraise.caller")
        if isinstance(document, list):
            return await self._many(document, caller)
        if not isinstance(document, dict):
            received = shown(document)
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"the body must be an outcome or an array of them, received {received}",
                errors=[FieldError(None, "must be an object or an array of objects", received)],
            )
        outcome = read_outcome(document)
        if not isinstance(outcome, Outcome):
            raise _refused(outcome)
        (result,) = await self._add([outcome], caller)
        if isinstance(result, DataError):
            # The price is one that could be; it is the estimate that it cannot be of.
            raise Refusal(HTTPStatus.CONFLICT, result.message, hint=result.hint)
        if isinstance(result, AppraiseError):
            raise result
        status = HTTPStatus.OK if result.status == "known" else HTTPStatus.CREATED
        return Reply(msgspec.json.encode(result.to_dict()), status.value)

    async def summary(self, scope: Scope, _receive: Receive) -> Reply:
        """How right estimates have been, and how the log stands."""
        given = query_of(scope, ("days", "model"))
        days = whole_number(given, "days", 30, 1, past.MOST_DAYS)
        database = self._database()
        accuracy = await self._ask(lambda: _accuracy(database, days, given.get("model")))
        backlog = await self._ask(lambda: read_backlog(self._spool))
        return Reply(
            msgspec.json.encode(
                {
                    "days": days,
                    **accuracy,
                    "log": {
                        "unloaded_bytes": backlog.unloaded_bytes,
                        "oldest_unloaded_seconds": round(backlog.oldest_seconds, 3),
                        "loader_trouble": backlog.trouble,
                    },
                }
            )
        )

    async def _many(self, documents: list[Any], caller: str | None) -> Reply:
        if not 1 <= len(documents) <= past.MOST_OUTCOMES:
            constraint, received = f"must hold from 1 to {past.MOST_OUTCOMES:,} outcomes", f"{len(documents):,}"
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"the array {constraint}, received {received}",
                errors=[FieldError(None, constraint, received)],
            )
        read = [_read(document, row) for row, document in enumerate(documents)]
        added = iter(await self._add([one for one in read if isinstance(one, Outcome)], caller))
        results = [
            _told(row, next(added)) if isinstance(one, Outcome) else past.refused(row, one)
            for row, one in enumerate(read)
        ]
        taken = sum(isinstance(result, past.TakenOutcome) for result in results)
        return Reply(
            msgspec.json.encode(past.OutcomesAnswer(len(results), taken, len(results) - taken, tuple(results)))
        )

    async def _add(self, outcomes: list[Outcome], caller: str | None) -> list[Recorded | AppraiseError]:
        results = await self._added(outcomes, caller)
        unknown = [place for place, result in enumerate(results) if isinstance(result, UnknownPredictionError)]
        if unknown and await self._caught_up():
            again = await self._added([outcomes[place] for place in unknown], caller)
            for place, result in zip(unknown, again, strict=True):
                results[place] = result
        return results

    async def _added(self, outcomes: list[Outcome], caller: str | None) -> list[Recorded | AppraiseError]:
        database = self._database()
        return await self._ask(lambda: add_outcomes(database, self._spool, outcomes, source="rest", caller=caller))

    async def _caught_up(self) -> bool:
        """Wait for estimates that a worker may still have in memory, this one or another; False where none is kept."""
        recorder = self._service.recorder
        if recorder is None:
            return False
        await self._ask(recorder.catch_up)
        # The others write theirs to the spool in a moment.
        await asyncio.sleep(2 * recorder.commit_seconds)
        return True

    def _find(self, prediction_id: uuid.UUID) -> dict[str, Any]:
        found, away = None, None
        database = self._service.database
        if database is not None:
            try:
                found = find_in_database(database, prediction_id)
                if found is not None:
                    return {**found.to_dict(), "outcomes": _outcomes(database, prediction_id)}
            except StoreError as error:
                away = error
        found = find_in_spool(self._spool, prediction_id) or self._found_meanwhile(prediction_id, away)
        if found is not None:
            return {**found.to_dict(), "outcomes": []}
        if away is not None:
            raise away
        raise UnknownPredictionError(
            f"the log has no prediction {prediction_id}", hint="give the prediction_id of an answer"
        )

    def _found_meanwhile(self, prediction_id: uuid.UUID, away: StoreError | None) -> LoggedPrediction | None:
        """What was loaded between the two looks."""
        if away is not None or self._service.database is None:
            return None
        return find_in_database(self._service.database, prediction_id)

    def _database(self) -> Database:
        if self._service.database is None:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "this service has no database")
        return self._service.database

    async def _ask(self, function: Callable[[], T]) -> T:
        """Run what waits for the database or the disk, of which only so much may wait."""
        if self._asked >= _MOST_WAITING:
            raise overloaded()
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        finally:
            self._asked -= 1


def _accuracy(database: Database, days: int, model: str | None) -> dict[str, object]:
    # SciPy takes a second and 40 MB, which a worker that is never asked does without.
    from appraise.monitoring.accuracy import live_accuracy

    return live_accuracy(database, days=days, model=model).to_dict()


def _outcomes(database: Database, prediction_id: uuid.UUID) -> list[dict[str, Any]]:
    return [
        {
            "outcome_id": str(one.outcome_id),
            "price": one.price,
            "sold_at": one.sold_at.isoformat(),
            "recorded_at": one.recorded_at.isoformat(),
            "current": place == 0,
        }
        for place, one in enumerate(outcomes_of(database, prediction_id))
    ]


def _read(document: Any, row: int) -> Outcome | list[FieldError]:
    if not isinstance(document, dict):
        return [FieldError(None, "must be an object of fields", shown(document), row)]
    read = read_outcome(document, row=row)
    return read if isinstance(read, Outcome) else [field_error(problem, row=row) for problem in read]


def _told(row: int, result: Recorded | AppraiseError) -> past.TakenOutcome | past.RefusedOutcome:
    if isinstance(result, Recorded):
        return past.taken(row, result.to_dict())
    field = "prediction_id" if isinstance(result, UnknownPredictionError) else "price"
    return past.refused(row, [FieldError(field, result.message, result.hint or "", row)])


def _refused(problems: Any) -> Refusal:
    refusal = refused_rows(RowError(tuple(problems)).problems)
    refusal.detail = refusal.detail.replace("nothing was valued;", "the outcome was not recorded;", 1)
    return refusal


def _prediction_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise UnknownPredictionError(
            f"{shown(text)} is not the id of a prediction", hint="give the prediction_id of an answer, a UUID"
        ) from error
