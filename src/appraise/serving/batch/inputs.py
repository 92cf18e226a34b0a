"""The files of a run: where they are, which version of each is meant, and how they are opened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from appraise.datasets.parquetread import MAGIC as PARQUET_MAGIC
from appraise.datasets.paths import plain
from appraise.datasets.s3 import SCHEME, S3Object, find_objects
from appraise.datasets.s3objects import open_object
from appraise.datasets.sources import TABLE_SUFFIXES, find_source
from appraise.datasets.spec import DatasetSpec
from appraise.errors import DataError

_CHUNK = 1 << 20
_HEAD = 1 << 20


@dataclass(frozen=True, slots=True)
class InputFile:
    """One version of a file.

    Attributes:
        address: a path, or an `s3://` address.
        size: bytes.
        version: changes when the file does: its time of change, or an object's entity tag.
        sha256: of its bytes; None for an object, whose entity tag stands for it.
    """

    address: str
    size: int
    version: str
    sha256: str | None = None

    def open(self, *, endpoint: str | None) -> BinaryIO:
        """The file at its beginning.

        Raises:
            DataError: it is not there any more, or not the same version. Of an object this is told by reading.
        """
        if self.address.startswith(SCHEME):
            bucket, _, key = self.address.removeprefix(SCHEME).partition("/")
            return open_object(S3Object(bucket, key, self.version, self.size), endpoint=endpoint)
        path = Path(self.address)
        if _version_of(path) != (self.size, self.version):
            raise DataError(f"{path} changed while it was read", hint="run it again when nothing writes to it")
        return path.open("rb")

    def head(self, *, endpoint: str | None) -> bytes:
        """The first bytes, at most 1 MiB."""
        with self.open(endpoint=endpoint) as stream:
            return stream.read(min(_HEAD, self.size))


def find_inputs(spec: DatasetSpec, address: str, *, cache: Path, endpoint: str | None) -> tuple[InputFile, ...]:
    """The files of an address, in order.

    Args:
        spec: the dataset.
        address: a path, folder, glob or `s3://` address.
        cache: folder for what is downloaded or made.
        endpoint: address of an S3 service other than Amazon's.

    Raises:
        DataError: there is nothing to read.
        DownloadError: the S3 service cannot be reached, or refuses.
    """
    if address.startswith(SCHEME):
        objects = find_objects(address, suffixes=TABLE_SUFFIXES, endpoint=endpoint)
        return tuple(InputFile(each.address, each.size, each.etag) for each in objects)
    source = find_source(spec, data=address, cache=cache, s3_endpoint=endpoint)
    return tuple(_local(path) for path in source.files)


def is_parquet(head: bytes) -> bool:
    """Whether a file that begins so is Parquet."""
    return head.startswith(PARQUET_MAGIC)


def total_size(files: Iterable[InputFile]) -> int:
    """Bytes of all files."""
    return sum(file.size for file in files)


def _local(path: Path) -> InputFile:
    size, version = _version_of(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint="check the file and its rights") from error
    return InputFile(str(plain(path.absolute())), size, version, digest.hexdigest())


def _version_of(path: Path) -> tuple[int, str]:
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint="check the path and its rights") from error
    return found.st_size, str(found.st_mtime_ns)
