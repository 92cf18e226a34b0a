"""Reading objects of S3 in parts, and writing them so that of two writers one wins."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from appraise.datasets.s3 import S3Object, connect, s3_errors

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from mypy_boto3_s3.client import S3Client

_BUFFER = 1 << 20
_ATTEMPTS = 3
#: What a service answers to the second of two writers of one name.
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def open_object(item: S3Object, *, endpoint: str | None = None) -> BinaryIO:
    """One version of an object as a file that is fetched in the parts that are read.

    Reading raises DownloadError where the service cannot be reached, or where the object is another version now.
    """
    return io.BufferedReader(_Ranges(item, connect(item.address, endpoint=endpoint)), _BUFFER)


class _Ranges(io.RawIOBase):
    """A file whose every read is a request for a range of bytes."""

    def __init__(self, item: S3Object, client: S3Client) -> None:
        self._item = item
        self._client = client
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._item.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        size = min(len(view), self._item.size - self._position)
        if size <= 0:
            return 0
        view[:size] = self._range(self._position, size)
        self._position += size
        return size

    def _range(self, start: int, size: int) -> bytes:
        """Bytes of the object; a connection that is cut while they come is tried again."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        with s3_errors(self._item.address):
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    answer = self._client.get_object(
                        Bucket=self._item.bucket,
                        Key=self._item.key,
                        Range=f"bytes={start}-{start + size - 1}",
                        IfMatch=self._item.etag,
                    )
                    return answer["Body"].read()
                except (HTTPClientError, IncompleteReadError):
                    if attempt == _ATTEMPTS:
                        raise
        raise AssertionError("the last attempt returns or raises")


def put_new(
    client: S3Client, bucket: str, key: str, body: Path | bytes, *, metadata: Mapping[str, str] | None = None
) -> bool:
    """Write an object that is not there yet: whole or not at all, and by one writer alone.

    Returns:
        Whether this call wrote it; False where another one had.

    Raises:
        OutputError: it cannot be written.
    """
    from botocore.exceptions import ClientError

    with s3_errors(f"s3://{bucket}/{key}", "written"):
        try:
            content = body if isinstance(body, bytes) else body.read_bytes()
            client.put_object(Bucket=bucket, Key=key, Body=content, Metadata=dict(metadata or {}), IfNoneMatch="*")
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code", "")) not in _TAKEN:
                raise
            return False
    return True


def read_object(client: S3Client, bucket: str, key: str) -> bytes | None:
    """A small object's bytes; None where there is none. Raises DownloadError."""
    from botocore.exceptions import ClientError

    with s3_errors(f"s3://{bucket}/{key}"):
        try:
            return client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code", "")) not in ("NoSuchKey", "404"):
                raise
            return None
