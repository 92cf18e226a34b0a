"""What was handed to the prediction log and is not in a file yet.

Records are framed some dozens at a time by whoever hands over the last of them: one by one, framing takes two fifths
longer, and all that gathers between two writes would hold the interpreter's lock for too long. What is left for the
thread that writes is the rest and one call. Where there is no segment to go on with, as when one is full or the disk
fails, bodies are kept as they are and framed when there is one.
"""

from __future__ import annotations

from dataclasses import dataclass

from appraise.store.chain import OVERHEAD, Frame, Framer, Link, scan

#: Bodies that gather before they are framed: less than a tenth of a millisecond.
_ROUND = 64
#: Bodies that are framed at a time where more wait, for whoever hands a record over waits meanwhile.
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
        """Whether some wait for another segment than the one that is followed, for the end of it, or are many."""
        if not self._bodies:
            return self._room == 0 and self.framed
        return self._is_full or len(self._bodies) >= _ROUND

    @property
    def _is_full(self) -> bool:
        """Whether nothing more can be framed for the segment that is followed."""
        return self._framer is None or len(self._framer.data) >= self._room

    def add(self, body: bytes) -> None:
        """Keep a record."""
        bodies = self._bodies
        bodies.append(body)
        # Where it cannot be framed now, more gather, and the thread that writes sees to them.
        if len(bodies) == _ROUND:
            self.frame_some()

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
        if self._framer is not None:
            del self._bodies[: self._framer.extend(self._bodies[:_PIECE], self._room)]

    def take(self) -> Batch | None:
        """What can be written of the segment that is followed; None where nothing can."""
        self.frame_some()
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
