"""The files of the prediction log's spool: one chain each, and together one chain of files.

    head.json                     the log's id, the newest segment, and the seals that no header names yet
    000000000042-<uuid>.spool     a segment
    quarantine/                   bytes of segments that are no frame

Each process writes a segment of its own, whose lock it holds for as long as it lives. The first frame is a header that
names the hash of the header before, and the seals (number of frames, last hash) of the segments that were closed since:
what was cut off a closed segment, or a file that is gone, is noticed by the next header. The last frame of a closed
segment is its seal.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import socket
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from appraise.datasets.atomic import replacing
from appraise.datasets.locks import locked
from appraise.errors import LogError
from appraise.logs import get_logger
from appraise.store.chain import Frame, Link, framed, scan
from appraise.store.files import append, confirm, locked_file, sync_folder
from appraise.store.headers import Closed, Header, Seal, mapped, read_header, seal_of

_log = get_logger(__name__)

_NAME = re.compile(r"(\d{12})-([0-9a-f]{32})\.spool")


class _Head(msgspec.Struct):
    log: str
    number: int = 0
    header: str | None = None
    seals: tuple[Seal, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's file.

    Attributes:
        path: the file.
        number: its place among the segments.
        id: its id.
    """

    path: Path
    number: int
    id: str


class SegmentWriter:
    """A segment that is being written; nothing is written through it twice.

    Args:
        folder: the spool.
        descriptor: its open file, locked.
        segment: which.
        header: its first frame.
    """

    def __init__(self, folder: SpoolFolder, descriptor: int, segment: Segment, header: Header) -> None:
        self.segment = segment
        self.link = Link()
        self.size = 0
        self._folder = folder
        self._descriptor = descriptor
        self.write(*framed([msgspec.json.encode(header)], self.link))
        self.header_hash = self.link.digest.hex()

    def write(self, frames: bytes | bytearray, link: Link) -> None:
        """Write frames to the end.

        Args:
            frames: those that follow `self.link`.
            link: the end of the chain with them.

        Raises:
            OSError: nothing was written; it may be tried again.
        """
        try:
            append(self._descriptor, frames)
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            raise
        self.link = link
        self.size += len(frames)

    def sync(self) -> None:
        """Have what was written survive a power cut."""
        confirm(self._descriptor)

    def close(self) -> None:
        """Seal the segment and let go of it."""
        try:
            self._folder.seal(self._descriptor, self.segment, self.link)
        finally:
            os.close(self._descriptor)


