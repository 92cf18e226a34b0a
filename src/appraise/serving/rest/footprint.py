"""What a process needed now and then and does not need to serve, given back to the machine."""

from __future__ import annotations

import ctypes
import gc
import mmap
import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appraise.logs import get_logger

_log = get_logger(__name__)

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ +(/.*)\n")
#: Of `madvise` on Linux.
_DONTNEED = 4
#: Of `mallopt` of the GNU C library.
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
#: Bytes; by itself the library raises it to the largest block that was freed, and then keeps blocks of that size.
_LARGE_BLOCK = 256 * 1024
#: Of ELF: a part of a library's file that is loaded, and that the process may write to it.
_PT_LOAD, _PF_W = 1, 2


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
    # Looked at in this order: what was read of a library that was just being loaded lies in no constant part of one.
    for start, end in _clean_pages(smaps, _constant_parts(libc)):
        if libc.madvise(start, end - start, _DONTNEED):
            _log.debug("pages of a file stay in memory", error=ctypes.get_errno())


def _clean_pages(smaps: str, constant: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where constant parts of libraries lie that nothing was written to; what was written to would be lost.

    Args:
        smaps: the mappings of the process as Linux lists them.
        constant: start and end of the parts of libraries that nobody may write to.
    """
    parts = sorted(constant)
    starts = [start for start, _ in parts]
    found: tuple[int, int] | None = None
    for line in smaps.splitlines(keepends=True):
        mapping = _MAPPING.fullmatch(line)
        if mapping is not None:
            start, end = int(mapping[1], 16), int(mapping[2], 16)
            part = bisect_right(starts, start) - 1
            within = part >= 0 and end <= parts[part][1]
            found = (start, end) if within and "w" not in mapping[3] else None
        elif found is not None and line.startswith("Anonymous:"):
            if line.split()[1] == "0":
                yield found
            found = None


class _ProgramHeader(ctypes.Structure):
    """`Elf64_Phdr`: a part of a library's file."""

    _fields_ = (
        ("p_type", ctypes.c_uint32),
        ("p_flags", ctypes.c_uint32),
        ("p_offset", ctypes.c_uint64),
        ("p_vaddr", ctypes.c_uint64),
        ("p_paddr", ctypes.c_uint64),
        ("p_filesz", ctypes.c_uint64),
        ("p_memsz", ctypes.c_uint64),
        ("p_align", ctypes.c_uint64),
    )


class _Library(ctypes.Structure):
    """The beginning of `dl_phdr_info`: a library that is loaded."""

    _fields_ = (
        ("dlpi_addr", ctypes.c_uint64),
        ("dlpi_name", ctypes.c_char_p),
        ("dlpi_phdr", ctypes.POINTER(_ProgramHeader)),
        ("dlpi_phnum", ctypes.c_uint16),
    )


def _constant_parts(libc: ctypes.CDLL) -> list[tuple[int, int]]:
    """Start and end of the parts of loaded libraries that nobody may write to; none on machines of 32 bits.

    The loader maps a whole file first, and then lays what is written to over it. A library is on its list only when
    that is done.
    """
    found: list[tuple[int, int]] = []
    if ctypes.sizeof(ctypes.c_void_p) != ctypes.sizeof(ctypes.c_uint64) or not hasattr(libc, "dl_iterate_phdr"):
        return found

    def note(library: Any, size: int, data: object) -> int:  # noqa: ARG001
        loaded = library.contents
        for part in loaded.dlpi_phdr[: loaded.dlpi_phnum]:
            if part.p_type == _PT_LOAD and not part.p_flags & _PF_W:
                start = loaded.dlpi_addr + part.p_vaddr
                end = start + part.p_memsz
                found.append((start - start % mmap.PAGESIZE, end + -end % mmap.PAGESIZE))
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Library), ctypes.c_size_t, ctypes.c_void_p)
    libc.dl_iterate_phdr(callback(note), None)
    return found
