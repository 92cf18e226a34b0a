"""The hot path: from the body of a request to its estimate."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Any, cast

import msgspec
import numpy as np

from appraise.datasets.constraints import shown
from appraise.errors import UnknownModelError
from appraise.serving.batching import Answer, AnyRow, Overloaded
from appraise.serving.explain import explain
from appraise.serving.models import Lineup, LoadedModel
from appraise.serving.rest import messages
from appraise.serving.rest.checking import check_rows, needs_store, origins_of
from appraise.serving.rest.codec import check_media_type, decode_object
from appraise.serving.rest.http import Receive, Reply, Scope, TooLargeError, header, read_body
from appraise.serving.rest.many import Many
from appraise.serving.rest.parameters import BATCH, SINGLE, Options, options_of
from appraise.serving.rest.problems import Refusal, overloaded, refused_rows
from appraise.serving.rest.service import Service
from appraise.serving.rest.stamps import new_id, now
from appraise.serving.stored import Completed, is_asked

_encoder = msgspec.json.Encoder()

#: Headers that browsers send with what a page asks for, and that no page can leave out.
_OF_A_PAGE = frozenset((b"origin", b"sec-fetch-site"))


class Predicting:
    """The predict routes.

    Args:
        service: its models, limits and counts.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._shelf = service.shelf
        self._batcher = service.batcher
        self._limits = service.limits
        self._tally = service.tally
        self._stored = service.stored
        self._recorder = service.recorder
        self._many = Many(service)

    async def single(self, scope: Scope, receive: Receive, name: str | None = None) -> Reply:
        """Value one home."""
        started = time.perf_counter()
        options = options_of(scope["query_string"], SINGLE)
        row = decode_object(await self.body(scope, receive))
        model = await self.model(options, name)
        stored: Completed | None = None
        if needs_store(row) and is_asked(model.spec, row):
            stored = await self._stored.complete(model, row)
            row = stored.row
        problems = check_rows(model, [row])
        if problems:
            raise refused_rows(problems if stored is None else stored.blamed(problems))
        try:
            answer = await self._batcher.value(model, row, options.level)
        except Overloaded as error:
            raise overloaded() from error
        nearest: Any = msgspec.UNSET
        base: Any = msgspec.UNSET
        contributions: Any = msgspec.UNSET
        if options.comparables:
            nearest = _comparables(model, row, options.comparables)
        if options.explain:
            base, contributions = await asyncio.to_thread(_explained, model, row, answer.estimate)
        more: dict[str, Any] = {"base": base, "contributions": contributions, "comparables": nearest}
        if stored is not None:
            more |= origins_of(stored)
            answer = answer._replace(warnings=(*answer.warnings, *stored.warnings))
        return self.conclude(scope, model, row, answer, options, started, **more)

    def conclude(
        self,
        scope: Scope,
        model: LoadedModel,
        row: AnyRow,
        answer: Answer,
        options: Options,
        started: float,
        **more: Any,
    ) -> Reply:
        """Count an estimate, record it and tell it: the one place that every single one comes to.

        Args:
            scope: of the request.
            model, row, answer, options: what was valued, and how.
            started: when the request came, by `time.perf_counter`.
            more: further fields of `messages.Prediction`.
        """
        grade = answer.grade
        self._tally.valued(model.name, model.version, 1, grade)
        spec = model.spec
        body = _encoder.encode(
            messages.Prediction(
                prediction=answer.estimate,
                currency=spec.currency,
                price_unit=spec.price_unit,
                prediction_id=new_id(),
                model_name=model.name,
                model_version=model.version,
                timestamp=now(),
                prediction_interval=messages.Interval(answer.lower, answer.upper, options.level),
                confidence_score=answer.confidence,
                confidence_grade=grade,
                warnings=answer.warnings,
                input_features=cast(Any, row),
                processing_time_ms=round((time.perf_counter() - started) * 1e3, 3),
                **more,
            )
        )
        if self._recorder is None:
            return Reply(body)
        return Reply(body, after=self._recorder.answered(scope, model, options, body))

    async def batch(self, scope: Scope, receive: Receive, name: str | None = None) -> Reply:
        """Value many homes, each answered or refused on its own."""
        options = options_of(scope["query_string"], BATCH)
        body = await self.body(scope, receive)
        model = await self.model(options, name)
        try:
            return await self._batcher.run(lambda: self._many.value(scope, body, model, options))
        except Overloaded as error:
            raise overloaded() from error

    async def body(self, scope: Scope, receive: Receive) -> bytes:
        """The body of a request that is JSON.

        Raises:
            Refusal: 415 for what is not plain JSON, 413 for what is too large.
            ClientGoneError: the client went away.
        """
        length = None
        kind = encoding = None
        of_a_page = False
        for key, value in scope["headers"]:
            if key == b"content-type":
                kind = value
            elif key == b"content-length":
                length = value
            elif key == b"content-encoding":
                encoding = value
            elif key in _OF_A_PAGE:
                of_a_page = True
        check_media_type(kind, encoding, of_a_page=of_a_page)
        return await self._read(receive, length)

    async def binary_body(self, scope: Scope, receive: Receive) -> bytes:
        """The body of a request that is JSON followed by tensors; raises as `body` does."""
        check_media_type(b"application/json", header(scope, b"content-encoding"))
        return await self._read(receive, header(scope, b"content-length"))

    async def _read(self, receive: Receive, length: bytes | None) -> bytes:
        limit = self._limits.max_body_bytes
        if length is not None and len(length) > 6 and int(length) > limit:
            raise _too_large(f"{int(length):,}", limit)
        try:
            return await read_body(receive, limit)
        except TooLargeError as error:
            raise _too_large(f"more than {limit:,}", limit) from error

    async def model(self, options: Options, name: str | None) -> LoadedModel:
        """The model that a request means.

        Raises:
            Refusal: 422 where none was named and several are served.
            UnknownModelError: there is none.
        """
        wanted = self._wanted(options, name, self._shelf.lineup)
        try:
            found = self._shelf.lineup.find(wanted, version=options.version, alias=options.alias)
        except UnknownModelError:
            if self._service.refreshing is None or self._service.refreshing.done():
                raise
            # The cache knows champions alone; the registry, which is being asked, may know what is meant.
            await asyncio.shield(self._service.refreshing)
            found = self._shelf.lineup.find(wanted, version=options.version, alias=options.alias)
        if isinstance(found, LoadedModel):
            return found
        return await asyncio.to_thread(self._shelf.load, found)

    def _wanted(self, options: Options, name: str | None, lineup: Lineup) -> str:
        """The name of the model that a request means."""
        wanted = name or options.model or lineup.default
        if wanted is None:
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "the request does not say which model is meant, and several are served",
                hint=f"use /models/NAME/... or ?model=NAME, or serve with --default NAME; served are "
                f"{', '.join(lineup.known)}",
            )
        if name is not None and options.model not in (None, name):
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"the path names the model {name}, the query {shown(options.model)}"
            )
        return wanted

    def present(self, options: Options, name: str | None) -> LoadedModel | None:
        """The model that a request means, None where it must be waited for; raises as `model` does."""
        lineup = self._shelf.lineup
        found = lineup.find(self._wanted(options, name, lineup), version=options.version, alias=options.alias)
        return found if isinstance(found, LoadedModel) else None


def _comparables(model: LoadedModel, row: dict[str, Any], count: int) -> tuple[messages.Comparable, ...]:
    return tuple(
        messages.Comparable(sale.price, sale.date, sale.distance_km, sale.difference, sale.attributes)
        for sale in model.predictor.comparables(row, count=count)
    )


def _explained(
    model: LoadedModel, row: dict[str, Any], estimate: float
) -> tuple[float, tuple[messages.Contribution, ...]]:
    predictor = model.predictor
    (explanation,) = explain(predictor, predictor.vocabulary.encode_rows([row]), np.array([estimate]))
    return explanation.base, tuple(
        messages.Contribution(one.source.name, one.source.columns, one.money) for one in explanation.contributions
    )


def _too_large(size: str, limit: int) -> Refusal:
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body has {size} bytes, {limit:,} are accepted",
        hint="send fewer rows at a time",
        headers=((b"connection", b"close"),),
    )
