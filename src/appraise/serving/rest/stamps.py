"""What names an answer and says when it was made, at a cost that a busy server does not notice."""

from __future__ import annotations

import datetime as dt
import os
import time

#: Identifiers that are made at a time.
_BLOCK = 64

_ids: list[str] = []
_now: tuple[int, str] = (-1, "")


def new_id() -> str:
    """A random UUID (version 4)."""
    try:
        return _ids.pop()
    except IndexError:
        made = _block()
        last = made.pop()
        _ids.extend(made)
        return last


def _block() -> list[str]:
    """Identifiers from one question to the operating system, which costs more than all the rest."""
    digits = os.urandom(16 * _BLOCK).hex()
    return [
        f"{one[:8]}-{one[8:12]}-4{one[13:16]}-{'89ab'[int(one[16], 16) & 3]}{one[17:20]}-{one[20:]}"
        for one in (digits[start : start + 32] for start in range(0, len(digits), 32))
    ]


def now() -> str:
    """The time of an answer, UTC, to the millisecond."""
    global _now  # noqa: PLW0603  one reference to an immutable value, so that threads may share it
    millisecond = time.time_ns() // 1_000_000
    last, text = _now
    if last != millisecond:
        moment = dt.datetime.fromtimestamp(millisecond / 1e3, tz=dt.UTC)
        text = moment.isoformat(timespec="milliseconds")
        _now = millisecond, text
    return text
