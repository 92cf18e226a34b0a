"""`POST /run_batch`, `GET /batches` and `/batches/{id}`: files on the server, or a month, valued beside the service."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Any

import msgspec

from appraise.datasets.constraints import shown
from appraise.errors import BatchError, DataError, ForbiddenInputError, UnknownBatchError, did_you_mean
from appraise.serving.orders import Order, OrderBook
from appraise.serving.predictor import DEFAULT_LEVEL
from appraise.serving.rest.codec import decode_object
from appraise.serving.rest.http import Receive, Reply, Scope
from appraise.serving.rest.messages import FieldError
from appraise.serving.rest.parameters import query_of, whole_number
from appraise.serving.rest.predicting import Predicting
from appraise.serving.rest.problems import Refusal
from appraise.serving.rest.service import Service

Json = dict[str, Any]

_FIELDS = ("input", "month", "model_name", "model_version", "level")
_MONTH = re.compile(r"[1-9]\d{3}-(?:0[1-9]|1[0-2])", re.ASCII)
_LONGEST = 1024

#: Runs of one list.
MOST_LISTED = 500


class Orders(msgspec.Struct):
    """Batch runs, the one that was ordered last first."""

    batches: tuple[Order, ...]


#: Types whose schemas the OpenAPI document holds.
ANSWERS = (Order, Orders)


class Batches:
    """The routes.

    Args:
        service: its models and orders.
        predicting: reads bodies.
    """

    def __init__(self, service: Service, predicting: Predicting) -> None:
        self._service = service
        self._predicting = predicting

    async def order(self, scope: Scope, receive: Receive) -> Reply:
        """Take an order; 202 with its id."""
        wanted = decode_object(await self._predicting.body(scope, receive))
        _check(wanted)
        name, version = self._model(wanted)
        try:
            order = await asyncio.to_thread(
                self._book().place,
                name,
                model_version=version,
                input=wanted.get("input"),
                month=wanted.get("month"),
                level=wanted.get("level", DEFAULT_LEVEL),
                caller=scope.get("appraise.caller"),
            )
        except ForbiddenInputError as error:
            raise Refusal(HTTPStatus.FORBIDDEN, error.message, hint=error.hint) from error
        except DataError as error:
            raise Refusal(HTTPStatus.NOT_FOUND, error.message, hint=error.hint) from error
        except BatchError as error:
            headers = ((b"retry-after", b"60"),)
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, error.message, hint=error.hint, headers=headers) from error
        location = (b"location", f"/batches/{order.batch_id}".encode())
        return Reply(msgspec.json.encode(order), HTTPStatus.ACCEPTED.value, headers=(location,))

    async def latest(self, scope: Scope, _receive: Receive) -> Reply:
        """The runs that were ordered last."""
        limit = whole_number(query_of(scope, ("limit",)), "limit", 50, 1, MOST_LISTED)
        return Reply(msgspec.json.encode(Orders(await asyncio.to_thread(self._book().latest, limit))))

    async def progress(self, scope: Scope, _receive: Receive) -> Reply:
        """How an order stands."""
        try:
            order = await asyncio.to_thread(self._book().find, scope["path_params"]["id"])
        except UnknownBatchError as error:
            raise Refusal(HTTPStatus.NOT_FOUND, error.message, hint=error.hint) from error
        return Reply(msgspec.json.encode(order))

    def _book(self) -> OrderBook:
        if self._service.orders is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "this service takes no batch runs")
        return self._service.orders

    def _model(self, wanted: Json) -> tuple[str, str | None]:
        lineup = self._service.shelf.lineup
        name = wanted.get("model_name", lineup.default)
        if name is None:
            raise _refused("model_name", f"must be one of {', '.join(lineup.known)}", "nothing")
        if name not in lineup.known:
            near = did_you_mean(name, lineup.known)
            raise Refusal(HTTPStatus.NOT_FOUND, f"no model named {shown(name)} is served", hint=near)
        version = wanted.get("model_version")
        if version is not None and version not in {known.version for known in lineup.known[name]}:
            raise Refusal(HTTPStatus.NOT_FOUND, f"the model {name} has no version {shown(version)}")
        loaded = [one for (owner, _), one in lineup.loaded.items() if owner == name]
        if "month" in wanted and loaded and loaded[0].spec.sale_date is None:
            raise Refusal(HTTPStatus.CONFLICT, f"{name} has no date of sale, and so no months", hint="give an input")
        return name, version


def _check(wanted: Json) -> None:
    """Refuse what no order can be made of."""
    for name in wanted:
        if name not in _FIELDS:
            raise _refused(name[:60], f"must be one of {', '.join(_FIELDS)}", shown(name))
    for name in ("input", "month", "model_name", "model_version"):
        value = wanted.get(name)
        if name in wanted and (not isinstance(value, str) or not 0 < len(value) <= _LONGEST):
            raise _refused(name, f"must be a text of 1 to {_LONGEST} characters", shown(value))
    if ("input" in wanted) == ("month" in wanted):
        raise _refused("input", "must be given, or else month", "both" if "input" in wanted else "neither")
    if "month" in wanted and _MONTH.fullmatch(wanted["month"]) is None:
        raise _refused("month", "must be a month such as 2023-05", shown(wanted["month"]))
    level = wanted.get("level", DEFAULT_LEVEL)
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0.0 < level < 1.0:
        raise _refused("level", "must be a number above 0 and below 1", shown(level))


def _refused(field: str, constraint: str, received: str) -> Refusal:
    return Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"no batch run was begun because of {field}: it {constraint}, received {received}",
        errors=[FieldError(field, constraint, received)],
    )


def paths(answers: Any) -> Json:
    """The paths of the OpenAPI document.

    Args:
        answers: writes the responses of an operation, given schema, description and statuses.
    """
    text = {"type": "string", "minLength": 1, "maxLength": _LONGEST}
    body = {
        "type": "object",
        "properties": {
            "input": {**text, "description": "A file or folder that the service may read, or an s3:// address."},
            "month": {"type": "string", "pattern": f"^{_MONTH.pattern}$", "description": "In place of an input."},
            "model_name": {**text, "description": "The default model where none is named."},
            "model_version": {**text, "description": "The champion where none is named."},
            "level": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": DEFAULT_LEVEL},
        },
        "oneOf": [{"required": ["input"]}, {"required": ["month"]}],
        "additionalProperties": False,
    }
    ordered = answers(
        "Order", "It was taken.", ("400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "503")
    )
    ordered["202"] = ordered.pop("200")
    content = {"application/json": {"schema": body, "example": {"input": "new.csv"}}}
    return {
        "/run_batch": {
            "post": {
                "tags": ["batches"],
                "summary": "Value the homes of files on the server, or of a month, beside the service",
                "requestBody": {"required": True, "content": content},
                "responses": ordered,
            }
        },
        "/batches": {
            "get": {
                "tags": ["batches"],
                "summary": "The batch runs that were ordered last, newest first",
                "parameters": [
                    {
                        "name": "limit",
                        "in": "query",
                        "required": False,
                        "schema": {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": 50},
                    }
                ],
                "responses": answers("Orders", "The runs.", ("401", "403", "404", "422", "429")),
            }
        },
        "/batches/{id}": {
            "get": {
                "tags": ["batches"],
                "summary": "How a batch run stands",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
                ],
                "responses": answers("Order", "The run.", ("401", "403", "404", "429")),
            }
        },
    }
