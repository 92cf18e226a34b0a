"""Runs from S3 to S3, on a real service whose connections are cut."""

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from appraise.errors import DataError, DownloadError, OutputError
from appraise.serving.batch.engines import ProcessPool, ThisProcess
from appraise.serving.batch.manifest import MANIFEST_FILE, RUN_FILE

pytestmark = pytest.mark.usefixtures("small_shards")


@pytest.fixture
def source(bucket, homes) -> str:
    """The homes in S3, in two files."""
    for name, frame in (("a", homes[:1700]), ("b", homes[1700:])):
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        bucket.put(f"in/{name}.parquet", buffer.getvalue())
    return f"s3://{bucket.name}/in/"


@pytest.fixture
def read(bucket):
    """The rows of the parts under a prefix."""

    def read(prefix: str) -> pl.DataFrame:
        keys = sorted(bucket.keys(f"{prefix}/part-"))
        return pl.concat([pl.read_parquet(io.BytesIO(bucket.get(key))) for key in keys])

    return read


def test_from_s3_to_s3_as_from_folder_to_folder(plan, bucket, source, homes, read, tmp_path):
    manifest = plan(source, f"s3://{bucket.name}/out/", endpoint=bucket.endpoint).carry_out(ProcessPool(2))
    assert manifest.rows == 3000
    assert read("out")["home"].to_list() == list(range(3000))
    written = json.loads(bucket.get(f"out/{MANIFEST_FILE}"))
    assert [file["etag"] is not None for file in written["inputs"]] == [True, True]
    (tmp_path / "in").mkdir()
    homes[:1700].write_parquet(tmp_path / "in" / "a.parquet")
    homes[1700:].write_parquet(tmp_path / "in" / "b.parquet")
    plan(tmp_path / "in").carry_out(ThisProcess())
    local = pl.read_parquet(sorted((tmp_path / "out").glob("part-*.parquet")))
    assert local.equals(read("out"))


def test_text_in_s3_is_read_in_ranges(plan, bucket, homes, tmp_path):
    address = bucket.put("in.csv", homes.write_csv().encode())
    assert plan(address, endpoint=bucket.endpoint).carry_out(ThisProcess()).valued == 3000
    out = pl.read_parquet(sorted((tmp_path / "out").glob("part-*.parquet")))
    assert out["home"].cast(pl.Int64).to_list() == list(range(3000))


def test_an_upload_that_is_cut_midway_leaves_a_run_that_goes_on(plan, bucket, source, read):
    address = f"s3://{bucket.name}/out"
    seen: list[int] = []
    with bucket.server.proxy() as proxy:

        def observe(_rows: int, shards: int) -> None:
            seen.append(shards)
            if sum(seen) == 7:
                proxy.cut("upstream", after=4000)

        run = plan(source, address, endpoint=proxy.endpoint)
        with pytest.raises(OutputError, match=r"part-00007\.parquet could not be written: the connection failed"):
            run.carry_out(ThisProcess(), observe=observe)
    before = bucket.keys("out/")
    assert before == [f"out/{RUN_FILE}", *(f"out/part-{part:05}.parquet" for part in range(7))]
    seen.clear()
    again = plan(source, address, endpoint=bucket.endpoint)
    manifest = again.carry_out(ThisProcess(), observe=lambda _rows, shards: seen.append(shards))
    assert seen[0] == 7
    assert (manifest.rows, manifest.valued) == (3000, 3000)
    assert [part.unusable for part in manifest.parts] == [
        piece["confidence_grade"].to_list().count("none") for piece in read("out").iter_slices(100)
    ]
    assert read("out")["home"].to_list() == list(range(3000))


def test_a_read_that_is_cut_is_tried_again_and_then_told(plan, bucket, source, tmp_path):
    with bucket.server.proxy() as proxy:
        run = plan(source, endpoint=proxy.endpoint)
        proxy.cut("downstream", after=3000)
        with pytest.raises(DownloadError, match=r"in/a\.parquet could not be read: the connection failed"):
            run.carry_out(ThisProcess())
    assert not (tmp_path / "out" / MANIFEST_FILE).exists()


def test_two_runs_at_the_same_time_write_each_part_once(plan, bucket, source, read):
    address = f"s3://{bucket.name}/out"
    runs = [plan(source, address, endpoint=bucket.endpoint) for _ in range(2)]
    barrier = threading.Barrier(2)

    def carry_out(run):
        barrier.wait(timeout=60)
        return run.carry_out(ThisProcess())

    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(carry_out, runs)
    assert one.parts == other.parts
    assert read("out")["home"].to_list() == list(range(3000))


def test_another_run_and_foreign_objects_are_left_alone(plan, bucket, source):
    address = f"s3://{bucket.name}/out"
    plan(source, address, endpoint=bucket.endpoint).carry_out(ThisProcess())
    other = plan(source, address, level=0.8, endpoint=bucket.endpoint)
    with pytest.raises(OutputError, match="holds another run"):
        other.carry_out(ThisProcess())
    bucket.put("out/mine.txt", b"mine")
    with pytest.raises(OutputError, match=r"holds mine\.txt"):
        other.carry_out(ThisProcess(), overwrite=True)
    bucket.client.delete_object(Bucket=bucket.name, Key="out/mine.txt")
    assert other.carry_out(ThisProcess(), overwrite=True).level == 0.8


@pytest.mark.parametrize(
    ("output", "message"),
    [("s3://no-such-bucket-anywhere/out", "there is no such bucket"), ("s3://", "is not an S3 address")],
)
def test_an_output_that_is_not_there(plan, bucket, source, output, message):
    with pytest.raises((OutputError, DataError), match=message):
        plan(source, output, endpoint=bucket.endpoint).carry_out(ThisProcess())


def test_a_secret_that_is_wrong(plan, bucket, source, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    with pytest.raises(DownloadError, match="the secret key is wrong"):
        plan(source, endpoint=bucket.endpoint)
    assert not (tmp_path / "out").exists()
