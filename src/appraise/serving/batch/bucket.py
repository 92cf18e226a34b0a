"""A run's output in S3. An object appears when it is whole, and of two writers of one name the first one wins."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appraise.datasets.s3 import SCHEME, connect, list_objects, s3_errors
from appraise.datasets.s3objects import put_new, read_object
from appraise.errors import OutputError
from appraise.serving.batch.manifest import PartMark
from appraise.serving.batch.outputs import HASH_KEY, ROWS_KEY, RUN_KEY, UNUSABLE_KEY, VALUED_KEY, marks_of

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


@dataclass(frozen=True, slots=True)
class Bucket:
    """A prefix of a bucket.

    Attributes:
        bucket, prefix: where; the prefix without slashes at its ends, and may be empty.
        endpoint: address of a service other than Amazon's.
    """

    bucket: str
    prefix: str
    endpoint: str | None = None

    @property
    def address(self) -> str:
        """As a person writes it."""
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def names(self) -> tuple[str, ...]:
        """The objects that are there, without the prefix."""
        with s3_errors(self.address, "written"):
            found = list_objects(self._client(), self.bucket, self._key(""))
        return tuple(each.key.removeprefix(self._key("")) for each in found)

    def read(self, name: str) -> bytes | None:
        """A small object's bytes."""
        return read_object(self._client(), self.bucket, self._key(name))

    def create(self, name: str, data: bytes) -> bool:
        """Write a small object."""
        return put_new(self._client(), self.bucket, self._key(name), data)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A file of this machine, to be uploaded."""
        try:
            with tempfile.NamedTemporaryFile(prefix="appraise-part-") as file:
                yield Path(file.name)
        except OSError as error:
            raise OutputError(
                f"a part cannot be written to {tempfile.gettempdir()}: {error.strerror or error}",
                hint="make room there, or set TMPDIR to another folder",
            ) from error

    def publish(self, written: Path, part: PartMark, run_id: str) -> None:
        """Upload a part."""
        said = {**marks_of(part, run_id), HASH_KEY: part.sha256}
        if put_new(self._client(), self.bucket, self._key(part.file), written, metadata=said):
            return
        if self.find(part.file, run_id) is None:
            raise OutputError(f"another run wrote {self.address}/{part.file} meanwhile", hint="choose another prefix")

    def find(self, name: str, run_id: str) -> PartMark | None:
        """A part of this run, by what its metadata say."""
        from botocore.exceptions import ClientError

        with s3_errors(f"{self.address}/{name}"):
            try:
                head = self._client().head_object(Bucket=self.bucket, Key=self._key(name))
            except ClientError as error:
                if str(error.response.get("Error", {}).get("Code", "")) not in ("404", "NoSuchKey"):
                    raise
                return None
        said = head["Metadata"]
        if said.get(RUN_KEY) != run_id:
            return None
        rows, valued, unusable = (int(said[key]) for key in (ROWS_KEY, VALUED_KEY, UNUSABLE_KEY))
        return PartMark(name, rows, valued, unusable, head["ContentLength"], said[HASH_KEY])

    def remove(self, names: tuple[str, ...]) -> None:
        """Remove objects of a run."""
        client = self._client()
        with s3_errors(self.address, "written"):
            for name in names:
                client.delete_object(Bucket=self.bucket, Key=self._key(name))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let others in: two runs of one kind make the same parts, and each is written once."""
        yield

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _client(self) -> S3Client:
        return connect(self.address, endpoint=self.endpoint)
