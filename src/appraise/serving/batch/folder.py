"""A run's output in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from appraise.datasets.atomic import replacing
from appraise.errors import OutputError
from appraise.logs import get_logger
from appraise.serving.batch.manifest import PartMark
from appraise.serving.batch.outputs import RUN_KEY, UNUSABLE_KEY, VALUED_KEY, digest_of

_log = get_logger(__name__)

_SCRATCH = ".part-being-written."


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine, or one that all workers share."""

    path: Path

    @property
    def address(self) -> str:
        """The path."""
        return str(self.path)

    def names(self) -> tuple[str, ...]:
        """The files that are there."""
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file, not a folder", hint="choose another folder")
        if not self.path.is_dir():
            return ()
        return tuple(sorted(each.name for each in self.path.iterdir() if not each.name.startswith(".")))

    def read(self, name: str) -> bytes | None:
        """A small file's bytes."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unwritable(self.path / name, error) from error

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file."""
        if (self.path / name).exists():
            return False
        with replacing(self.path / name) as temporary:
            temporary.write_bytes(data)
            _sync(temporary)
        _sync(self.path)
        return True

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary path beside the parts."""
        path = self.path / f"{_SCRATCH}{os.urandom(8).hex()}"
        try:
            yield path
        except OSError as error:
            raise _unwritable(self.path, error) from error
        finally:
            path.unlink(missing_ok=True)

    def publish(self, written: Path, part: PartMark, run_id: str) -> None:  # noqa: ARG002
        """Rename a part into place."""
        _sync(written)
        written.replace(self.path / part.file)
        _sync(self.path)

    def find(self, name: str, run_id: str) -> PartMark | None:
        """A part of this run, by what it says of itself."""
        path = self.path / name
        if not path.is_file():
            return None
        try:
            metadata = parquet.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            _log.warning("a part is damaged and is made again", part=str(path), reason=str(error))
            return None
        said = metadata.metadata or {}
        if said.get(RUN_KEY.encode()) != run_id.encode():
            return None
        valued, unusable = int(said[VALUED_KEY.encode()]), int(said[UNUSABLE_KEY.encode()])
        return PartMark(name, metadata.num_rows, valued, unusable, path.stat().st_size, digest_of(path))

    def remove(self, names: tuple[str, ...]) -> None:
        """Remove files of a run."""
        try:
            for name in names:
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out, and clear away what killed ones left half written.

        Raises:
            OutputError: another run is writing here, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            folder = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._clear_scratch()
            try:
                yield
            finally:
                # Of processes that were ended; this one clears its own away.
                self._clear_scratch()
        except BlockingIOError:
            raise OutputError(
                f"another run is writing to {self.path}", hint="wait for it, or choose another folder"
            ) from None
        finally:
            os.close(folder)

    def _clear_scratch(self) -> None:
        for left in self.path.glob(f"{_SCRATCH}*"):
            left.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written: {error.strerror or error}",
        hint="make room or choose another folder; the parts that are done stay, and the same command goes on",
    )
