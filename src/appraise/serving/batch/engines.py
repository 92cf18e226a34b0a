"""Who does the shards: this process, a pool of processes on this machine, or a Dask cluster (`cluster`)."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from appraise.errors import BatchError
from appraise.logs import get_logger
from appraise.serving.batch.manifest import PartMark
from appraise.serving.batch.planning import Shard
from appraise.serving.batch.processes import Lost, Worker, heard
from appraise.serving.batch.shard import Work, do_shard

_log = get_logger(__name__)

#: Times that a shard may be lost with the process that did it, and processes in a row that may not even begin.
MOST_LOSSES = 3
#: Without any part done for so long, a run is given up.
PATIENCE_SECONDS = 1800.0


class Engine(Protocol):
    """Does shards, in any order."""

    def run(self, work: Work, shards: Sequence[Shard]) -> Generator[PartMark, None, None]:
        """The parts as they are done.

        Raises:
            BatchError: a shard was lost again and again, or there is nobody to do it.
            AppraiseError: as `do_shard` does.
        """


@dataclass(frozen=True, slots=True)
class ThisProcess:
    """One shard after the other, here."""

    def run(self, work: Work, shards: Sequence[Shard]) -> Generator[PartMark, None, None]:
        """The parts as they are done."""
        for shard in shards:
            yield do_shard(work, shard)


@dataclass(frozen=True, slots=True)
class ProcessPool:
    """Processes on this machine; one that dies is replaced, and the shard that it had is done again.

    Attributes:
        workers: how many.
    """

    workers: int

    def run(self, work: Work, shards: Sequence[Shard]) -> Generator[PartMark, None, None]:
        """The parts as they are done."""
        todo = deque(shards)
        crew: list[Worker] = []
        losses = _Losses()
        until = time.monotonic() + PATIENCE_SECONDS
        try:
            while todo or any(worker.shard for worker in crew):
                self._give_out(todo, crew, work)
                for worker in _heard(crew, until):
                    try:
                        part = worker.answer()
                    except Lost:
                        crew.remove(worker)
                        worker.end()
                        todo.extendleft(losses.note(worker))
                        continue
                    losses.unready = 0
                    if part is not None:
                        yield part
                        until = time.monotonic() + PATIENCE_SECONDS
        finally:
            for worker in crew:
                worker.end()

    def _give_out(self, todo: deque[Shard], crew: list[Worker], work: Work) -> None:
        """Have everybody busy, as far as there is something to do."""
        for worker in crew:
            if worker.is_idle and todo:
                worker.give(todo.popleft())
        starting = sum(not worker.is_ready for worker in crew)
        crew.extend(Worker(work) for _ in range(min(self.workers - len(crew), len(todo) - starting)))


@dataclass(slots=True)
class _Losses:
    """How often what was lost.

    Attributes:
        of_shards: times that the shard of this number was lost.
        unready: processes that ended before they had begun, since anything was heard of one.
    """

    of_shards: Counter[int] = field(default_factory=Counter)
    unready: int = 0

    def note(self, worker: Worker) -> tuple[Shard, ...]:
        """What is to be done again after a process ended; raises BatchError where that is hopeless."""
        if not worker.is_ready:
            self.unready += 1
            if self.unready == MOST_LOSSES:
                raise BatchError(
                    f"{MOST_LOSSES} processes one after another ended before they had begun, the last with the exit "
                    f"code {worker.process.exitcode}",
                    hint="memory may be short: try --workers 1; the parts that are done stay",
                )
            return ()
        shard = worker.shard
        if shard is None:
            return ()
        self.of_shards[shard.index] += 1
        if self.of_shards[shard.index] == MOST_LOSSES:
            raise BatchError(
                f"the processes that did the part {shard.index} ended without a word {MOST_LOSSES} times",
                hint="memory may be short: try --workers 1; the parts that are done stay",
            )
        _log.warning("a worker process died, what it did is done again", parts=[shard.index])
        return (shard,)


def _heard(crew: Sequence[Worker], until: float) -> list[Worker]:
    found = heard(crew, until=until)
    if not found:
        raise BatchError(
            f"no part was done for {PATIENCE_SECONDS / 60:.0f} minutes",
            hint="see that the input and the output can be reached, then give the same command again",
        )
    return found
