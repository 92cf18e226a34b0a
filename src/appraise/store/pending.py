"""What was handed to the prediction log and is not in a file yet.

A record is framed as it comes, while its bytes are still in the processor's caches and nothing has to be waited for;
what is left for the thread that writes is one call. Where there is no segment to go on with, as when one is full or the
disk fails, bodies are kept as they are and framed when there is one.
"""

from __future__ import annotations

from dataclasses import dataclass

from appraise.store.chain import OVERHEAD, Frame, Framer, Link, scan

#: Bodies that are framed at a time, for whoever hands a record over waits meanwhile: some tenths of a millisecond.
_PIECE = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames that are to be written.

    Attributes:
        frames: of one segment, in order.
        count: how many there are.
        link: the end of the segment's chain with them.
    """

    frames: bytearray
    count: int
    link: Link

    @property
    def size(self) -> int:
        """Bytes of the records without their frames."""
        return len(self.frames) - self.count * OVERHEAD


class Pending:
    """Records that wait, in the order in which they came. Whoever calls holds the log's lock."""

    def __init__(self) -> None:
        self._framer: Framer | None = None
        self._room = 0
        self._bodies: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self._bodies) or self.framed

    @property
    def framed(self) -> bool:
        """Whether there are frames to be written."""
        return self._framer is not None and self._framer.count > 0

    @property
    def held_up(self) -> bool:
        """Whether some wait for another segment than the one that is followed, or for the end of it."""
        return bool(self._bodies) or (self._room == 0 and self.framed)

    def add(self, body: bytes) -> None:
        """Keep a record."""
        framer = self._framer
        if framer is None or self._bodies or len(framer.data) >= self._room:
            self._bodies.append(body)
        else:
            framer.add(body)

    def follow(self, link: Link, room: int) -> None:
        """Frame for a segment from here on.

        Args:
            link: the end of its chain.
            room: bytes after which it is full; it takes one record in any case.
        """
        self._framer, self._room = Framer(link), max(1, room)

    def halt(self) -> None:
        """Frame nothing more for this segment; what has been framed is to be taken."""
        self._room = 0

    def frame_some(self) -> None:
        """Frame the next of those that wait, as far as the segment has room."""
        framer = self._framer
        if framer is None or not self._bodies:
            return
        done = 0
        for body in self._bodies[:_PIECE]:
            if len(framer.data) >= self._room:
                break
            framer.add(body)
            done += 1
        del self._bodies[:done]

    def take(self) -> Batch | None:
        """What has been framed; None where nothing was."""
        framer = self._framer
        if framer is None or not framer.count:
            return None
        batch = Batch(framer.data, framer.count, framer.link)
        # A segment that is full has no room, also not for one.
        self._room = max(0, self._room - len(framer.data))
        self._framer = Framer(batch.link)
        return batch

    def give_back(self, batch: Batch | None) -> None:
        """Keep what could not be written, before all that came since; no segment is followed any more."""
        frames = b"" if batch is None else bytes(batch.frames)
        if self._framer is not None:
            frames += self._framer.data
        self._framer = None
        self._bodies[:0] = [piece.body for piece in scan(frames) if isinstance(piece, Frame)]

    def withdraw(self) -> None:
        """Forget all of it."""
        self.give_back(None)
        self._bodies = []

    def first(self, count: int) -> list[bytes]:
        """The bodies of the first so many."""
        self.give_back(None)
        return self._bodies[:count]
