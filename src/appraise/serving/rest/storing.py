"""Rows of requests and their stored features: one row without holding up the loop, a batch in its thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from appraise.errors import Problem, RowError, StoreError, StoreUnavailableError
from appraise.serving.models import LoadedModel
from appraise.serving.stored import Asked, Completed, FeatureAges, complete, is_asked, read_asked
from appraise.store.features import Found
from appraise.store.lookup import ANSWER_SECONDS, FeatureLookup, too_slow


class StoredFeatures:
    """Fills rows with what is stored of their users.

    Args:
        lookup: finds it; None in a service without a database.
        ages: how old it may be.
    """

    def __init__(self, lookup: FeatureLookup | None, ages: FeatureAges) -> None:
        self._lookup = lookup
        self._ages = ages

    async def complete(self, model: LoadedModel, row: dict[str, Any]) -> Completed:
        """Complete one row for which `is_asked` holds.

        Raises:
            RowError: the row cannot be completed.
            StoreError: what it needs cannot be looked up now.
        """
        asked = read_asked(model.spec, row)
        found = None
        if asked.question is not None:
            (answer,) = self._finder().ask([asked.question])
            try:
                (found,) = await asyncio.wait_for(asyncio.wrap_future(answer), ANSWER_SECONDS)
            except TimeoutError:
                raise too_slow() from None
        return complete(model.spec, asked, found, ages=self._ages)

    def complete_batch(self, model: LoadedModel, rows: Sequence[Any]) -> dict[int, Completed | tuple[Problem, ...]]:
        """Complete the rows of a batch for which `is_asked` holds, in few questions.

        Returns:
            Each of them by its position, or what is wrong with it.
        """
        asked: dict[int, Asked] = {}
        done: dict[int, Completed | tuple[Problem, ...]] = {}
        for position, row in enumerate(rows):
            if type(row) is dict and is_asked(model.spec, row):
                try:
                    asked[position] = read_asked(model.spec, row, position=position)
                except RowError as error:
                    done[position] = error.problems
        found = self._found(asked)
        for position, one in asked.items():
            answer = found.get(position)
            if isinstance(answer, StoreError):
                done[position] = (Problem(position, None, "needs stored features, which cannot be had", str(answer)),)
                continue
            try:
                done[position] = complete(model.spec, one, answer, ages=self._ages, position=position)
            except RowError as error:
                done[position] = error.problems
        return done

    def close(self) -> None:
        """Let go of the database."""
        if self._lookup is not None:
            self._lookup.close()

    def _found(self, asked: dict[int, Asked]) -> dict[int, Found | StoreError]:
        """What is stored of the users, by the positions of their rows."""
        questions = {position: one.question for position, one in asked.items() if one.question is not None}
        if not questions:
            return {}
        seconds = ANSWER_SECONDS + len(questions) / 1000
        try:
            answers = self._finder().find(list(questions.values()), seconds=seconds)
        except StoreError as error:
            return dict.fromkeys(questions, error)
        return dict(zip(questions, answers, strict=True))

    def _finder(self) -> FeatureLookup:
        if self._lookup is None:
            raise StoreUnavailableError(
                "this service has no database, and so no stored features", hint="send every field of the home"
            )
        return self._lookup
