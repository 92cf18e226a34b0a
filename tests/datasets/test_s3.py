"""Objects as files, against a real S3 service on loopback."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appraise.datasets.s3 import connect, fetch_s3, find_objects
from appraise.datasets.s3objects import open_object, put_new, read_object
from appraise.errors import DataError, DownloadError, OutputError

SUFFIXES = (".parquet", ".csv")


@pytest.fixture
def sales(bucket):
    """A bucket with small objects."""
    for key in ("2021/a.csv", "2021/b.csv", "2021/notes.md", "2022/a.csv", "2022/empty.csv", "all.parquet"):
        bucket.put(key, b"" if "empty" in key else key.encode())
    for key in ("2021/_manifest.csv", "2021/.hidden/c.csv"):
        bucket.put(key, b"not data")
    return bucket


def texts(paths: tuple[Path, ...]) -> list[str]:
    return [path.read_text() for path in paths]


@pytest.mark.parametrize(
    ("address", "keys"),
    [
        ("all.parquet", ["all.parquet"]),
        ("2021/", ["2021/a.csv", "2021/b.csv"]),
        ("2021", ["2021/a.csv", "2021/b.csv"]),
        ("202*/a.csv", ["2021/a.csv", "2022/a.csv"]),
        ("", ["2021/a.csv", "2021/b.csv", "2022/a.csv", "all.parquet"]),
    ],
)
def test_objects_become_files(sales, tmp_path, address, keys):
    address = f"s3://{sales.name}/{address}"
    assert texts(fetch_s3(address, tmp_path, suffixes=SUFFIXES, endpoint=sales.endpoint)) == keys


def test_an_object_is_fetched_again_only_when_it_has_changed(sales, tmp_path):
    address = f"s3://{sales.name}/all.parquet"
    (first,) = fetch_s3(address, tmp_path, suffixes=SUFFIXES, endpoint=sales.endpoint)
    first.write_text("the copy")
    (again,) = fetch_s3(address, tmp_path, suffixes=SUFFIXES, endpoint=sales.endpoint)
    assert again.read_text() == "the copy"
    sales.put("all.parquet", b"new")
    (new,) = fetch_s3(address, tmp_path, suffixes=SUFFIXES, endpoint=sales.endpoint)
    assert new.read_text() == "new"
    assert new.name == "all.parquet"


@pytest.mark.parametrize("address", ["2023/", "*.xlsx", "2022/empty.csv"])
def test_nothing_there(sales, tmp_path, address):
    with pytest.raises(DataError, match="nothing to read"):
        fetch_s3(f"s3://{sales.name}/{address}", tmp_path, suffixes=SUFFIXES, endpoint=sales.endpoint)


def test_a_bucket_that_is_not_there(bucket, tmp_path):
    with pytest.raises(
        DownloadError, match=r"s3://nowhere/a\.csv could not be read: there is no such bucket"
    ) as caught:
        fetch_s3("s3://nowhere/a.csv", tmp_path, suffixes=SUFFIXES, endpoint=bucket.endpoint)
    assert "bucket's name" in caught.value.hint


@pytest.mark.parametrize(
    ("variable", "reason"),
    [("AWS_SECRET_ACCESS_KEY", "the secret key is wrong"), ("AWS_ACCESS_KEY_ID", "the access key is not known")],
)
def test_wrong_credentials_are_told_apart(sales, tmp_path, monkeypatch, variable, reason):
    monkeypatch.setenv(variable, "somebody-else")
    with pytest.raises(DownloadError, match=reason) as caught:
        fetch_s3(f"s3://{sales.name}/all.parquet", tmp_path, suffixes=SUFFIXES, endpoint=sales.endpoint)
    assert caught.value.hint == f"check {variable}"
    with pytest.raises(OutputError, match=f"could not be written: {reason}"):
        put_new(connect("s3://", endpoint=sales.endpoint), sales.name, "mine", b"x")
    assert sales.keys("mine") == []


def test_without_credentials_the_variables_are_named(bucket, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(DownloadError, match="there are no credentials") as caught:
        fetch_s3(f"s3://{bucket.name}/a.csv", tmp_path, suffixes=SUFFIXES, endpoint=bucket.endpoint)
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


def test_a_service_that_is_not_there(bucket, tmp_path):
    with pytest.raises(DownloadError, match="the connection failed") as caught:
        fetch_s3(f"s3://{bucket.name}/a.csv", tmp_path, suffixes=SUFFIXES, endpoint="http://127.0.0.1:1")
    assert "APPRAISE_S3__ENDPOINT" in caught.value.hint


def test_a_connection_that_is_cut_leaves_no_copy(bucket, tmp_path):
    address = bucket.put("large.csv", bytes(3 << 20))
    with bucket.server.proxy() as proxy:
        proxy.cut("downstream", after=1 << 20)
        with pytest.raises(DownloadError, match=r"large\.csv could not be read"):
            fetch_s3(address, tmp_path, suffixes=SUFFIXES, endpoint=proxy.endpoint)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_object_is_read_in_ranges_and_only_in_one_version(bucket):
    content = bytes(range(256)) * 10_000
    address = bucket.put("numbers.parquet", content)
    (item,) = find_objects(address, suffixes=SUFFIXES, endpoint=bucket.endpoint)
    with open_object(item, endpoint=bucket.endpoint) as file:
        file.seek(-1000, 2)
        assert file.read() == content[-1000:]
        file.seek(70_000)
        assert file.read(5) == content[70_000:70_005]
        bucket.put("numbers.parquet", content[::-1])
        file.seek(0)
        with pytest.raises(DownloadError, match="the object changed while it was read"):
            file.read()


def test_of_two_writers_one_wins(bucket):
    barrier = threading.Barrier(8)

    def write(number: int) -> bool:
        barrier.wait(timeout=60)
        return put_new(connect("s3://", endpoint=bucket.endpoint), bucket.name, "name", str(number).encode())

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(write, range(8)))
    assert sum(won) == 1
    assert bucket.get("name") == str(won.index(True)).encode()


def test_an_upload_that_is_cut_leaves_nothing(bucket):
    with bucket.server.proxy() as proxy:
        proxy.cut("upstream", after=1 << 20)
        client = connect("s3://", endpoint=proxy.endpoint)
        with pytest.raises(OutputError, match="could not be written: the connection failed"):
            put_new(client, bucket.name, "part", bytes(3 << 20))
    assert bucket.keys() == []
    assert read_object(bucket.client, bucket.name, "part") is None


def test_without_boto3_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3.session", None)
    with pytest.raises(DataError, match="boto3 is not installed") as caught:
        fetch_s3("s3://sales/a.csv", tmp_path, suffixes=SUFFIXES)
    assert "appraise[s3]" in caught.value.hint
