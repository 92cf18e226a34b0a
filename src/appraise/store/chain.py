"""The hash chain of the prediction log, and the frames in which its records lie in a file.

A frame is

    FF FE 41 52     four bytes that no UTF-8 text contains, by which a reader finds its way after damage
    length          bytes of the body, 4 bytes, big-endian as all numbers here
    checksum        CRC-32 of what follows, 4 bytes
    position        place in the chain from 0, 8 bytes
    previous        SHA-256 of the frame before, 32 bytes, zeros at position 0
    body            one JSON object in UTF-8

and its hash is SHA-256(position + previous + body). Bodies are kept byte for byte wherever they go, in the database and
in exports too, so that the chain can be verified from each of them.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

MAGIC = b"\xff\xfeAR"
#: What the first frame of a chain names as the hash before it.
ORIGIN = bytes(32)
#: No body is as long; a length beyond it is damage.
LONGEST_BODY = 32 * 2**20

_HEAD = struct.Struct(">4sII")
_LINK = struct.Struct(">Q32s")
#: Bytes of a frame beside its body.
OVERHEAD = _HEAD.size + _LINK.size


class Link(NamedTuple):
    """The end of a chain: how many frames it has, and the hash of the last."""

    position: int = 0
    digest: bytes = ORIGIN


class Frame(NamedTuple):
    """A frame that is whole.

    Attributes:
        offset, end: where it lies in the file.
        position: its place in the chain.
        previous: the hash that it names as the one before.
        digest: its own hash.
        body: its JSON.
    """

    offset: int
    end: int
    position: int
    previous: bytes
    digest: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no frame.

    Attributes:
        offset, end: where they lie in the file.
        last: whether nothing whole follows, as where a process was killed while it wrote.
    """

    offset: int
    end: int
    last: bool


def digest_of(position: int, previous: bytes, body: bytes) -> bytes:
    """The hash of a record at its place in the chain."""
    return hashlib.sha256(_LINK.pack(position, previous) + body).digest()


class Framer:
    """Frames bodies that follow a chain's end, and gathers the frames.

    Args:
        link: the end.

    Attributes:
        data: the frames.
        count: how many there are.
    """

    __slots__ = ("_position", "_previous", "count", "data")

    def __init__(self, link: Link) -> None:
        self._position, self._previous = link
        self.data = bytearray()
        self.count = 0

    @property
    def link(self) -> Link:
        """The end of the chain with these frames."""
        return Link(self._position, self._previous)

    def extend(self, bodies: Iterable[bytes], room: int = sys.maxsize) -> int:
        """Frame bodies until the frames take `room` bytes; returns how many were framed."""
        data, position, previous = self.data, self._position, self._previous
        done = 0
        for body in bodies:
            if len(data) >= room:
                break
            linked = _LINK.pack(position, previous) + body
            data += _HEAD.pack(MAGIC, len(body), zlib.crc32(linked))
            data += linked
            previous = hashlib.sha256(linked).digest()
            position += 1
            done += 1
        self._position, self._previous = position, previous
        self.count += done
        return done


def framed(bodies: Iterable[bytes], link: Link) -> tuple[bytes, Link]:
    """Frames for bodies that follow a chain's end, as one piece, and the end that the chain has then."""
    framer = Framer(link)
    framer.extend(bodies)
    return bytes(framer.data), framer.link


def scan(data: bytes | mmap.mmap, start: int = 0) -> Iterator[Frame | Damage]:
    """The frames of a file and what lies between them.

    Args:
        data: the file.
        start: where a frame begins.
    """
    offset, size = start, len(data)
    while offset < size:
        frame = _frame_at(data, offset)
        if frame is None:
            following = _next_frame(data, offset + 1)
            end = size if following is None else following.offset
            yield Damage(offset, end, last=following is None)
            offset = end
        else:
            yield frame
            offset = frame.end


def _frame_at(data: bytes | mmap.mmap, offset: int) -> Frame | None:
    head = data[offset : offset + _HEAD.size]
    if len(head) < _HEAD.size:
        return None
    magic, length, checksum = _HEAD.unpack(head)
    if magic != MAGIC or length > LONGEST_BODY:
        return None
    end = offset + OVERHEAD + length
    linked = data[offset + _HEAD.size : end]
    if end > len(data) or zlib.crc32(linked) != checksum:
        return None
    position, previous = _LINK.unpack_from(linked)
    return Frame(offset, end, position, previous, hashlib.sha256(linked).digest(), linked[_LINK.size :])


def _next_frame(data: bytes | mmap.mmap, start: int) -> Frame | None:
    offset = data.find(MAGIC, start)
    while offset >= 0:
        frame = _frame_at(data, offset)
        if frame is not None:
            return frame
        offset = data.find(MAGIC, offset + 1)
    return None
