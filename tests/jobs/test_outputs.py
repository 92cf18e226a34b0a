"""Results are whole or absent, and what was there before stays until they are."""

import errno
import os
import resource
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from appraise.errors import OutputError
from appraise.jobs.outputs import write_table, write_text

FRAME = pl.DataFrame({"a": [1, None, 3], "b": ["x", "ü", None]})


@pytest.mark.parametrize(
    ("name", "read"), [("t.csv", pl.read_csv), ("t.parquet", pl.read_parquet), ("t.JSONL", pl.read_ndjson)]
)
def test_a_table_is_written_as_its_suffix_says(tmp_path, name, read):
    write_table(FRAME, tmp_path / "new" / name)
    assert read(tmp_path / "new" / name).equals(FRAME)


def test_another_suffix_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(OutputError, match=r"t\.xlsx is not") as caught:
        write_table(FRAME, tmp_path / "t.xlsx")
    assert ".parquet" in caught.value.hint


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_disk_that_fills_up_leaves_what_was_there(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    write_table(FRAME, path)
    before = path.read_bytes()
    large = pl.DataFrame({"x": np.random.default_rng(0).normal(size=100_000)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=os.strerror(errno.EFBIG)):
            write_table(large, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_and_not_replaced(tmp_path):
    device = Path("/dev/full")
    with pytest.raises(OutputError, match="No space left"):
        write_text("text", device)
    assert device.is_char_device()


def test_a_pipe_gets_the_text(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text("text", pipe)
    assert os.read(reader, 100) == b"text"
    os.close(reader)


def test_a_folder_in_the_way_is_said_so(tmp_path):
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        write_text("text", tmp_path)
