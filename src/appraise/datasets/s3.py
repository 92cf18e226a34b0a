"""Objects of S3: addresses, clients, what goes wrong, and local copies that are fetched once for each version."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from appraise.datasets.atomic import replacing
from appraise.errors import AppraiseError, DataError, DownloadError, OutputError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

SCHEME = "s3://"
_MARKS = "*?["
_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_ATTEMPTS = 3

Doing = Literal["read", "written"]


@dataclass(frozen=True, slots=True)
class S3Object:
    """One version of an object.

    Attributes:
        bucket, key: where it is.
        etag: the entity tag, which is another one when the object changes.
        size: bytes.
    """

    bucket: str
    key: str
    etag: str
    size: int

    @property
    def address(self) -> str:
        """As a person writes it."""
        return f"{SCHEME}{self.bucket}/{self.key}"


def parse_address(address: str) -> tuple[str, str]:
    """The bucket and the key of `s3://BUCKET/KEY`; the key may be empty. Raises DataError for anything else."""
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    if not address.startswith(SCHEME) or not bucket:
        raise DataError(f"{address} is not an S3 address", hint="write s3://BUCKET/KEY")
    return bucket, key


def connect(address: str, *, endpoint: str | None) -> S3Client:
    """A client; credentials and region come from where the AWS tools look for them.

    Args:
        address: what it is wanted for, for the error.
        endpoint: address of a service other than Amazon's.

    Raises:
        DataError: boto3 is not installed.
    """
    try:
        return _client(endpoint, tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))
    except ImportError:
        raise DataError(
            f"{address} cannot be used, for boto3 is not installed", hint="install it: pip install 'appraise[s3]'"
        ) from None


@lru_cache(maxsize=8)
def _client(endpoint: str | None, _environment: tuple[tuple[str, str], ...]) -> S3Client:
    """A client for each endpoint and environment; boto3's own default session would keep the first credentials."""
    from boto3.session import Session
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"max_attempts": _ATTEMPTS, "mode": "standard"},
    )
    return Session().client("s3", endpoint_url=endpoint, config=config)


@contextmanager
def s3_errors(address: str, doing: Doing = "read") -> Iterator[None]:
    """Turns what boto3 raises into a DownloadError, or an OutputError where something was to be written."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, Boto3Error, ClientError) as error:
        raise _explained(error, address, doing) from error


def fetch_s3(address: str, cache: Path, *, suffixes: tuple[str, ...], endpoint: str | None = None) -> tuple[Path, ...]:
    """Local copies of an object, of the objects under a prefix, or of those that a glob matches.

    A copy is kept under the object's entity tag, so that an object that has not changed is not fetched again.

    Args:
        address: `s3://BUCKET/KEY`, `s3://BUCKET/PREFIX/` or `s3://BUCKET/PREFIX/*.parquet`.
        cache: folder for the copies.
        suffixes: endings of the objects that are taken from under a prefix.
        endpoint: address of a service other than Amazon's.

    Raises:
        DataError: there is nothing there, or boto3 is not installed.
        DownloadError: the service cannot be reached, or refuses.
        OutputError: the cache cannot be written.
    """
    objects = find_objects(address, suffixes=suffixes, endpoint=endpoint)
    client = connect(address, endpoint=endpoint)
    with s3_errors(address):
        return tuple(_fetch(client, each, cache) for each in objects)


def find_objects(address: str, *, suffixes: tuple[str, ...], endpoint: str | None = None) -> tuple[S3Object, ...]:
    """The objects of an address in the order of their keys, empty ones left out; as `fetch_s3` takes it.

    Objects under a prefix whose names begin with `_` or `.`, or lie in such a folder, are not data.

    Raises:
        DataError: there is nothing there, or boto3 is not installed.
        DownloadError: the service cannot be reached, or refuses.
    """
    bucket, key = parse_address(address)
    client = connect(address, endpoint=endpoint)
    with s3_errors(address):
        found = _chosen(client, bucket, key, suffixes)
    if not found:
        raise DataError(f"there is nothing to read at {address}", hint="check the bucket and the key")
    return tuple(sorted(found, key=lambda each: each.key))


def _chosen(client: S3Client, bucket: str, key: str, suffixes: tuple[str, ...]) -> list[S3Object]:
    prefix = key
    for mark in _MARKS:
        prefix = prefix.partition(mark)[0]
    listed = list_objects(client, bucket, prefix)
    if prefix != key:
        return [each for each in listed if fnmatch.fnmatchcase(each.key, key)]
    exact = [each for each in listed if each.key == key]
    folder = key if not key or key.endswith("/") else f"{key}/"
    return exact or [each for each in listed if each.key.startswith(folder) and _is_data(each.key, folder, suffixes)]


def list_objects(client: S3Client, bucket: str, prefix: str) -> list[S3Object]:
    """The objects whose keys begin so, empty ones left out."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [
        S3Object(bucket, each["Key"], each["ETag"], each["Size"])
        for page in pages
        for each in page.get("Contents", [])
        if each.get("Size", 0) > 0
    ]


def _is_data(key: str, folder: str, suffixes: tuple[str, ...]) -> bool:
    parts = key.removeprefix(folder).split("/")
    return key.lower().endswith(suffixes) and not any(part.startswith(("_", ".")) for part in parts)


def _fetch(client: S3Client, item: S3Object, cache: Path) -> Path:
    version = hashlib.sha256(f"{item.bucket}/{item.key}/{item.etag}".encode()).hexdigest()[:16]
    path = cache / version / Path(item.key).name
    if not path.is_file():
        with replacing(path) as temporary:
            client.download_file(item.bucket, item.key, str(temporary))
    return path


#: What a service's error codes mean, and what to do about each.
_MEANINGS: dict[str, tuple[str, str]] = {
    "SignatureDoesNotMatch": ("the secret key is wrong", "check AWS_SECRET_ACCESS_KEY"),
    "InvalidAccessKeyId": ("the access key is not known", "check AWS_ACCESS_KEY_ID"),
    # As versitygw calls it.
    "XAdminUserNotFound": ("the access key is not known", "check AWS_ACCESS_KEY_ID"),
    "AccessDenied": ("access is denied", "ask for the rights, or use other credentials"),
    "NoSuchBucket": ("there is no such bucket", "check the bucket's name, the region and APPRAISE_S3__ENDPOINT"),
    "NoSuchKey": ("there is no such object", "check the key"),
    "PreconditionFailed": ("the object changed while it was read", "run it again when nothing writes to it"),
    "ExpiredToken": ("the credentials have expired", "get new ones"),
    "403": ("access is denied", "check the credentials and their rights"),
    "404": ("there is no such bucket or object", "check the bucket and the key"),
}
_HINT = "check the address, the credentials, the region and APPRAISE_S3__ENDPOINT"


def _explained(error: Exception, address: str, doing: Doing) -> AppraiseError:
    from botocore.exceptions import ClientError, HTTPClientError, NoCredentialsError
    from botocore.exceptions import ConnectionError as NotConnectedError

    kind: type[AppraiseError] = DownloadError if doing == "read" else OutputError
    reason, hint = str(error), _HINT
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        meaning, hint = _MEANINGS.get(code, (reason, _HINT))
        reason = meaning if meaning == reason else f"{meaning} ({code})"
    elif isinstance(error, NoCredentialsError):
        reason = "there are no credentials"
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    elif isinstance(error, (NotConnectedError, HTTPClientError)):
        reason = f"the connection failed: {reason}"
        hint = "see that the service runs and that APPRAISE_S3__ENDPOINT is its address, then run it again"
    return kind(f"{address} could not be {doing}: {reason}", hint=hint)
