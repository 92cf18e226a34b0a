"""What verification finds, and how one chain is followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from appraise.store.chain import Link
from appraise.store.headers import Seal

Place = Literal["spool", "database", "export"]
Kind = Literal["altered", "removed", "inserted", "reordered", "damaged", "unlinked"]

#: Positions that are remembered as passed over, to tell what is out of order from what is there twice.
_MOST_MISSING = 100_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written.

    Attributes:
        place: where.
        segment: the segment's name or id.
        position: the record's place in it, None where the segment as a whole is at fault.
        kind: what happened to it, as far as can be told.
        message: one sentence.
    """

    place: Place
    segment: str
    position: int | None
    kind: Kind
    message: str

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "place": self.place,
            "segment": self.segment,
            "position": self.position,
            "kind": self.kind,
            "message": self.message,
        }


@dataclass(slots=True)
class Verification:
    """What was found.

    Attributes:
        segments, records: how many were read, by place.
        findings: in the order in which they were met.
        unlisted: second copies and what is no record, in the database.
        newest: the newest segment, and number of frames and last hash of it, to be noted elsewhere.
        database_trouble: why the database was not read, None where it was.
    """

    segments: dict[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unlisted: int = 0
    newest: Seal | None = None
    database_trouble: str | None = None

    @property
    def whole(self) -> bool:
        """Whether everything is as it was written."""
        return not self.findings

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "whole": self.whole,
            "segments": self.segments,
            "records": self.records,
            "unlisted": self.unlisted,
            "findings": [finding.to_dict() for finding in self.findings],
            "newest": None if self.newest is None else msgspec.to_builtins(self.newest),
            "database_trouble": self.database_trouble,
        }


class Walk:
    """Follows one chain and tells where it breaks.

    Args:
        place, segment: which chain.
        tell: takes findings.
        link: where it begins.
    """

    def __init__(self, place: Place, segment: str, tell: Callable[[Finding], None], link: Link | None = None) -> None:
        self.link = Link() if link is None else link
        self._place = place
        self._segment = segment
        self._tell = tell
        #: Positions that were passed over.
        self._missing: set[int] = set()
        self._hole = False

    def damage(self, size: int) -> None:
        """Bytes that are no frame."""
        self._hole = True
        place = self.link.position
        self.find("damaged", place, f"{size:,} bytes where record {place} should be are damaged")

    def step(self, position: int, previous: bytes, digest: bytes) -> None:
        """The next frame."""
        expected, last = self.link
        if position < expected:
            if position in self._missing:
                self._missing.remove(position)
                self.find("reordered", position, f"record {position} comes after record {expected - 1}")
            else:
                self.find("inserted", position, f"record {position} is there more than once")
            return
        if position > expected:
            if not self._hole:
                self._missing.update(range(expected, min(position, expected + _MOST_MISSING)))
                gone = numbered(expected, position - 1)
                self.find("removed", expected, f"{gone} missing before record {position}")
        elif previous != last:
            before = f"record {position - 1}" if position > 1 else "the header"
            self.find("altered", max(position - 1, 0), f"{before} is not the one that record {position} follows")
        self._hole = False
        self.link = Link(position + 1, digest)

    def end(self, seals: Iterable[Seal]) -> None:
        """The chain's end, and what is known of it from elsewhere."""
        count, last = self.link
        for seal in seals:
            if count < seal.frames:
                self.find("removed", count, f"{numbered(count, seal.frames - 1)} missing at the end")
            elif count > seal.frames:
                self.find("inserted", seal.frames, f"{numbered(seal.frames, count - 1)} beyond the segment's seal")
            elif last.hex() != seal.hash:
                self.find("altered", count - 1, f"record {count - 1} is not the one that the segment's seal names")
            else:
                continue
            return

    def find(self, kind: Kind, position: int | None, message: str) -> None:
        """Tell of a finding."""
        self._tell(Finding(self._place, self._segment, position, kind, message))


def numbered(first: int, last: int, what: str = "record") -> str:
    """Records by their positions, as the subject of a sentence."""
    return f"{what} {first} is" if first == last else f"{what}s {first:,} to {last:,} are"
