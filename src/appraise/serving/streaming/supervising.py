"""A worker's whole life: sessions with clients of their own, one after another, until it is told to stop.

What a session cannot mend ends it, and the next one begins with new clients: at once the first time, later with a
pause that doubles. Only what time does not mend (a topic that is not there, refused credentials) ends the worker.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from appraise.errors import BrokerUnavailableError, LogError, StoreError, StreamError, UnknownTopicError
from appraise.logs import get_logger
from appraise.serving.streaming.failures import AbortedError, ClientsLostError
from appraise.serving.streaming.health import Pulse
from appraise.serving.streaming.tally import Tally
from appraise.serving.streaming.watchdog import Watchdog

_log = get_logger(__name__)

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 15.0
#: Seconds between looks at how many messages wait, for the metrics.
_LAG_SECONDS = 1.0
#: Seconds without work after which to see whether the cluster and the topics are still there: a client that has
#: nothing to read is told of neither.
_LOOK_SECONDS = 5.0
#: Seconds for which a topic must stay away until it counts as gone: a broker that starts may not know it yet.
_GONE_SECONDS = 20.0


class Session(Protocol):
    """A worker between two makings of its clients."""

    def turn(self) -> bool:
        """Do what there is to do; says whether something was committed."""

    def lag(self, *, ask: bool = False) -> int:
        """Messages that wait."""

    def partitions(self) -> tuple[int, ...]:
        """The partitions that it has."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be done for now although the clients work, None where it can."""

    def finish(self) -> None:
        """Commit what was taken."""

    def close(self) -> None:
        """Leave the group."""


@dataclass(slots=True)
class Supervisor:
    """Runs sessions.

    Attributes:
        open_session: makes clients, and a session with them.
        stop: is set when the worker is to end.
        tally, pulse: are told how it goes.
        stall_seconds: without progress for so long although messages wait, new clients are made.
        look: sees whether all topics are there; raises UnknownTopicError, or StreamError where it cannot be told.
    """

    open_session: Callable[[], Session]
    stop: threading.Event
    tally: Tally
    pulse: Pulse
    stall_seconds: float
    look: Callable[[], None] = lambda: None
    _failures: int = 0
    _gone_since: float | None = None
    _away: str | None = None

    def run(self) -> None:
        """Work until `stop` is set: what was taken is committed, and the group left.

        Raises:
            UnknownTopicError: a topic is gone for good.
            AppraiseError: what else time does not mend, such as refused credentials.
        """
        first = True
        while not self.stop.is_set():
            try:
                session = self.open_session()
            except (ClientsLostError, BrokerUnavailableError) as error:
                if first and not isinstance(error, ClientsLostError):
                    raise
                self._pause("no clients can be made", error)
                continue
            except UnknownTopicError as error:
                if first:
                    raise
                self._await_topic(error)
                continue
            first = False
            self._run(session)
        self.pulse.say("stopping")

    def _run(self, session: Session) -> None:
        watchdog = Watchdog(self.stall_seconds, lambda: session.lag(ask=True))
        measured, looked = 0.0, time.monotonic()
        try:
            while not self.stop.is_set():
                self.pulse.beat()
                if self._turn(session):
                    self._failures, self._gone_since, self._away = 0, None, None
                    looked = time.monotonic()
                    watchdog.progress()
                elif session.trouble is not None:
                    watchdog.progress()
                waiting = watchdog.stalled()
                if waiting:
                    _log.error("messages wait and nothing happens: clients are made anew", messages=waiting)
                    self.tally.rebuilt("stalled")
                    return
                if time.monotonic() - looked > _LOOK_SECONDS:
                    if self._look():
                        _log.info("the cluster is there again: clients are made anew")
                        self.tally.rebuilt("outage")
                        return
                    looked = time.monotonic()
                if time.monotonic() - measured > _LAG_SECONDS:
                    measured = time.monotonic()
                    self._measure(session)
            self.pulse.say("stopping")
            session.finish()
        except (ClientsLostError, AbortedError, BrokerUnavailableError) as error:
            self.tally.rebuilt("lost")
            self._pause("the clients are of no more use and are made anew", error)
        except UnknownTopicError as error:
            self._await_topic(error)
        finally:
            session.close()

    def _turn(self, session: Session) -> bool:
        try:
            return session.turn()
        except (AbortedError, LogError, StoreError) as error:
            self._pause("a batch was given up and is read again", error)
            return False

    def _look(self) -> bool:
        """See that the topics are there; says whether the cluster is there again after it was away.

        Old clients find it again too, but the first transaction after it was seen to wait for its offsets until its
        deadline.
        """
        try:
            self.look()
        except UnknownTopicError:
            raise
        except StreamError as error:
            if self._away is None:
                _log.warning("the cluster cannot be asked, and is waited for", reason=error.message)
            self._away = error.message
            return False
        away, self._away, self._gone_since = self._away, None, None
        return away is not None

    def _measure(self, session: Session) -> None:
        self.tally.lag = session.lag()
        self.tally.partitions = session.partitions()
        trouble = session.trouble or self._away
        if trouble is not None:
            self.pulse.say("waiting", trouble)
        elif self._failures == 0:
            self.pulse.say("ready")

    def _await_topic(self, error: UnknownTopicError) -> None:
        now = time.monotonic()
        if self._gone_since is None:
            self._gone_since = now
        elif now - self._gone_since > _GONE_SECONDS:
            raise error
        self._pause("a topic is not there", error)

    def _pause(self, what: str, error: Exception) -> None:
        """Wait before the next attempt: twice as long each time, and not all workers at the same moment."""
        longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0**self._failures)
        self._failures = min(self._failures + 1, 20)
        if self._failures > 2:
            self.pulse.say("waiting", str(error))
        _log.warning(what, reason=str(error), attempt=self._failures, pause_seconds=round(longest, 1))
        self.pulse.beat()
        self.stop.wait(longest * random.uniform(0.5, 1.0))  # noqa: S311
