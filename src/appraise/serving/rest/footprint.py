"""What a process needed now and then and does not need to serve, given back to the machine."""

from __future__ import annotations

import ctypes
import gc
import mmap
import re
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from appraise.logs import get_logger

_log = get_logger(__name__)

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+ +(/.*)\n")
#: Of `madvise` on Linux.
_DONTNEED = 4
#: Of `mallopt` of the GNU C library.
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
#: Bytes; by itself the library raises it to the largest block that was freed, and then keeps blocks of that size.
_LARGE_BLOCK = 256 * 1024
#: Of ELF: a part of a library's file that is loaded, and that the process may write to it.
_PT_LOAD, _PF_W = 1, 2
#: The same: how a file for 64 bits begins, little end first; then where in it the table of its parts is, the size of a
#: line and their number. Of a line: kind, flags, where the part begins, and how long it is.
_ELF_64 = b"\x7fELF\x02\x01"
_HEAD = struct.Struct("<32xQ14xHH6x")
_PART = struct.Struct("<IIQ16xQ16x")


def keep_little() -> None:
    """Have this process keep little of the memory that it frees; to be called before its threads are many.

    The C library gives each thread an arena of its own, which keeps what was freed there. Threads that compute take
    little memory, and the others wait for the interpreter's lock anyway, so they share one. Large blocks, those of
    batches, are taken from the machine and go back to it at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if sys.platform == "linux" and mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK)


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage in cycles until the block ends, or until `settle`.

    Modules and models are some hundred thousand objects, nearly all of which stay. The collector went through them
    again and again while they were made, which took a fifth of a service's start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def settle() -> None:
    """Look for garbage among what is made from now on: going through the rest is time that requests would wait for."""
    gc.freeze()
    gc.enable()


def give_back() -> None:
    """Let go of freed memory that the allocator keeps, and of code and constants that were used once.

    Compiled kernels are linked by LLVM when they are loaded, which touches 75 MB of its library and never again. Pages
    of a library's code and constants are those of its file: what is needed again comes back from the system's cache,
    in a microsecond. A large batch leaves freed memory behind, and routes that are seldom asked their code.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    smaps = Path("/proc/self/smaps").read_text(encoding="utf-8")
    for start, end in _clean_pages(smaps, cache(_constant_parts)):
        if libc.madvise(start, end - start, _DONTNEED):
            _log.debug("pages of a file stay in memory", error=ctypes.get_errno())


def _clean_pages(smaps: str, constant: Callable[[str], Sequence[tuple[int, int]]]) -> Iterator[tuple[int, int]]:
    """Where constant parts of libraries lie that nothing was written to; what was written to would be lost.

    The loader maps a whole file like its first part, and then lays what is written to over it: what reaches beyond one
    part belongs to a library that is just being loaded.

    Args:
        smaps: the mappings of the process as Linux lists them.
        constant: is given a file; where in it the parts begin and end that nobody may write to.
    """
    found: tuple[int, int] | None = None
    for line in smaps.splitlines(keepends=True):
        mapping = _MAPPING.fullmatch(line)
        if mapping is not None:
            start, end, offset = int(mapping[1], 16), int(mapping[2], 16), int(mapping[4], 16)
            stop = offset + end - start
            constantly = "w" not in mapping[3] and any(
                first <= offset and stop <= last for first, last in constant(mapping[5])
            )
            found = (start, end) if constantly else None
        elif found is not None and line.startswith("Anonymous:"):
            if line.split()[1] == "0":
                yield found
            found = None


def _constant_parts(path: str) -> list[tuple[int, int]]:
    """Where in a library's file whole pages begin and end that no process may write to; none in other files.

    The file says so itself. The C library would too (`dl_iterate_phdr`), but calls back with the loader's lock held:
    while Python waited there for the interpreter's lock, a thread that had it and imported a library waited for the
    loader's, for ever.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(mmap.PAGESIZE)
    except OSError:
        # It was replaced since; what is in memory is the one before.
        return []
    if len(head) < _HEAD.size or not head.startswith(_ELF_64):
        return []
    start, size, count = _HEAD.unpack_from(head)
    table = head[start : start + size * count]
    found = []
    for at in range(0, len(table) - _PART.size + 1, max(size, _PART.size)):
        kind, flags, offset, length = _PART.unpack_from(table, at)
        if kind == _PT_LOAD and not flags & _PF_W:
            found.append((offset - offset % mmap.PAGESIZE, offset + length + -(offset + length) % mmap.PAGESIZE))
    return found
