"""Where a run's files go: a folder, or a prefix of S3. A part is whole or not there, and the manifest comes last."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from appraise.serving.batch.manifest import PartMark

#: What a part says of itself, so that a run that goes on knows it.
RUN_KEY, ROWS_KEY, HASH_KEY = "appraise-run", "appraise-rows", "appraise-sha256"
VALUED_KEY, UNUSABLE_KEY = "appraise-valued", "appraise-unusable"
_CHUNK = 1 << 20


class Output(Protocol):
    """Where a run's files go. Plain values, so that it can be given to other processes."""

    @property
    def address(self) -> str:
        """As a person writes it."""

    def names(self) -> tuple[str, ...]:
        """The files that are there, hidden ones left out."""

    def read(self, name: str) -> bytes | None:
        """A small file's bytes, or None."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file that is not there yet; False where another writer was first."""

    def scratch(self) -> AbstractContextManager[Path]:
        """A path to write a part to; nothing is left of it at the end."""

    def publish(self, written: Path, part: PartMark, run_id: str) -> None:
        """Put a part that was written to `scratch` into its place, unless another writer of the same run has."""

    def find(self, name: str, run_id: str) -> PartMark | None:
        """A part that is there and whole; None where there is none, or one of another run."""

    def remove(self, names: tuple[str, ...]) -> None:
        """Remove files of a run."""

    def locked(self) -> AbstractContextManager[None]:
        """Keep other runs out as far as the place can, and clear away what killed ones left half written."""


def marks_of(part: PartMark, run_id: str) -> Mapping[str, str]:
    """What a part says of itself, besides its hash."""
    return {
        RUN_KEY: run_id,
        ROWS_KEY: str(part.rows),
        VALUED_KEY: str(part.valued),
        UNUSABLE_KEY: str(part.unusable),
    }


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
