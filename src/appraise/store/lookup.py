"""Looking stored features up for requests: one thread, one connection, one query for all that wait together.

A request that needs the database while it is away must be told soon, and the others must not notice. So the thread that
talks to the database is apart, waiting is bounded in number and in time, and after a failure nobody asks again for a
second.
"""

from __future__ import annotations

import datetime as dt
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appraise.errors import StoreError, StoreUnavailableError
from appraise.store.database import Database
from appraise.store.faults import driver_errors
from appraise.store.features import Found, latest_features

if TYPE_CHECKING:
    import psycopg

#: Seconds in which an answer must be there.
ANSWER_SECONDS = 2.0
#: Seconds without a new attempt after a failure.
_REST_SECONDS = 1.0
_MOST_WAITING = 1024
#: Users of one query: few enough that a request does not wait long behind a batch.
_MOST_TOGETHER = 256


def _utc_now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)


@dataclass(frozen=True, slots=True)
class _Question:
    wanted: Sequence[tuple[str, Sequence[str]]]
    answer: Future[list[Found]]


class FeatureLookup:
    """Finds stored features for many requests at a time.

    Args:
        database: where they are.
        clock: tells the moment as of which they count.
    """

    def __init__(self, database: Database, *, clock: Callable[[], dt.datetime] = _utc_now) -> None:
        self._database = database
        self._clock = clock
        self._waiting: queue.Queue[_Question | None] = queue.Queue(_MOST_WAITING)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failure: tuple[float, StoreError] | None = None
        self._busy_since: float | None = None
        self._ending = False

    def ask(self, wanted: Sequence[tuple[str, Sequence[str]]]) -> list[Future[list[Found]]]:
        """Ask for features, in pieces of at most 256 users.

        Args:
            wanted: users, each with the features that are wanted of it.

        Returns:
            For each piece a future of what was found, in their order; it fails with a StoreError, or with whatever else
            went wrong.

        Raises:
            StoreUnavailableError: the database is known to be away, or too many requests wait for it.
            StoreError: it was found unfit a moment ago.
        """
        self._refuse_in_vain()
        self._start()
        futures = []
        for start in range(0, len(wanted), _MOST_TOGETHER):
            future: Future[list[Found]] = Future()
            try:
                self._waiting.put_nowait(_Question(wanted[start : start + _MOST_TOGETHER], future))
            except queue.Full:
                raise StoreUnavailableError(
                    f"{_MOST_WAITING:,} requests wait for stored features already", hint="try again in a second"
                ) from None
            futures.append(future)
        return futures

    def find(self, wanted: Sequence[tuple[str, Sequence[str]]], *, seconds: float = ANSWER_SECONDS) -> list[Found]:
        """As `ask`, waiting for the answers.

        Raises:
            StoreUnavailableError: they were not there in time, or as `ask`.
        """
        deadline = time.monotonic() + seconds
        found: list[Found] = []
        for future in self.ask(wanted):
            try:
                found += future.result(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise too_slow() from None
        return found

    def close(self) -> None:
        """Let go of the connection; what still waits is answered first."""
        thread = self._thread
        if thread is not None:
            with suppress(queue.Full):
                self._waiting.put(None, timeout=ANSWER_SECONDS)
            thread.join(ANSWER_SECONDS)

    def _refuse_in_vain(self) -> None:
        failure, busy = self._failure, self._busy_since
        if failure is not None and time.monotonic() - failure[0] < _REST_SECONDS:
            raise failure[1]
        if busy is not None and time.monotonic() - busy > ANSWER_SECONDS:
            raise too_slow()

    def _start(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="features", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        while not self._ending:
            questions = self._together()
            if questions:
                connection = self._answered(connection, questions)
        if connection is not None:
            connection.close()

    def _answered(
        self, connection: psycopg.Connection[Any] | None, questions: Sequence[_Question]
    ) -> psycopg.Connection[Any] | None:
        """Answer questions; returns the connection for the next ones, None where it is not to be used again."""
        wanted = [one for question in questions for one in question.wanted]
        self._busy_since = time.monotonic()
        try:
            try:
                connection, found = self._found(connection, wanted)
            except StoreUnavailableError:
                # A connection that nobody used for a while may have ended long ago.
                if connection is None or not connection.broken:
                    raise
                connection, found = self._found(None, wanted)
        except Exception as error:  # noqa: BLE001  whatever it is belongs to a question: raised here, nobody would be answered
            if connection is not None:
                connection.close()
            if isinstance(error, StoreError):
                self._failure = time.monotonic(), error
            elif len(questions) > 1:
                # One question that cannot be answered does not keep the others from their answers.
                connection = None
                for question in questions:
                    connection = self._answered(connection, [question])
                return connection
            for question in questions:
                _settle(question.answer, error)
            return None
        finally:
            self._busy_since = None
        self._failure = None
        for question in questions:
            _settle(question.answer, found[: len(question.wanted)])
            del found[: len(question.wanted)]
        return connection

    def _found(
        self, connection: psycopg.Connection[Any] | None, wanted: Sequence[tuple[str, Sequence[str]]]
    ) -> tuple[psycopg.Connection[Any], list[Found]]:
        """Ask on a connection, or on a new one; returns it with what was found."""
        with driver_errors(self._database.address):
            if connection is not None:
                return connection, latest_features(connection, wanted, as_of=self._clock())
            self._database.check()
            with ExitStack() as unless_it_works:
                connection = unless_it_works.enter_context(closing(self._database.dedicated(autocommit=True)))
                connection.execute(f"SET statement_timeout = {round(ANSWER_SECONDS * 1000)}")
                found = latest_features(connection, wanted, as_of=self._clock())
                unless_it_works.pop_all()
            return connection, found

    def _together(self) -> list[_Question]:
        """The next questions, as many as fit into one query."""
        questions: list[_Question] = []
        users = 0
        following = self._waiting.get()
        while following is not None:
            questions.append(following)
            users += len(following.wanted)
            if users >= _MOST_TOGETHER or self._waiting.empty():
                return questions
            following = self._waiting.get()
        self._ending = True
        return questions


def too_slow() -> StoreUnavailableError:
    """The error for an answer that was not there in time."""
    return StoreUnavailableError(
        f"the database did not find the stored features within {ANSWER_SECONDS:g} s", hint="try again"
    )


def _settle(answer: Future[list[Found]], result: list[Found] | Exception) -> None:
    # Whoever asked may have given up.
    with suppress(InvalidStateError):
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)
