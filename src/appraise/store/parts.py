"""What of a segment is loaded next, and how far it is then."""

from __future__ import annotations

from dataclasses import dataclass

from appraise.logs import get_logger
from appraise.store.chain import Damage, Frame, Link, scan
from appraise.store.headers import seal_of
from appraise.store.progress import Progress

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """What was read of a segment.

    Attributes:
        header: its first frame, where this is its beginning and it is whole.
        records: the frames that are neither header nor seal.
        damaged: where the bytes lie that are no frame.
        progress: how far it is then.
    """

    header: Frame | None
    records: tuple[Frame, ...]
    damaged: tuple[tuple[int, int], ...]
    progress: Progress


def part_of(data: bytes, progress: Progress) -> Part | None:
    """What a piece of a segment holds; None where it is no whole frame."""
    header: Frame | None = None
    records: list[Frame] = []
    damaged: list[tuple[int, int]] = []
    link, end, sealed = progress.link, 0, None
    for piece in scan(data):
        if isinstance(piece, Damage):
            if piece.last:
                break
            damaged.append((progress.bytes + piece.offset, progress.bytes + piece.end))
            continue
        if (piece.position, piece.previous) != link:
            _log.error("the chain of the prediction log is broken: appraise log verify", position=piece.position)
        end = piece.end
        sealed = seal_of(piece)
        if sealed is not None:
            # The seal itself is not counted in what it says.
            link = Link(piece.position, piece.previous)
            break
        link = Link(piece.position + 1, piece.digest)
        if piece.position == 0:
            header = piece
        else:
            records.append(piece)
    if end == 0:
        return None
    return Part(header, tuple(records), tuple(damaged), Progress(progress.bytes + end, link, sealed))
