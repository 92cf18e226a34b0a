"""Whether a table fits into memory, asked before it is read: a process that is killed says nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from appraise.errors import DataError

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
#: Allocators and threads reserve several times the address space that they use.
_USED_ADDRESSES = 0.25
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def available_memory(*, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Bytes that this process may still take; None where the system does not say.

    It is the least of what the machine has free, what the control groups (containers) leave, and what the limit of the
    address space leaves (`ulimit -v`).
    """
    answers = [*_of_machine(proc), *_of_control_groups(proc, cgroups), *_of_address_space(proc)]
    return min(answers, default=None)


def check_fits(needed: int, *, limit: int | None, what: str) -> None:
    """Refuses what would not fit.

    Args:
        needed: bytes that reading would take at its peak.
        limit: bytes that it may take; None measures what is there.
        what: what is to be read, for the sentence.

    Raises:
        DataError: naming both sizes.
    """
    allowed = available_memory() if limit is None else limit
    if allowed is None or needed <= allowed:
        return
    whose = "is available" if limit is None else "is allowed (APPRAISE_MEMORY_LIMIT)"
    remedy = "use a machine with more memory" if limit is None else "raise APPRAISE_MEMORY_LIMIT"
    raise DataError(
        f"{what} takes about {readable_size(needed)} of memory to read, and {readable_size(allowed)} {whose}",
        hint=f"keep fewer columns in the spec, give the sales in parts or as a folder of Parquet files, or {remedy}",
    )


def readable_size(size: int) -> str:
    """A number of bytes for people: `1.5 GiB`."""
    value = float(size)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"


def _of_machine(proc: Path) -> Iterator[int]:
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            yield 1024 * int(line.split()[1])
            return
    try:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return


def _of_control_groups(proc: Path, root: Path) -> Iterator[int]:
    """What each group on the way up from this process leaves; pages of files can be given back and do not count."""
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            base, limit, usage = root, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, limit, usage = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        own = base / name.strip("/")
        for folder in (own, *own.parents):
            most, used = _number(folder / limit), _number(folder / usage)
            if most is not None and used is not None:
                yield max(0, most - used + _reclaimable(folder / "memory.stat"))
            if folder == base:
                break


def _of_address_space(proc: Path) -> Iterator[int]:
    try:
        import resource
    except ImportError:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    taken = int("".join(_lines(proc / "self" / "statm")).partition(" ")[0] or 0) * resource.getpagesize()
    yield int(max(0, limit - taken) * _USED_ADDRESSES)


def _reclaimable(path: Path) -> int:
    for line in _lines(path):
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
