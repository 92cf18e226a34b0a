"""Errors as the service tells them: problem documents of RFC 9457."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

import msgspec

from appraise.errors import (
    AppraiseError,
    BundleError,
    LogError,
    Problem,
    RegistryError,
    RowError,
    StoreError,
    UnknownModelError,
    UnknownPredictionError,
)
from appraise.logs import get_logger
from appraise.serving.rest import messages
from appraise.serving.rest.http import Reply

_log = get_logger(__name__)

MEDIA_TYPE = b"application/problem+json"

#: Refused fields that one answer names; a body can hold more than anybody would read.
_MOST_ERRORS = 100


#: Names of RFC 9110 that Python had not learnt before 3.13.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


class Refusal(Exception):  # noqa: N818  what it is, not what went wrong
    """A request that is not answered with what it asks for.

    Args:
        status: of the answer.
        detail: one sentence that says what was received and why it cannot be used.
        hint: what to do about it.
        errors: refused fields.
        headers: of the answer, besides the usual ones.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        hint: str | None = None,
        errors: Iterable[messages.FieldError] = (),
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.hint = hint
        self.errors = tuple(errors)
        self.headers = tuple(headers)

    def reply(self) -> Reply:
        """The answer."""
        document = messages.Problem(
            title=_TITLES.get(self.status.value, self.status.phrase),
            status=self.status.value,
            detail=self.detail,
            hint=self.hint,
            errors=self.errors[:_MOST_ERRORS],
        )
        return Reply(msgspec.json.encode(document), self.status.value, MEDIA_TYPE, self.headers)


def refused_rows(problems: Iterable[Problem], *, hint: str | None = None) -> Refusal:
    """The refusal of a row: how many of its fields are refused, and of the first why."""
    error = RowError(tuple(problems))
    first = error.problems[0]
    fields = len({problem.field for problem in error.problems})
    count = f"{fields} fields were refused" if fields > 1 else "nothing was valued"
    return Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{count}; {first.field or 'the row'}: {first.constraint}, received {first.received}",
        hint=hint,
        errors=[field_error(problem) for problem in error.problems],
    )


def field_error(problem: Problem, *, row: int | None = None) -> messages.FieldError:
    """A refused field as the service names it."""
    return messages.FieldError(problem.field, problem.constraint, problem.received, row)


def refused_parameter(name: str, constraint: str, received: str) -> Refusal:
    """The refusal of a query parameter."""
    return Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"the parameter {name} {constraint}, received {received}",
        errors=[messages.FieldError(name, constraint, received)],
    )


def refusal_of(error: AppraiseError) -> Refusal:
    """How an error of the layers below is told."""
    match error:
        case RowError():
            return refused_rows(error.problems, hint=error.hint)
        case UnknownModelError() | UnknownPredictionError():
            status = HTTPStatus.NOT_FOUND
        case RegistryError() | BundleError() | StoreError() | LogError():
            status = HTTPStatus.SERVICE_UNAVAILABLE
        case _:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
    headers = ((b"retry-after", b"5"),) if status is HTTPStatus.SERVICE_UNAVAILABLE else ()
    return Refusal(status, error.message, hint=error.hint, headers=headers)


def refusal_for(error: Exception, route: str) -> Refusal:
    """How whatever a request met is told; what nobody foresaw goes to the log with its traceback."""
    match error:
        case Refusal():
            return error
        case AppraiseError():
            return refusal_of(error)
        case _:
            _log.error("a request failed", route=route, exc_info=error)
            return _unforeseen()


def _unforeseen() -> Refusal:
    return Refusal(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the service met an error that it did not expect, and wrote it to its log",
        hint="please report it",
    )


def overloaded() -> Refusal:
    """Too much is waiting."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "more requests are waiting than this server takes at a time",
        hint="try again in a second",
        headers=((b"retry-after", b"1"),),
    )
