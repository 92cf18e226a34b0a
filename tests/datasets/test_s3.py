import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from appraise.datasets.s3 import fetch_s3
from appraise.errors import DataError, DownloadError

SUFFIXES = (".parquet", ".csv")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="sales")
        for key in ("2021/a.csv", "2021/b.csv", "2021/notes.md", "2022/a.csv", "2022/empty.csv", "all.parquet"):
            body = b"" if "empty" in key else key.encode()
            client.put_object(Bucket="sales", Key=key, Body=body)
        yield client


def texts(paths: tuple[Path, ...]) -> list[str]:
    return [path.read_text() for path in paths]


@pytest.mark.parametrize(
    ("address", "keys"),
    [
        ("s3://sales/all.parquet", ["all.parquet"]),
        ("s3://sales/2021/", ["2021/a.csv", "2021/b.csv"]),
        ("s3://sales/2021", ["2021/a.csv", "2021/b.csv"]),
        ("s3://sales/202*/a.csv", ["2021/a.csv", "2022/a.csv"]),
        ("s3://sales", ["2021/a.csv", "2021/b.csv", "2022/a.csv", "all.parquet"]),
    ],
)
def test_objects_become_files(bucket, tmp_path, address, keys):
    assert texts(fetch_s3(address, tmp_path, suffixes=SUFFIXES)) == keys


def test_an_object_is_fetched_again_only_when_it_has_changed(bucket, tmp_path):
    (first,) = fetch_s3("s3://sales/all.parquet", tmp_path, suffixes=SUFFIXES)
    first.write_text("the copy")
    (again,) = fetch_s3("s3://sales/all.parquet", tmp_path, suffixes=SUFFIXES)
    assert again.read_text() == "the copy"
    bucket.put_object(Bucket="sales", Key="all.parquet", Body=b"new")
    (new,) = fetch_s3("s3://sales/all.parquet", tmp_path, suffixes=SUFFIXES)
    assert new.read_text() == "new"
    assert new.name == "all.parquet"


@pytest.mark.parametrize("address", ["s3://sales/2023/", "s3://sales/*.xlsx", "s3://sales/2022/empty.csv"])
def test_nothing_there(bucket, tmp_path, address):
    with pytest.raises(DataError, match="nothing to read"):
        fetch_s3(address, tmp_path, suffixes=SUFFIXES)


def test_a_bucket_that_is_not_there(bucket, tmp_path):
    with pytest.raises(DownloadError, match=r"s3://nowhere/a\.csv could not be read: .*NoSuchBucket") as caught:
        fetch_s3("s3://nowhere/a.csv", tmp_path, suffixes=SUFFIXES)
    assert "bucket's name" in caught.value.hint


def test_without_boto3_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(DataError, match="boto3 is not installed") as caught:
        fetch_s3("s3://sales/a.csv", tmp_path, suffixes=SUFFIXES)
    assert "appraise[s3]" in caught.value.hint
