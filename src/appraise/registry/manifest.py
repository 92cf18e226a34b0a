"""The manifest of a model bundle: what the model is, what it was made from, and the hash of every file."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import msgspec

from appraise.registry.version import Version

#: The format that this program writes, and the only one that it reads.
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size in bytes and SHA-256 (hexadecimal) of one file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a model without loading it.

    Attributes:
        name: the registered model's name, which is the dataset's.
        version: the model's semantic version.
        kind: what the model is ("catboost", "blend").
        created_at: when it was made, with a time zone.
        spec: the dataset spec as JSON.
        spec_hash: the hash of the spec's meaning.
        metrics: scores by split and metric; a value that is not a finite number is written as null.
        training_ranges: what was seen of each column in training, for warnings.
        git_commit: the commit that the model was made from, None outside a repository.
        data_hash: hash of the training data.
        libraries: versions of the libraries that made it.
        extra: what the parts of the system above want kept with it, JSON.
        files: every file besides the manifest itself; filled in by `write_bundle`.
        format_version: the bundle's format.
    """

    name: str
    version: Version
    kind: str
    created_at: dt.datetime
    spec: dict[str, Any]
    spec_hash: str
    metrics: dict[str, Any]
    training_ranges: dict[str, Any]
    git_commit: str | None
    data_hash: str | None
    libraries: dict[str, str]
    extra: dict[str, Any]
    files: dict[str, FileEntry] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest, enc_hook=_to_json), indent=2) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """The manifest written in `data`.

    Raises:
        ValueError: where it is not a manifest of this format; the text says what is wrong.
    """
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format_version != FORMAT_VERSION:
            raise UnknownFormatError(head.format_version)
        return msgspec.json.decode(data, type=Manifest, dec_hook=_from_json)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class UnknownFormatError(ValueError):
    """A manifest of a format that this program does not know."""

    def __init__(self, found: int) -> None:
        super().__init__(f"format version {found} is not the version {FORMAT_VERSION} that this program reads")
        self.found = found


@dataclass(frozen=True, slots=True)
class _Head:
    format_version: int


def _to_json(value: object) -> object:
    if isinstance(value, Version):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written in a manifest")


def _from_json(kind: type, value: object) -> object:
    if kind is Version and isinstance(value, str):
        return Version.parse(value)
    raise ValueError(f"{value!r} is not a {kind.__name__}")
