"""What a process needed now and then and does not need to serve, given back to the machine."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from appraise.logs import get_logger

_log = get_logger(__name__)

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ +(/.*)\n")
#: Of `madvise` on Linux.
_DONTNEED = 4
#: Of `mallopt` of the GNU C library.
_ARENA_MAX = -8


def share_one_arena() -> None:
    """Have all threads of this process take memory from one place; to be called before they are many.

    The C library gives each thread a place of its own, which keeps what was freed there. Threads that compute take
    little memory, and the others wait for the interpreter's lock anyway.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if sys.platform == "linux" and mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Let go of freed memory that the allocator keeps, and of code that was run once.

    Compiled kernels are linked by LLVM when they are loaded, which touches 60 MB of its library and never again. Pages
    of a library's code are those of its file: what is needed again comes back from the system's cache, in a
    microsecond. A large batch leaves freed memory behind, and routes that are seldom asked their code.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in _clean_code(Path("/proc/self/smaps").read_text(encoding="utf-8")):
        if libc.madvise(start, end - start, _DONTNEED):
            _log.debug("code stays in memory", error=ctypes.get_errno())


def _clean_code(smaps: str) -> Iterator[tuple[int, int]]:
    """Where code of files lies that nothing was written to; what was written to would be lost."""
    found: tuple[int, int] | None = None
    for line in smaps.splitlines(keepends=True):
        mapping = _MAPPING.fullmatch(line)
        if mapping is not None:
            found = (int(mapping[1], 16), int(mapping[2], 16)) if mapping[3] == "r-xp" else None
        elif found is not None and line.startswith("Anonymous:"):
            if line.split()[1] == "0":
                yield found
            found = None
