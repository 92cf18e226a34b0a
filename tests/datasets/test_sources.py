import errno
import re
import subprocess
import sys
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import sklearn.datasets

from appraise.datasets.paths import plain
from appraise.datasets.presets import find_spec
from appraise.datasets.simulate import SOURCE_NOTE, simulate_table
from appraise.datasets.sources import find_source
from appraise.datasets.spec import Column, DatasetSpec
from appraise.errors import DataError, DownloadError, OutputError

SPEC = DatasetSpec("sales", (Column("price", "number", "target"),))


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    for name in ("2021/a.parquet", "2022/b.parquet", "_work/c.parquet", ".hidden.parquet"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "_SUCCESS").touch()
    return folder


def names(files: tuple[Path, ...]) -> list[str]:
    return [file.name for file in files]


def test_a_folder_is_its_parquet_files_at_any_depth(tables, tmp_path):
    assert names(find_source(SPEC, data=tables, cache=tmp_path).files) == ["a.parquet", "b.parquet"]


def test_a_folder_of_both_kinds_is_ambiguous(tables, tmp_path):
    (tables / "old.csv").touch()
    with pytest.raises(DataError, match=r"both Parquet and text files, such as a\.parquet and old\.csv") as caught:
        find_source(SPEC, data=tables, cache=tmp_path)
    assert "--data" in caught.value.hint


def test_an_empty_folder_has_nothing_to_read(tmp_path):
    with pytest.raises(DataError, match="holds no data file"):
        find_source(SPEC, data=tmp_path, cache=tmp_path)


def test_a_glob_matches_files(tables, tmp_path):
    assert names(find_source(SPEC, data=f"{tables}/202*/*.parquet", cache=tmp_path).files) == ["a.parquet", "b.parquet"]
    with pytest.raises(DataError, match="no file matches") as caught:
        find_source(SPEC, data=f"{tables}/*.csv", cache=tmp_path)
    assert "quote it" in caught.value.hint


def test_a_relative_glob_starts_from_here(tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tables)
    assert names(find_source(SPEC, data="2021/*.parquet", cache=tmp_path).files) == ["a.parquet"]


def test_the_specs_own_source_starts_from_the_specs_folder(tables, tmp_path):
    spec = DatasetSpec("sales", SPEC.columns, source="tables/2021/a.parquet", path=str(tmp_path / "sales.toml"))
    assert find_source(spec, data=None, cache=tmp_path).files == (tables / "2021/a.parquet",)


def test_a_path_that_goes_up_is_told_as_where_it_leads(tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tables)
    spec = DatasetSpec("sales", SPEC.columns, source="../2021/none.parquet", path="2022/sales.toml")
    for data in (None, "2022/../2021/none.parquet"):
        with pytest.raises(DataError, match=f"^there is no file {re.escape(str(tables))}/2021/none.parquet$"):
            find_source(spec, data=data, cache=tmp_path)
    assert find_source(SPEC, data="2022/../2021/*", cache=tmp_path).files == (tables / "2021/a.parquet",)


def test_a_link_is_kept_unless_a_path_goes_up_from_where_it_points_to(tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to(tables / "2021")
    assert plain(Path("link/a.parquet")) == Path("link/a.parquet")
    assert plain(Path("link/../2022/b.parquet")) == tables / "2022/b.parquet"
    assert find_source(SPEC, data="link/../2022/b.parquet", cache=tmp_path).files == (tables / "2022/b.parquet",)


def test_a_misspelt_path_is_corrected(tmp_path):
    (tmp_path / "sales.csv").touch()
    with pytest.raises(DataError, match="there is no file") as caught:
        find_source(SPEC, data=tmp_path / "slaes.csv", cache=tmp_path)
    assert caught.value.hint == "did you mean 'sales.csv'?"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "does not say where its data are"),
        ("https://example.org/sales.csv", "https: is no place that data are read from"),
        ("simulate:baysde", "no simulator 'baysde'"),
        ("sklearn:boston", "sklearn:boston is not known"),
        ("s3://", "not an S3 address"),
    ],
)
def test_places_that_are_none(data, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        find_source(SPEC, data=data, cache=tmp_path)
    assert caught.value.hint


def test_made_up_data_are_made_once_and_say_so(tmp_path):
    source = find_source(find_spec("garden"), data=None, cache=tmp_path)
    assert source.notes == (SOURCE_NOTE,)
    assert pl.read_parquet(source.files[0]).equals(simulate_table("garden"))
    made = source.files[0].stat().st_mtime_ns
    assert find_source(find_spec("garden"), data=None, cache=tmp_path).files[0].stat().st_mtime_ns == made


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """A limit on the size of files stands for the disk: Arrow's writer meets it in the middle."""
    code = (
        "import resource, sys; from pathlib import Path; resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))\n"
        "from appraise.datasets.presets import find_spec; from appraise.datasets.sources import find_source\n"
        "from appraise.errors import OutputError\n"
        "try: find_source(find_spec('garden'), data=None, cache=Path(sys.argv[1]))\n"
        "except OutputError as error: print(error, '|', error.hint)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot be written" in result.stdout
    assert "free space" in result.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_cache_that_is_a_file_is_named(tmp_path):
    (tmp_path / "cache").touch()
    for name in ("garden", "california"):
        with pytest.raises(OutputError, match="cannot be written"):
            find_source(find_spec(name), data=None, cache=tmp_path / "cache")


CALIFORNIA = find_spec("california")


def housing() -> SimpleNamespace:
    features = [column.name for column in CALIFORNIA.columns if column.role != "target"]
    data = np.random.default_rng(0).random((50, len(features)))
    return SimpleNamespace(feature_names=features, data=data, target=np.ones(50), target_names=["MedHouseVal"])


def test_california_comes_once_through_scikit_learn(tmp_path, monkeypatch):
    asked = []

    def fetch(data_home, **_):
        asked.append(data_home)
        (Path(data_home) / "cal_housing_py3.pkz").write_bytes(b"a pickle")
        return housing()

    monkeypatch.setattr(sklearn.datasets, "fetch_california_housing", fetch)
    first = find_source(CALIFORNIA, data=None, cache=tmp_path)
    assert find_source(CALIFORNIA, data=None, cache=tmp_path) == first
    assert len(asked) == 1
    frame = pl.read_parquet(first.files[0])
    assert frame.columns == [column.name for column in CALIFORNIA.columns]
    assert frame.height == 50
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["california_housing.parquet"]


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (urllib.error.URLError(OSError(-2, "Name or service not known")), DownloadError, "Name or service not known"),
        (urllib.error.HTTPError("http://x", 403, "Forbidden", {}, None), DownloadError, "Forbidden"),
        (TimeoutError("timed out"), DownloadError, "timed out"),
        (OSError("SHA256 checksum differs"), DownloadError, "checksum"),
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "No space left on device"),
    ],
)
def test_a_download_that_fails_says_what_to_do_and_leaves_nothing(tmp_path, monkeypatch, failure, error, message):
    def fetch(**_):
        raise failure

    monkeypatch.setattr(sklearn.datasets, "fetch_california_housing", fetch)
    with pytest.raises(error, match=message) as caught:
        find_source(CALIFORNIA, data=None, cache=tmp_path)
    assert caught.value.hint
    if error is DownloadError:
        assert "--data" in caught.value.hint
        assert "APPRAISE_DATA_DIR" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
