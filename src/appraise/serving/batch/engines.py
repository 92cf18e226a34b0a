"""Who does the shards: this process, a pool of processes on this machine, or a Dask cluster (`cluster`)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection, get_context, parent_process
from typing import Protocol

from appraise.errors import BatchError
from appraise.logs import get_logger
from appraise.serving.batch.manifest import PartMark
from appraise.serving.batch.planning import Shard
from appraise.serving.batch.shard import Work, do_shard
from appraise.serving.predictor import use_threads

_log = get_logger(__name__)

#: Times that a shard may be lost with the process that did it.
MOST_LOSSES = 3
#: Shards that a process is given ahead, so that it never waits.
_AHEAD = 2
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
    """Processes on this machine; one that dies is replaced, and its shard is done again.

    Attributes:
        workers: how many.
    """

    workers: int

    def run(self, work: Work, shards: Sequence[Shard]) -> Generator[PartMark, None, None]:
        """The parts as they are done."""
        left = {shard.index: shard for shard in shards}
        losses = dict.fromkeys(left, 0)
        while left:
            lost: set[int] = set()
            with closing(self._until_broken(work, list(left.values()), lost)) as made:
                for index, part in made:
                    del left[index]
                    yield part
            for index in lost:
                losses[index] += 1
            hopeless = sorted(index for index in lost if losses[index] >= MOST_LOSSES)
            if hopeless:
                raise BatchError(
                    f"the processes that did the parts {_listed(hopeless)} ended without a word {MOST_LOSSES} times",
                    hint="memory may be short: try --workers 1; the parts that are done stay",
                )
            if lost:
                _log.warning("a worker process died, what it did is done again", parts=sorted(lost))

    def _until_broken(
        self, work: Work, shards: list[Shard], lost: set[int]
    ) -> Generator[tuple[int, PartMark], None, None]:
        """Do shards until all are done or a process dies; `lost` is then given those that were under way."""
        workers = min(self.workers, len(shards))
        pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=(work,))
        waiting: dict[Future[PartMark], int] = {}
        todo = iter(shards)
        try:
            while not lost:
                for shard in islice(todo, _AHEAD * workers - len(waiting)):
                    waiting[pool.submit(_do, shard)] = shard.index
                if not waiting:
                    return
                done, _ = wait(waiting, timeout=PATIENCE_SECONDS, return_when=FIRST_COMPLETED)
                if not done:
                    raise BatchError(
                        f"no part was done for {PATIENCE_SECONDS / 60:.0f} minutes",
                        hint="see that the input and the output can be reached, then give the same command again",
                    )
                for future in done:
                    index = waiting.pop(future)
                    try:
                        part = future.result()
                    except BrokenProcessPool:
                        lost.add(index)
                    else:
                        yield index, part
        except BrokenProcessPool:  # a process died before the next shard was handed over
            lost.update(waiting.values())
        finally:
            _end(pool)
        lost.update(waiting.values())


_work: Work | None = None


def _begin(work: Work) -> None:
    """Prepare a worker process: it leaves Ctrl-C to the one that started it, and does not outlive that one."""
    global _work  # noqa: PLW0603  what a pool's initializer is for
    _work = work
    use_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _do(shard: Shard) -> PartMark:
    assert _work is not None  # noqa: S101  the initializer ran
    return do_shard(_work, shard)


def _end(pool: ProcessPoolExecutor) -> None:
    """End a pool at once: what is under way is no part yet."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _listed(indices: Sequence[int]) -> str:
    return ", ".join(map(str, indices))
