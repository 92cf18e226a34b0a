"""From what a person names to files on this machine: paths, folders, globs, S3 addresses, public and made-up data."""

from __future__ import annotations

import errno
import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from appraise.datasets import simulate
from appraise.datasets.atomic import replacing
from appraise.datasets.parquetread import PARQUET_SUFFIXES
from appraise.datasets.paths import plain
from appraise.datasets.s3 import fetch_s3
from appraise.datasets.spec import DatasetSpec
from appraise.errors import DataError, DownloadError, OutputError, did_you_mean

TABLE_SUFFIXES = (*PARQUET_SUFFIXES, ".csv", ".tsv", ".txt")

_CALIFORNIA = "california_housing"
_DOWNLOAD_SECONDS = 30.0
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_SOURCE = "say where they are with --data, or write source = ... in the spec"


@dataclass(frozen=True, slots=True)
class Source:
    """Files to read.

    Attributes:
        label: what they are, for people.
        files: at least one, in order.
        notes: what a person should know about them.
    """

    label: str
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def find_source(spec: DatasetSpec, *, data: str | Path | None, cache: Path, s3_endpoint: str | None = None) -> Source:
    """The files of a dataset; those that come from elsewhere are put into the cache first.

    Args:
        spec: its `source` is used where `data` is None; a relative one starts from the spec's folder.
        data: a path, folder, glob, `s3://` address, `sklearn:california_housing` or `simulate:NAME`.
        cache: folder for what can be fetched or made again.
        s3_endpoint: address of an S3 service other than Amazon's.

    Raises:
        DataError: there is no such place, or nothing to read in it.
        DownloadError: a public dataset cannot be fetched.
        OutputError: the cache cannot be written.
    """
    address = str(data) if data is not None else spec.source
    if address is None:
        raise DataError(f"the spec of {spec.name} does not say where its data are", hint=_NO_SOURCE)
    scheme, separator, rest = address.partition(":")
    if not separator or len(scheme) == 1:  # a letter is a drive
        folder = Path(spec.path).parent if data is None and spec.path is not None else Path()
        return _local(address, folder)
    match scheme:
        case "sklearn":
            return Source(address, (_california(rest, cache),))
        case "simulate":
            return Source(address, (_simulated(rest, cache),), (simulate.SOURCE_NOTE,))
        case "s3":
            return Source(address, fetch_s3(address, cache / "s3", suffixes=TABLE_SUFFIXES, endpoint=s3_endpoint))
        case _ if Path(address).exists():
            return _local(address, Path())
        case _:
            raise DataError(
                f"{address} cannot be read: {scheme}: is no place that data are read from",
                hint="download the file and give its path; s3:// addresses can be read as they are",
            )


def _local(address: str, folder: Path) -> Source:
    path = plain(folder / Path(address).expanduser())
    if path.is_dir():
        return Source(str(path), _tables_in(path))
    if path.exists():
        return Source(str(path), (path,))
    if any(mark in address for mark in "*?["):
        anchor = Path(path.anchor)
        files = tuple(sorted(each for each in anchor.glob(str(path.relative_to(anchor))) if each.is_file()))
        if files:
            return Source(str(path), files)
        raise DataError(f"no file matches {path}", hint="check the pattern; quote it so that the shell leaves it alone")
    near = did_you_mean(path.name, _names_in(path.parent))
    raise DataError(f"there is no file {path}", hint=near or "check the path")


def _tables_in(folder: Path) -> tuple[Path, ...]:
    """Parquet files of a folder and the folders in it, or else its delimited text files."""
    found = sorted(
        each
        for each in folder.rglob("*")
        if each.is_file() and not any(part.startswith((".", "_")) for part in each.relative_to(folder).parts)
    )
    parquet = tuple(each for each in found if each.suffix.lower() in PARQUET_SUFFIXES)
    text = tuple(each for each in found if each.suffix.lower() in TABLE_SUFFIXES and each not in parquet)
    if parquet and text:
        raise DataError(
            f"the folder {folder} holds both Parquet and text files, such as {parquet[0].name} and {text[0].name}",
            hint=f"say which to read: --data '{folder}/*.parquet'",
        )
    if not parquet and not text:
        raise DataError(
            f"the folder {folder} holds no data file", hint=f"it should hold {', '.join(TABLE_SUFFIXES)} files"
        )
    return parquet or text


def _names_in(folder: Path) -> list[str]:
    try:
        return [each.name for each in folder.iterdir()]
    except OSError:
        return []


def _simulated(name: str, cache: Path) -> Path:
    """The made-up table of that name in its usual size."""
    if name not in simulate.DEFAULT_ROWS:
        raise DataError(
            f"there is no simulator {name!r}",
            hint=did_you_mean(name, simulate.DEFAULT_ROWS) or f"choose one of {', '.join(simulate.DEFAULT_ROWS)}",
        )
    rows, seed = simulate.DEFAULT_ROWS[name], 0
    path = cache / "simulated" / f"{name}-{rows}-{seed}-v{simulate.VERSION}.parquet"
    if not path.is_file():
        _write_parquet(simulate.simulate_table(name, rows=rows, seed=seed), path)
    return path


def _california(name: str, cache: Path) -> Path:
    """California Housing through scikit-learn's own loader, kept as Parquet.

    The loader's cache is a pickle; it stays in a temporary folder.
    """
    if name != _CALIFORNIA:
        raise DataError(f"sklearn:{name} is not known", hint=f"the one that is known is sklearn:{_CALIFORNIA}")
    path = cache / "sklearn" / f"{_CALIFORNIA}.parquet"
    if path.is_file():
        return path
    from sklearn.datasets import fetch_california_housing

    with _scratch(cache) as folder, _socket_timeout(_DOWNLOAD_SECONDS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the loader warns of each attempt
        try:
            bunch = fetch_california_housing(data_home=folder, n_retries=1, delay=0.5)
        except OSError as error:
            if error.errno in _DISK_ERRORS:
                raise _unwritable(cache, error) from error
            cause = getattr(error, "reason", None) or error
            raise DownloadError(
                f"California Housing could not be downloaded: {getattr(cause, 'strerror', None) or cause}",
                hint="without a network name its file by --data, or the folder that holds it by APPRAISE_DATA_DIR",
            ) from error
    columns = dict(zip(bunch.feature_names, bunch.data.T, strict=True))
    _write_parquet(pl.DataFrame({**columns, bunch.target_names[0]: bunch.target}), path)
    return path


@contextmanager
def _scratch(cache: Path) -> Iterator[str]:
    """A temporary folder in the cache."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True)
    except OSError as error:
        raise _unwritable(cache, error) from error
    with folder as name:
        yield name


def _unwritable(cache: Path, error: OSError) -> OutputError:
    return OutputError(
        f"the cache {cache} cannot be written: {error.strerror}",
        hint="free space, or set APPRAISE_HOME to a folder that may be written",
    )


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """scikit-learn's loader waits for ever otherwise."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _write_parquet(frame: pl.DataFrame, path: Path) -> None:
    from pyarrow import parquet

    # polars reports a full disk as an error of computation, Arrow as the OSError that it is.
    with replacing(path) as temporary:
        parquet.write_table(frame.to_arrow(), temporary)
