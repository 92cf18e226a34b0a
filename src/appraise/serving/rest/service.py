"""What the routes of one worker share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from appraise.errors import AppraiseError, StoreError
from appraise.logs import get_logger
from appraise.serving.batching import Batcher
from appraise.serving.models import Lineup, Shelf
from appraise.serving.orders import OrderBook
from appraise.serving.publishing import Publisher
from appraise.serving.rest.crew import Crew
from appraise.serving.rest.guard import Guard
from appraise.serving.rest.limits import Limits
from appraise.serving.rest.log_metrics import counts_of
from appraise.serving.rest.recording import Recorder
from appraise.serving.rest.storing import StoredFeatures
from appraise.serving.rest.tally import Tally
from appraise.serving.stored import FeatureAges
from appraise.store.audit import Action, record
from appraise.store.database import Database

_log = get_logger(__name__)

#: Seconds between looks at what other workers published, at the keys, and between reports of what was counted.
_WATCH_SECONDS = 0.2
#: Seconds that a service which ends waits for the audit trail.
_NOTE_SECONDS = 5.0


@dataclass(slots=True)
class Service:
    """One worker's models, limits and state.

    Attributes:
        shelf: the models.
        limits: what is allowed.
        guard: who may do what.
        crew: the other workers.
        registry_address: where models are registered, for the detailed health.
        home: the folder that holds all state, for the detailed health.
        database: where stored features are; None in a service without one.
        stored: fills requests with them.
        recorder: records what is answered; None where nothing is.
        publisher: sends messages to Kafka; None in a service without it.
        orders: takes batch runs; None in a service that takes none.
        tally: what is counted.
        batcher: values rows that wait together.
        started: when, by the clock of `time.monotonic`.
        draining: whether the worker is about to end.
        noting: changes that are on their way into the audit trail.
        refreshing: the question that a worker which served its cache asks the registry.
    """

    shelf: Shelf
    limits: Limits
    guard: Guard
    crew: Crew
    registry_address: str
    home: Path
    database: Database | None = None
    stored: StoredFeatures = field(default_factory=lambda: StoredFeatures(None, FeatureAges()))
    recorder: Recorder | None = None
    publisher: Publisher | None = None
    orders: OrderBook | None = None
    tally: Tally = field(default_factory=Tally)
    batcher: Batcher = field(init=False)
    started: float = field(default_factory=time.monotonic)
    draining: bool = False
    refreshing: asyncio.Task[None] | None = None
    noting: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.batcher = Batcher(limit=self.limits.queue, batch_limit=self.limits.batch_queue, observe=self.tally.batched)

    @property
    def spool(self) -> Path:
        """Where the prediction log of this home is."""
        return self.home / "log"

    async def reload(self, actor: str) -> tuple[Lineup, Lineup, int]:
        """Serve what the registry says now, in every worker.

        Args:
            actor: who asked for it, for the audit trail.

        Returns:
            What was served before, what is served now, and how many workers serve it.

        Raises:
            AppraiseError: nothing changed.
        """
        before, lineup = await self._refreshed(actor)
        for _ in range(100):
            if self.crew.in_step() >= self.crew.size:
                break
            await asyncio.sleep(_WATCH_SECONDS / 2)
        return before, lineup, self.crew.in_step()

    def note(self, actor: str, action: Action, subject: str, detail: Mapping[str, object]) -> None:
        """Have a change in the audit trail, without a wait for the database; what cannot be noted there is logged."""
        if self.database is not None:
            noting = asyncio.create_task(asyncio.to_thread(_note, self.database, actor, action, subject, detail))
            self.noting.add(noting)
            noting.add_done_callback(self.noting.discard)

    async def finish_noting(self) -> None:
        """Give what is on its way into the audit trail a moment to get there."""
        if self.noting:
            await asyncio.wait(self.noting, timeout=_NOTE_SECONDS)

    def count_log(self) -> None:
        """Note where this worker's prediction log stands."""
        if self.recorder is not None:
            self.tally.log = counts_of(self.recorder.state())

    async def watch(self) -> None:
        """Keep in step with the other workers and the keys for as long as this runs."""
        told: str | None = None
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            trouble = None
            try:
                await self._look()
            except OSError as error:
                # A disk that is full must not keep this worker from hearing of a key that was revoked.
                trouble = error.strerror or str(error)
                if trouble != told:
                    _log.error("a worker cannot keep in step with the others", reason=trouble)
            told = trouble

    async def _look(self) -> None:
        self.guard.refresh()
        news = self.crew.news()
        if news is not None:
            try:
                await asyncio.to_thread(self.shelf.adopt, news)
            except AppraiseError as error:
                _log.error("what another worker serves cannot be loaded", reason=error.message)
        self.count_log()
        self.crew.report(self.tally.snapshot())

    async def refresh(self) -> None:
        """Ask the registry what the cache could not say."""
        try:
            await self._refreshed("appraise serve")
        except AppraiseError as error:
            _log.warning("the registry cannot be used, serving cached models", reason=error.message)

    async def _refreshed(self, actor: str) -> tuple[Lineup, Lineup]:
        """Have this worker serve what the registry says and tell the others; each champion that changed is noted."""
        before, after = await asyncio.to_thread(self.shelf.refresh)
        self.crew.publish(self.shelf.versions())
        was, now = before.champion_versions(), after.champion_versions()
        for name in dict.fromkeys((*was, *now)):
            if was.get(name) != now.get(name):
                self.note(actor, "model.reloaded", name, {"from": was.get(name), "to": now.get(name)})
        return before, after


def _note(database: Database, actor: str, action: Action, subject: str, detail: Mapping[str, object]) -> None:
    try:
        with database.connect() as connection:
            record(connection, actor, action, subject, detail)
    except StoreError as error:
        _log.warning("a change is not in the audit trail", action=action, actor=actor, reason=error.message)
