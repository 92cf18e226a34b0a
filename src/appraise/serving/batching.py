"""Micro-batching: single rows that wait at the same time are valued in one call.

A predictor takes little longer for sixteen rows than for one. Rows are gathered for one turn of the event loop, in
which every request that has arrived is decoded, and are valued in the next: nobody waits for a timer, and a lone
request is valued at once. Files of rows go to a thread in pieces, so that they hold nobody up for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from appraise.serving.estimates import Estimates, Grade, grade_of
from appraise.serving.models import LoadedModel
from appraise.serving.rowcodec import Row

T = TypeVar("T")

#: Rows that are valued in one call on the event loop; what is beyond waits for the next turn.
_MOST_TOGETHER = 128


class Overloaded(Exception):  # noqa: N818  what it is, not what went wrong
    """More is waiting than is allowed."""


class Answer(NamedTuple):
    """One row of estimates."""

    estimate: float
    lower: float
    upper: float
    confidence: float
    warnings: tuple[str, ...]

    @property
    def grade(self) -> Grade:
        """What the confidence comes to."""
        return grade_of(self.confidence)


#: Is given a row's answer, or what valuing it met.
Done = Callable[[Answer | Exception], None]


#: A checked row: plain values, or as the model's codec read it.
AnyRow = Mapping[str, Any] | Row


class _Waiting(NamedTuple):
    model: LoadedModel
    level: float
    row: AnyRow
    done: Done


class Batcher:
    """Values rows for one event loop.

    Args:
        limit: single rows that may wait at a time.
        batch_limit: batches that may be under way or wait at a time.
        observe: is told the number of rows of each call.
    """

    def __init__(self, *, limit: int, batch_limit: int, observe: Callable[[int], None]) -> None:
        self._limit = limit
        self._batch_limit = batch_limit
        self._observe = observe
        self._waiting: list[_Waiting] = []
        self._batches = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")

    @property
    def depth(self) -> int:
        """Rows and batches that wait."""
        return len(self._waiting) + self._batches

    @property
    def is_full(self) -> bool:
        """Whether one row more is too many."""
        return len(self._waiting) >= self._limit

    def submit(self, model: LoadedModel, row: AnyRow, level: float, done: Done) -> None:
        """Value one checked row together with those that wait.

        Args:
            model: what values it.
            row: it.
            level: of its interval.
            done: is called on the event loop, and raises nothing.

        Raises:
            Overloaded: too many wait.
        """
        if self.is_full:
            raise Overloaded
        if not self._waiting:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._flush, loop)
        self._waiting.append(_Waiting(model, level, row, done))

    def value(self, model: LoadedModel, row: Mapping[str, Any], level: float) -> asyncio.Future[Answer]:
        """The same, to be awaited; raises as `submit` does."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.submit(model, row, level, partial(_settle_future, future))
        return future

    async def run(self, function: Callable[[], T]) -> T:
        """Run a batch's work in the batch thread, one batch after another.

        Raises:
            Overloaded: too many wait.
        """
        if self._batches >= self._batch_limit:
            raise Overloaded
        self._batches += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        finally:
            self._batches -= 1

    def close(self) -> None:
        """End the thread when its work is done."""
        self._thread.shutdown()

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        now, self._waiting = self._waiting[:_MOST_TOGETHER], self._waiting[_MOST_TOGETHER:]
        if self._waiting:
            loop.call_soon(self._flush, loop)
        groups: dict[tuple[int, float, bool], list[_Waiting]] = {}
        for one in now:
            groups.setdefault((id(one.model), one.level, isinstance(one.row, Row)), []).append(one)
        for group in groups.values():
            self._observe(len(group))
            _settle(group)


def _settle(group: Sequence[_Waiting]) -> None:
    try:
        answers = answers_of(value_rows(group[0].model, [one.row for one in group], group[0].level))
    except Exception as error:  # noqa: BLE001  whatever it is belongs to a row: raised here, nobody would be answered
        if len(group) == 1:
            group[0].done(error)
            return
        # One row that cannot be valued does not keep the others from their answers.
        for one in group:
            _settle([one])
        return
    for one, answer in zip(group, answers, strict=True):
        one.done(answer)


def _settle_future(future: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def value_rows(model: LoadedModel, rows: Sequence[AnyRow], level: float) -> Estimates:
    """Value checked rows, which are all plain values or all as the model's codec read them."""
    predictor = model.predictor
    if isinstance(rows[0], Row):
        return predictor.value(model.codec.table(cast(Any, rows)), level=level)
    return predictor.value(predictor.vocabulary.encode_rows(cast(Any, rows)), level=level)


def answers_of(estimates: Estimates) -> list[Answer]:
    """Estimates row by row, as Python's own numbers."""
    return list(
        map(
            Answer,
            estimates.estimate.tolist(),
            estimates.lower.tolist(),
            estimates.upper.tolist(),
            estimates.confidence.tolist(),
            estimates.warnings,
        )
    )
