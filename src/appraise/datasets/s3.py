"""Objects of S3 as local files: downloaded once for each version, through boto3."""

from __future__ import annotations

import fnmatch
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from appraise.datasets.atomic import replacing
from appraise.errors import DataError, DownloadError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

_MARKS = "*?["
_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_ATTEMPTS = 3


def fetch_s3(address: str, cache: Path, *, suffixes: tuple[str, ...], endpoint: str | None = None) -> tuple[Path, ...]:
    """Local copies of an object, of the objects under a prefix, or of those that a glob matches.

    Credentials and region come from where the AWS tools look for them. A copy is kept under the object's entity tag, so
    that an object that has not changed is not fetched again.

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
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not address.startswith("s3://") or not bucket:
        raise DataError(f"{address} is not an S3 address", hint="write s3://BUCKET/KEY")
    try:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise DataError(
            f"{address} cannot be read, for boto3 is not installed", hint="install it: pip install 'appraise[s3]'"
        ) from None
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"max_attempts": _ATTEMPTS, "mode": "standard"},
    )
    try:
        client = boto3.client("s3", endpoint_url=endpoint, config=config)
        objects = _objects(client, bucket, key, suffixes)
        if not objects:
            raise DataError(f"there is nothing to read at {address}", hint="check the bucket and the key")
        return tuple(_fetch(client, bucket, each, cache) for each in objects)
    except (BotoCoreError, Boto3Error, ClientError) as error:
        raise DownloadError(
            f"{address} could not be read: {error}",
            hint="check the address, the credentials, the region and the endpoint",
        ) from error


def _objects(client: S3Client, bucket: str, key: str, suffixes: tuple[str, ...]) -> list[ObjectTypeDef]:
    prefix = key
    for mark in _MARKS:
        prefix = prefix.partition(mark)[0]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    listed = [each for page in pages for each in page.get("Contents", []) if each.get("Size", 0) > 0]
    if prefix != key:
        chosen = [each for each in listed if fnmatch.fnmatchcase(each["Key"], key)]
    else:
        chosen = [each for each in listed if each["Key"] == key]
        folder = key if not key or key.endswith("/") else f"{key}/"
        chosen = chosen or [
            each for each in listed if each["Key"].startswith(folder) and each["Key"].lower().endswith(suffixes)
        ]
    return sorted(chosen, key=lambda each: each["Key"])


def _fetch(client: S3Client, bucket: str, item: ObjectTypeDef, cache: Path) -> Path:
    key = item["Key"]
    version = hashlib.sha256(f"{bucket}/{key}/{item.get('ETag')}".encode()).hexdigest()[:16]
    path = cache / version / Path(key).name
    if not path.is_file():
        with replacing(path) as temporary:
            client.download_file(bucket, key, str(temporary))
    return path
