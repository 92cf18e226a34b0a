"""Slots: the stable name of a worker within its group, from which its transactional id is made.

A worker that starts again under the same id ends what its predecessor left open, at once. On one machine slots are
numbers, and a lock that the kernel drops with its process keeps each for one worker: whoever starts takes the lowest
free one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from appraise.datasets.locks import locked
from appraise.errors import StreamError

#: More workers than this on one machine are a mistake.
_MOST_SLOTS = 1024


@contextmanager
def hold_slot(folder: Path, group: str, name: str | None) -> Iterator[str]:
    """Hold a slot while a worker runs.

    Args:
        folder: where the locks are.
        group: the worker's group.
        name: the slot; the lowest free number of this machine where None.

    Yields:
        The slot's name, which is the same at the next start.

    Raises:
        StreamError: another process on this machine has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    host = socket.gethostname()
    names = [name] if name is not None else [f"{host}-{number}" for number in range(_MOST_SLOTS)]
    with ExitStack() as stack:
        for one in names:
            path = folder / f"{file_name(group, one)}.lock"
            try:
                stack.enter_context(locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except BlockingIOError:
                continue
            yield one
            return
    raise StreamError(
        f"another worker of {group} has the slot {names[0]}" if name else f"the group {group} has no free slot",
        hint="end it, or start this one for another partition: two cannot have the same"
        if name is not None and name.startswith("partition-")
        else "give each worker a --slot of its own, or none for the next free one",
    )


def file_name(*words: str) -> str:
    """A file name that can be read and that no other words have, not even where case makes no difference."""
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", ".".join(words))[:100]
    return f"{readable}.{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32]}"
