"""Workers of one service, in step through a folder: what they serve, and what they count.

    lineup.json           the versions to serve, with a number that grows
    worker-<pid>.json     the number that a worker has reached, and its counts

The folder is the supervisor's and lives as long as it. One worker alone needs none.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import msgspec

from appraise.serving.versions import KnownVersion

_LINEUP = "lineup.json"


class _Plan(msgspec.Struct):
    number: int
    versions: tuple[KnownVersion, ...]


class _Report(msgspec.Struct):
    number: int
    pid: int
    counts: dict[str, Any]


class Crew:
    """One worker's view of all of them.

    Args:
        folder: what they share, None for one that works alone.
        size: how many they are.
    """

    def __init__(self, folder: Path | None = None, size: int = 1) -> None:
        self.size = size
        self.number = 0
        self._folder = folder
        self._stamp: int | None = None

    def publish(self, versions: tuple[KnownVersion, ...]) -> None:
        """Have the others serve these versions too."""
        if self._folder is None:
            return
        plan = self._read_plan()
        self.number = 1 if plan is None else plan.number + 1
        self._write(_LINEUP, _Plan(self.number, versions))

    def news(self) -> tuple[KnownVersion, ...] | None:
        """What another worker has published since the last call."""
        if self._folder is None:
            return None
        try:
            stamp = (self._folder / _LINEUP).stat().st_mtime_ns
        except OSError:
            return None
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        plan = self._read_plan()
        if plan is None or plan.number <= self.number:
            return None
        self.number = plan.number
        return plan.versions

    def report(self, counts: dict[str, Any]) -> None:
        """Tell the others where this worker stands."""
        if self._folder is not None:
            self._write(f"worker-{os.getpid()}.json", _Report(self.number, os.getpid(), counts))

    def counts_of_others(self) -> list[dict[str, Any]]:
        """The counts of every other worker, those that have ended too."""
        return [report.counts for report in self._reports() if report.pid != os.getpid()]

    def in_step(self) -> int:
        """How many workers serve what this one serves."""
        return 1 + sum(report.pid != os.getpid() and report.number >= self.number for report in self._reports())

    def _reports(self) -> list[_Report]:
        if self._folder is None:
            return []
        return [
            msgspec.json.decode(path.read_bytes(), type=_Report) for path in sorted(self._folder.glob("worker-*.json"))
        ]

    def _read_plan(self) -> _Plan | None:
        if self._folder is None or not (self._folder / _LINEUP).exists():
            return None
        return msgspec.json.decode((self._folder / _LINEUP).read_bytes(), type=_Plan, dec_hook=_path)

    def _write(self, name: str, document: msgspec.Struct) -> None:
        if self._folder is None:
            return
        temporary = self._folder / f".{uuid.uuid4().hex}"
        temporary.write_bytes(msgspec.json.encode(document, enc_hook=str))
        temporary.replace(self._folder / name)


def _path(kind: type, value: Any) -> Any:
    return Path(value) if issubclass(kind, Path) else value
