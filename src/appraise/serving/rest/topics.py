"""`POST /topics/{topic}` in the shape of the Kafka REST Proxy, version 2: JSON records in, offsets out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from appraise.datasets.constraints import shown
from appraise.errors import AppraiseError, ForbiddenTopicError, StreamError, UnknownPartitionError, UnknownTopicError
from appraise.serving.batching import Overloaded
from appraise.serving.publishing import NotPublished, Published, Publisher, Record
from appraise.serving.rest.codec import decode_object
from appraise.serving.rest.http import Receive, Reply, Scope, header
from appraise.serving.rest.predicting import Predicting
from appraise.serving.rest.problems import Refusal, overloaded
from appraise.serving.rest.service import Service

JSON_RECORDS = "application/vnd.kafka.json.v2+json"
ANSWER = "application/vnd.kafka.v2+json"

_ACCEPTED = (JSON_RECORDS.encode(), b"application/json")
#: The proxy's own codes, finer than the statuses of HTTP.
_UNKNOWN_TOPIC, _UNKNOWN_PARTITION, _FORBIDDEN_TOPIC, _RETRIABLE = 40401, 40402, 40301, 50003
#: What stands beside a record that did not arrive: whether it is worth sending again.
_NOT_AGAIN, _AGAIN = 1, 2
_FIELDS = ("key", "value", "partition")
_LARGEST_PARTITION = 2**31 - 1

_encoder = msgspec.json.Encoder()


class TopicOffset(msgspec.Struct, omit_defaults=True):
    """Where a record is, or why it is nowhere."""

    partition: int | None
    offset: int | None
    error_code: Annotated[
        int | None, Meta(description="1: do not send it again as it is; 2: it may go well later.")
    ] = None
    error: str | None = None


class TopicOffsets(msgspec.Struct):
    """Where the records are, in their order."""

    offsets: tuple[TopicOffset, ...]
    key_schema_id: None = None
    value_schema_id: None = None


class TopicProblem(msgspec.Struct):
    """What went wrong, as the Kafka REST Proxy tells it."""

    error_code: Annotated[int, Meta(description="The HTTP status, or five digits that begin with it or its like.")]
    message: str


class _RawRecord(msgspec.Struct):
    value: msgspec.Raw
    key: msgspec.Raw = msgspec.Raw(b"null")


class _RawRecords(msgspec.Struct):
    records: list[_RawRecord]


#: Keys and values go on as they were written.
_raw_decoder = msgspec.json.Decoder(_RawRecords)


class ProxyRefusal(Refusal):
    """A refusal with a code of the proxy's."""

    def __init__(self, status: HTTPStatus, code: int, detail: str, *, hint: str | None = None) -> None:
        headers = ((b"retry-after", b"5"),) if status is HTTPStatus.SERVICE_UNAVAILABLE else ()
        super().__init__(status, detail, hint=hint, headers=headers)
        self.code = code


def tell(refusal: Refusal) -> Reply:
    """A refusal in the proxy's shape."""
    code = refusal.code if isinstance(refusal, ProxyRefusal) else refusal.status.value
    text = refusal.detail if refusal.hint is None else f"{refusal.detail} ({refusal.hint})"
    document = TopicProblem(code, text)
    return Reply(_encoder.encode(document), refusal.status.value, ANSWER.encode(), refusal.headers)


class TopicRoutes:
    """The routes under `/topics`.

    Args:
        service: its limits, and who sends messages.
        predicting: reads bodies.
    """

    def __init__(self, service: Service, predicting: Predicting) -> None:
        self._publisher: Publisher | None = service.publisher
        self._predicting = predicting
        self._most = service.limits.max_batch_rows

    async def produce(self, scope: Scope, receive: Receive) -> Reply:
        """Send records to a topic."""
        _check_media_type(header(scope, b"content-type"))
        body = await self._predicting.binary_body(scope, receive)
        topic = scope["path_params"]["topic"]
        places = self._places(decode_object(body))
        raw = _raw_decoder.decode(body).records
        records = [Record(_bytes(one.key), _bytes(one.value), place) for one, place in zip(raw, places, strict=True)]
        if self._publisher is None:
            raise ProxyRefusal(
                HTTPStatus.SERVICE_UNAVAILABLE, _RETRIABLE, "this service sends nothing to Kafka", hint="see the docs"
            )
        try:
            outcomes = await self._publisher.publish(topic, records)
        except Overloaded as error:
            raise overloaded() from error
        except StreamError as error:
            raise _refusal(error) from error
        failed = [one for one in outcomes if isinstance(one, NotPublished)]
        if failed and len(failed) == len(outcomes) and all(one.retriable for one in failed):
            raise ProxyRefusal(
                HTTPStatus.SERVICE_UNAVAILABLE, _RETRIABLE, f"no record arrived: {failed[0].reason}", hint="try again"
            )
        return Reply(_encoder.encode(TopicOffsets(tuple(map(_offset, outcomes)))), media_type=ANSWER.encode())

    def _places(self, document: dict[str, Any]) -> list[int | None]:
        """The partition of each record, all of them checked."""
        problems = [f"{shown(name)} is not a field of it" for name in document if name != "records"]
        records = document.get("records")
        if not isinstance(records, list):
            problems.append(f"records must be an array, received {shown(records)}")
        elif not 1 <= len(records) <= self._most:
            problems.append(f"records must hold from 1 to {self._most:,} records, received {len(records):,}")
        if problems or not isinstance(records, list):
            raise _invalid(problems)
        return [_place(position, one) for position, one in enumerate(records)]


