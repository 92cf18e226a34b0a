"""What the predict routes ask of rows before they are valued, and tell of them afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from appraise.errors import Problem
from appraise.serving.models import LoadedModel
from appraise.serving.rest.codec import too_large_numbers
from appraise.serving.stored import POSITIONAL, USER, Completed


def needs_store(row: dict[str, Any]) -> bool:
    """Whether a row may name somebody whose stored features count, or gives its values by position."""
    return USER in row or POSITIONAL in row


def check_rows(model: LoadedModel, rows: Sequence[dict[str, Any]]) -> list[Problem]:
    """Everything that is wrong with rows of JSON."""
    try:
        return model.predictor.checker.problems(rows)
    except OverflowError:
        return [
            Problem(position, error.field, error.constraint, error.received)
            for position, row in enumerate(rows)
            for error in too_large_numbers(row)
        ]


def origins_of(stored: Completed | None) -> dict[str, Any]:
    """What an answer says of where its inputs came from."""
    if stored is None:
        return {}
    user = msgspec.UNSET if stored.user_id is None else stored.user_id
    return {"user_id": user, "feature_sources": stored.origins, "feature_times": stored.times}