class SpoolFolder:
    """The folder of a log.

    Args:
        path: where it is; it is made when a segment is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open_segment(self) -> SegmentWriter:
        """A new segment, this process's own.

        Raises:
            LogError: the folder cannot be used.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self._locked():
                return self._open_segment(self._head())
        except OSError as error:
            raise LogError(
                f"the prediction log cannot be written in {self.path}: {error.strerror or error}",
                hint="free space there and see that it may be written, or set prediction_log.mode to off",
            ) from error

    def segments(self) -> tuple[Segment, ...]:
        """The segments that are there, in the order in which they were opened."""
        if not self.path.is_dir():
            return ()
        found = [(_NAME.fullmatch(path.name), path) for path in self.path.iterdir()]
        return tuple(sorted((_segment(name, path) for name, path in found if name), key=lambda one: one.number))

    def size(self) -> int:
        """Bytes of all segments."""
        return sum(map(size_of, self.segments()))

    def seals(self) -> tuple[Seal, ...]:
        """The seals that no header names yet."""
        return self._head().seals if (self.path / "head.json").exists() else ()

    def recover(self, segment: Segment) -> bool:
        """Close a segment whose process ended without doing so: cut the torn record at its end, and seal it.

        Returns:
            Whether it is closed now: not where its process lives.

        Raises:
            OSError: it cannot be opened or written.
        """
        try:
            descriptor = locked_file(segment.path, os.O_RDWR | os.O_APPEND)
        except BlockingIOError:
            return False
        try:
            link, end, sealed = Link(), 0, False
            with mapped(segment.path) as data:
                size = len(data)
                for piece in scan(data):
                    if isinstance(piece, Frame):
                        link, end = Link(piece.position + 1, piece.digest), piece.end
                        sealed = seal_of(piece) is not None
            if end < size:
                kept = self.quarantine(segment, end, size)
                _log.warning(
                    "bytes at the end of the prediction log are no record, as where a process was killed, and are cut",
                    segment=segment.path.name,
                    bytes=size - end,
                    kept=str(kept),
                )
                os.ftruncate(descriptor, end)
            if sealed:
                return True
            if end == 0:
                # Not even its header: it holds nothing, and no chain leads to it.
                segment.path.unlink()
                return True
            _log.info("the segment of an ended process is closed", segment=segment.path.name)
            self.seal(descriptor, segment, link)
            return True
        finally:
            os.close(descriptor)

    def seal(self, descriptor: int, segment: Segment, link: Link) -> None:
        """Write a segment's last frame, and have the next header name what it holds."""
        seal = Seal(segment.id, link.position, link.digest.hex())
        with self._locked():
            end = os.fstat(descriptor).st_size
            try:
                append(descriptor, framed([msgspec.json.encode(Closed(seal))], link)[0])
            except OSError:
                os.ftruncate(descriptor, end)
                raise
            os.fsync(descriptor)
            head = self._head()
            head.seals = (*head.seals, seal)
            self._write_head(head)

    def quarantine(self, segment: Segment, start: int, end: int) -> Path:
        """Keep bytes that are no frame, and tell where."""
        folder = self.path / "quarantine"
        folder.mkdir(exist_ok=True)
        target = folder / f"{segment.path.stem}-{start}.bin"
        if not target.exists():
            with mapped(segment.path) as data, replacing(target) as temporary:
                temporary.write_bytes(data[start:end])
        return target

    def remove(self, segment: Segment) -> None:
        """Remove a segment whose records are all kept elsewhere."""
        segment.path.unlink(missing_ok=True)

    def _open_segment(self, head: _Head) -> SegmentWriter:
        segment_id, number = uuid.uuid4().hex, head.number + 1
        segment = Segment(self.path / f"{number:012d}-{segment_id}.spool", number, segment_id)
        header = Header(
            log=head.log,
            segment=segment_id,
            number=number,
            previous=head.header,
            seals=head.seals,
            opened_at=dt.datetime.now(tz=dt.UTC).isoformat(timespec="milliseconds"),
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        # It has its name when it has its lock: between the two, whoever closes segments of ended processes would find
        # an empty one that nobody holds, and remove it while this process goes on to write what nobody can find.
        unnamed = self.path / f".{segment.path.name}"
        descriptor = locked_file(unnamed, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        try:
            unnamed.rename(segment.path)
            writer = SegmentWriter(self, descriptor, segment, header)
            writer.sync()
            sync_folder(self.path)
            self._write_head(_Head(head.log, number, writer.header_hash))
        except OSError:
            os.close(descriptor)
            segment.path.unlink(missing_ok=True)
            raise
        return writer

    def _head(self) -> _Head:
        path = self.path / "head.json"
        if path.exists():
            try:
                return msgspec.json.decode(path.read_bytes(), type=_Head)
            except msgspec.DecodeError:
                _log.error("the head of the prediction log is damaged and is made anew", file=str(path))
        newest = self.segments()[-1:]
        header = read_header(newest[0].path) if newest else None
        if header is None:
            return _Head(uuid.uuid4().hex)
        return _Head(header[0].log, header[0].number, header[1])

    def _write_head(self, head: _Head) -> None:
        temporary = self.path / f".head-{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as stream:
                stream.write(msgspec.json.encode(head))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self.path / "head.json")
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(self.path)

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.path / "lock")


def size_of(segment: Segment) -> int:
    """Bytes of a segment's file; 0 where the loader has removed it meanwhile."""
    try:
        return segment.path.stat().st_size
    except FileNotFoundError:
        return 0


def _segment(name: re.Match[str], path: Path) -> Segment:
    return Segment(path, int(name[1]), name[2])
