"""A Dask cluster does the shards: the same function, on as many machines as there are (extra `cluster`).

The model goes to the workers over the cluster's own connections, so that they need no registry. What is read and
written they must reach by the same addresses: a file system that all share, or S3.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from appraise.errors import BatchError
from appraise.serving.batch.engines import PATIENCE_SECONDS
from appraise.serving.batch.manifest import PartMark
from appraise.serving.batch.planning import Shard
from appraise.serving.batch.shard import Work, do_shard

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_SECONDS = 10.0
#: Times that a shard is done again where a worker met an error that may pass, such as a disk that was full.
_RETRIES = 1


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """A model's bundle as it goes to workers.

    Attributes:
        digest: the bundle's.
        files: contents by name.
    """

    digest: str
    files: dict[str, bytes]

    @classmethod
    def of(cls, work: Work) -> BundleFiles:
        """The bundle of a run."""
        return cls(work.digest, {path.name: path.read_bytes() for path in work.bundle.iterdir() if path.is_file()})


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """The workers of a Dask scheduler.

    Attributes:
        address: the scheduler's (`tcp://HOST:8786`).
    """

    address: str

    def run(self, work: Work, shards: Sequence[Shard]) -> Generator[PartMark, None, None]:
        """The parts as they are done; a shard whose worker is lost goes to another one."""
        if not shards:
            return
        with self._connected() as client:
            yield from self._done(client, work, shards)

    def _connected(self) -> Client:
        try:
            from distributed import Client
        except ImportError:
            raise BatchError(
                f"{self.address} cannot be used, for Dask is not installed",
                hint="install it: pip install 'appraise[cluster]'; without --engine this machine does the work",
            ) from None
        try:
            client = Client(self.address, timeout=_CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise BatchError(
                f"no Dask scheduler answers at {self.address}: {' '.join(str(error).split())}",
                hint="check the address, and that the scheduler runs: dask scheduler",
            ) from error
        if not client.scheduler_info()["workers"]:
            client.close()
            raise BatchError(
                f"the Dask scheduler {self.address} has no workers", hint=f"start one: dask worker {self.address}"
            )
        return client

    def _done(self, client: Client, work: Work, shards: Sequence[Shard]) -> Generator[PartMark, None, None]:
        from distributed import wait

        bundle = client.scatter(BundleFiles.of(work), broadcast=True, hash=False)
        pending = {
            client.submit(_do, work, shard, bundle, key=f"{work.run_id}-{shard.index}", pure=False, retries=_RETRIES)
            for shard in shards
        }
        try:
            while pending:
                with self._explained():
                    done, pending = wait(pending, timeout=PATIENCE_SECONDS, return_when="FIRST_COMPLETED")
                    parts = [future.result() for future in done]
                yield from parts
        finally:
            client.cancel(list(pending))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what Dask says of lost workers and schedulers into a BatchError."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError
        from distributed.comm import CommClosedError

        hint = "give the same command again: it goes on from the parts that are done"
        try:
            yield
        except KilledWorker as error:
            raise BatchError(
                f"the workers that did a part were lost again and again: {error}",
                hint="memory may be short on them; the parts that are done stay",
            ) from error
        except TimeoutError as error:
            minutes = PATIENCE_SECONDS / 60
            raise BatchError(f"no part was done on {self.address} for {minutes:.0f} minutes", hint=hint) from error
        except (CommClosedError, FutureCancelledError) as error:
            raise BatchError(f"the Dask scheduler {self.address} went away: {error}", hint=hint) from error


_unpacking = threading.Lock()
_unpacked: dict[str, Path] = {}


def _do(work: Work, shard: Shard, bundle: BundleFiles) -> PartMark:
    """What a worker does."""
    with _unpacking:
        if bundle.digest not in _unpacked:
            _unpacked[bundle.digest] = _unpack(bundle)
    return do_shard(replace(work, bundle=_unpacked[bundle.digest]), shard)


def _unpack(bundle: BundleFiles) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="appraise-bundle-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, content in bundle.files.items():
        (folder / name).write_bytes(content)
    return folder