def schemas() -> dict[str, Any]:
    """The types of the OpenAPI document."""
    return msgspec.json.schema_components((TopicOffsets, TopicProblem), ref_template="#/components/schemas/{name}")[1]


def paths(answers: Callable[[str, str, Iterable[str], str], dict[str, Any]]) -> dict[str, Any]:
    """The routes in the OpenAPI document.

    Args:
        answers: describes the answers of a route by schema, sentence, statuses of problems and media type.
    """
    described = {
        "400": "The body is not JSON.",
        "401": "No valid API key came.",
        "403": "The key or the service does not allow it (40301).",
        "404": "No such topic (40401), or no such partition in it (40402).",
        "408": "The request did not arrive in time.",
        "413": "The body is too large.",
        "415": "The records are of a format that is not taken.",
        "422": "The body has wrong fields.",
        "429": "The key asks too often.",
        "500": "The cluster refuses.",
        "503": "No Kafka is configured, or no broker answers (50003), or too much is on its way.",
    }
    problem = {ANSWER: {"schema": {"$ref": "#/components/schemas/TopicProblem"}}}
    anything = {"description": "Any JSON value."}
    record = {
        "type": "object",
        "required": ["value"],
        "additionalProperties": False,
        "properties": {
            "key": anything,
            "value": anything,
            "partition": {"type": ["integer", "null"], "minimum": 0, "maximum": _LARGEST_PARTITION},
        },
    }
    schema = {
        "type": "object",
        "required": ["records"],
        "additionalProperties": False,
        "properties": {"records": {"type": "array", "minItems": 1, "items": record}},
    }
    event = {"user_id": "user2", "event_type": "MedInc", "value": 8.3, "timestamp": "2026-01-20T15:00:00Z"}
    return {
        "/topics/{topic}": {
            "post": {
                "tags": ["topics"],
                "summary": "Send records to a topic of Kafka",
                "description": "The shape of the Kafka REST Proxy, version 2. Clients may write to the topics that "
                "the service reads: feature events and price requests.",
                "parameters": [
                    {
                        "name": "topic",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "minLength": 1},
                        "example": "raw_data_events",
                    }
                ],
                "requestBody": {
                    "required": True,
                    "content": {JSON_RECORDS: {"schema": schema, "example": {"records": [{"value": event}]}}},
                },
                "responses": {
                    **answers("TopicOffsets", "Where the records are, in their order.", (), ANSWER),
                    **{status: {"description": text, "content": problem} for status, text in described.items()},
                },
            }
        }
    }


def _check_media_type(content_type: bytes | None) -> None:
    kind = (content_type or b"").partition(b";")[0].strip().lower()
    if kind in _ACCEPTED:
        return
    received = "none" if content_type is None else shown(content_type.decode("latin-1"))
    hint = f"send the header Content-Type: {JSON_RECORDS}"
    if kind.startswith(b"application/vnd.kafka."):
        detail = f"records in the format {received} are not taken"
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, hint=hint)
    raise Refusal(HTTPStatus.BAD_REQUEST, f"Invalid request JSON body: its content type is {received}", hint=hint)


def _place(position: int, record: Any) -> int | None:
    if not isinstance(record, dict):
        raise _invalid([f"records[{position}] must be an object, received {shown(record)}"])
    problems = [f"records[{position}] has no field {shown(name)}" for name in record if name not in _FIELDS]
    if "value" not in record:
        problems.append(f"records[{position}] must have a value, which may be null")
    partition = record.get("partition")
    if type(partition) is float and partition.is_integer():
        # To JSON 1.0 is a whole number too.
        partition = int(partition)
    if partition is not None and (type(partition) is not int or not 0 <= partition <= _LARGEST_PARTITION):
        problems.append(f"the partition of records[{position}] must be a number from 0, received {shown(partition)}")
    if problems:
        raise _invalid(problems)
    return partition


def _bytes(raw: msgspec.Raw) -> bytes | None:
    value = bytes(raw)
    return None if value == b"null" else value


def _invalid(problems: list[str]) -> Refusal:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"Invalid request format: {problems[0]}{more}")


def _refusal(error: AppraiseError) -> Refusal:
    match error:
        case UnknownPartitionError():
            status, code = HTTPStatus.NOT_FOUND, _UNKNOWN_PARTITION
        case UnknownTopicError():
            status, code = HTTPStatus.NOT_FOUND, _UNKNOWN_TOPIC
        case ForbiddenTopicError():
            status, code = HTTPStatus.FORBIDDEN, _FORBIDDEN_TOPIC
        case _:
            # No broker, or one that refuses this service: in either case nothing that the client can mend.
            status, code = HTTPStatus.SERVICE_UNAVAILABLE, _RETRIABLE
    return ProxyRefusal(status, code, error.message)


def _offset(outcome: Published | NotPublished) -> TopicOffset:
    if isinstance(outcome, Published):
        return TopicOffset(outcome.partition, outcome.offset)
    code = _AGAIN if outcome.retriable else _NOT_AGAIN
    return TopicOffset(None, None, code, outcome.reason)
