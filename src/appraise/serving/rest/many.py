"""Many homes in one request: valued in pieces, each home answered or refused on its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from appraise.datasets.constraints import shown
from appraise.errors import Problem
from appraise.serving.batching import Answer, answers_of, value_rows
from appraise.serving.models import LoadedModel
from appraise.serving.rest import messages
from appraise.serving.rest.checking import check_rows, origins_of
from appraise.serving.rest.codec import decode_object
from appraise.serving.rest.http import Reply, Scope
from appraise.serving.rest.parameters import Options
from appraise.serving.rest.problems import Refusal, field_error
from appraise.serving.rest.service import Service
from appraise.serving.rest.stamps import new_id, now
from appraise.serving.stored import POSITIONAL, USER, Completed

_encoder = msgspec.json.Encoder()

#: Rows that are valued in one call: few enough that the threads beside it get their turn.
_PIECE = 512
_LONGEST_NAME = 200

#: A row with its stored features, or what is wrong with it.
Stored = Completed | tuple[Problem, ...]


class Many:
    """Values batches.

    Args:
        service: its limits and counts.
    """

    def __init__(self, service: Service) -> None:
        self._limits = service.limits
        self._tally = service.tally
        self._stored = service.stored
        self._recorder = service.recorder

    def value(self, scope: Scope, body: bytes, model: LoadedModel, options: Options) -> Reply:
        """The answer to a request, in another thread than the event loop's.

        Raises:
            Refusal: the request as a whole is refused, or its estimates cannot be recorded.
        """
        started = time.perf_counter()
        rows, batch_name = self._read(decode_object(body))
        asked = any(type(row) is dict and (USER in row or POSITIONAL in row) for row in rows)
        stored = self._stored.complete_batch(model, rows) if asked else {}
        for position, one in stored.items():
            if isinstance(one, Completed):
                rows[position] = one.row
        checked = [_problems_of(model, row, position, stored.get(position)) for position, row in enumerate(rows)]
        accepted = [row for row, problems in zip(rows, checked, strict=True) if not problems]
        answers: list[Answer] = []
        for start in range(0, len(accepted), _PIECE):
            piece = accepted[start : start + _PIECE]
            answers += answers_of(value_rows(model, piece, options.level))
            self._tally.batched(len(piece))
        results = _results(checked, answers, options.level, stored)
        for grade, count in Counter(answer.grade for answer in answers).items():
            self._tally.valued(model.name, model.version, count, grade)
        self._tally.refused(model.name, len(rows) - len(accepted))
        batch = messages.BatchPrediction(
            batch_id=new_id(),
            batch_name=batch_name,
            model_name=model.name,
            model_version=model.version,
            currency=model.spec.currency,
            price_unit=model.spec.price_unit,
            timestamp=now(),
            rows=len(rows),
            valued=len(accepted),
            refused=len(rows) - len(accepted),
            results=results,
            processing_time_ms=round((time.perf_counter() - started) * 1e3, 3),
        )
        if self._recorder is not None:
            self._recorder.answered_batch(scope, model, options, batch, rows)
        return Reply(_encoder.encode(batch))

    def _read(self, document: dict[str, Any]) -> tuple[list[Any], str | None]:
        errors = [
            messages.FieldError(name, "is not a field of a batch; its fields are rows and batch_name", shown(value))
            for name, value in document.items()
            if name not in ("rows", "batch_name")
        ]
        rows, name = document.get("rows"), document.get("batch_name")
        most = self._limits.max_batch_rows
        if not isinstance(rows, list):
            received = shown(rows) if "rows" in document else "nothing"
            errors.append(messages.FieldError("rows", "must be an array of rows", received))
        elif not 1 <= len(rows) <= most:
            errors.append(messages.FieldError("rows", f"must hold from 1 to {most:,} rows", f"{len(rows):,} rows"))
        if name is not None and (not isinstance(name, str) or len(name) > _LONGEST_NAME):
            wanted = f"must be a text of at most {_LONGEST_NAME} characters"
            errors.append(messages.FieldError("batch_name", wanted, shown(name)))
        if errors or not isinstance(rows, list):
            first = errors[0]
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"the batch cannot be read: {first.field} {first.constraint}, received {first.received}",
                errors=errors,
            )
        return rows, name


def _problems_of(
    model: LoadedModel, row: Any, position: int, stored: Stored | None = None
) -> tuple[messages.FieldError, ...]:
    if isinstance(stored, tuple):
        return tuple(field_error(problem, row=position) for problem in stored)
    if type(row) is not dict:
        return (messages.FieldError(None, "must be an object of fields", shown(row), position),)
    problems = check_rows(model, [row])
    return tuple(
        field_error(problem, row=position) for problem in (problems if stored is None else stored.blamed(problems))
    )


def _results(
    checked: Sequence[tuple[messages.FieldError, ...]],
    answers: Sequence[Answer],
    level: float,
    stored: Mapping[int, Stored],
) -> list[messages.Valued | messages.Refused]:
    remaining = iter(answers)
    results: list[messages.Valued | messages.Refused] = []
    for position, errors in enumerate(checked):
        if errors:
            results.append(messages.Refused(position, errors))
            continue
        answer = next(remaining)
        found = stored.get(position)
        completed = found if isinstance(found, Completed) else None
        results.append(
            messages.Valued(
                row=position,
                prediction=answer.estimate,
                prediction_id=new_id(),
                prediction_interval=messages.Interval(answer.lower, answer.upper, level),
                confidence_score=answer.confidence,
                confidence_grade=answer.grade,
                warnings=answer.warnings if completed is None else (*answer.warnings, *completed.warnings),
                **origins_of(completed),
            )
        )
    return results
