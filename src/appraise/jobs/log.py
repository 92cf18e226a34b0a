"""The prediction log as a person sees to it: verified, exported, looked at."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from appraise.datasets.atomic import replacing
from appraise.errors import DataError, LogError, OutputError, StoreError
from appraise.jobs.inputs import check_readable
from appraise.jobs.progress import Progress
from appraise.store.backlog import Backlog, read_backlog
from appraise.store.database import Database
from appraise.store.leadership import leadership
from appraise.store.loader import Loader
from appraise.store.logplan import LogPlan
from appraise.store.predictions import count_since, stream
from appraise.store.rows import COLUMNS, row_of
from appraise.store.verify import verify, verify_export
from appraise.store.walk import Verification

if TYPE_CHECKING:
    import pyarrow as pa

_PLACE = ("created_at", "segment", "position", "previous_hash", "record_hash", "record")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        rows: predictions.
        output: the file, None for the standard output.
    """

    rows: int
    output: Path | None

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {"rows": self.rows, "output": None if self.output is None else str(self.output)}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was brought into the database.

    Attributes:
        records: predictions.
        unloaded_bytes: what still waits, as what a process writes that lives.
    """

    records: int
    unloaded_bytes: int

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {"records": self.records, "unloaded_bytes": self.unloaded_bytes}


@dataclass(frozen=True, slots=True)
class LogStatus:
    """Where a log stands.

    Attributes:
        folder: its spool.
        mode: how estimates are recorded.
        backlog: what waits there.
        records: predictions in the database, None where it was not asked.
        database_trouble: why it was not.
    """

    folder: Path
    mode: str
    backlog: Backlog
    records: int | None
    database_trouble: str | None

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        backlog = self.backlog
        return {
            "folder": str(self.folder),
            "mode": self.mode,
            "segments": backlog.segments,
            "spool_bytes": backlog.spool_bytes,
            "unloaded_bytes": backlog.unloaded_bytes,
            "oldest_unloaded_seconds": round(backlog.oldest_seconds, 3),
            "loading": backlog.loading,
            "loader_trouble": backlog.trouble,
            "records_in_database": self.records,
            "database_trouble": self.database_trouble,
        }


def verify_log(plan: LogPlan, database: Database | None, *, progress: Progress) -> Verification:
    """Walk the chains of the spool and of the database.

    Args:
        plan: whose spool.
        database: the spool alone where None.
        progress: watches.

    Raises:
        LogError: the spool cannot be read, or there is no log: an audit of the wrong place must not pass.
    """
    try:
        with progress.task("verifying") as task, _reading(plan.folder):
            found = verify(plan.folder, database, advance=task.advance)
    finally:
        if database is not None:
            database.close()
    if found.whole and found.database_trouble is None and not any(found.segments.values()) and not found.unlisted:
        asked = "" if database is None else ", nor in the database"
        raise LogError(
            f"there is no prediction log in {plan.folder}{asked}: nothing was verified",
            hint="set APPRAISE_HOME to the home of the service that made it; a log begins with the first service",
        )
    return found


def verify_file(path: Path, *, progress: Progress) -> Verification:
    """Walk the chains of a file that `export` wrote.

    Raises:
        DataError: it is not such a file.
    """
    with progress.task("verifying") as task:
        return verify_export(_read_export(path), advance=task.advance)


def export(
    database: Database | None,
    sink: IO[bytes] | Path,
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    progress: Progress,
) -> Exported:
    """Write predictions as Parquet, in the order of the chain.

    Args:
        database: where they are; None for one that was never made, which has none.
        sink: a stream of bytes or the path of a file.
        since, until: made at or after, and before.
        progress: watches.

    Raises:
        StoreError: the database cannot be read.
        OutputError: the file cannot be written.
    """
    with database or nullcontext():
        total, rows = 0, iter(list[list[tuple[Any, ...]]]())
        if database is not None:
            database.check()
            with database.connect() as connection:
                total = count_since(connection, since)
            rows = stream(database, since=since, until=until)
        with progress.task("exporting", total=total) as task:
            if isinstance(sink, Path):
                with replacing(sink) as temporary, temporary.open("wb") as opened:
                    count = _write_export(opened, rows, task.advance)
                return Exported(count, sink)
            try:
                return Exported(_write_export(sink, rows, task.advance), None)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OutputError(
                    f"the export cannot be written: {error.strerror or error}",
                    hint="make room where it goes, or write it elsewhere",
                ) from error


def load(plan: LogPlan, database: Database) -> Loaded:
    """Bring what waits in the spool into the database, where no service does.

    Raises:
        StoreError: the database is away or refuses; what was loaded before is kept.
        LogError: another process loads it, or the spool cannot be read.
    """
    ended = threading.Event()
    ended.set()
    with database, _reading(plan.folder), leadership(plan.folder, ended) as leads:
        if not leads:
            raise LogError(
                f"another process loads the prediction log in {plan.folder}",
                hint="see how far it is: appraise log status",
            )
        with closing(Loader(plan.folder, database, keep_days=plan.keep_days)) as loader:
            loaded = loader.load()
    return Loaded(loaded, read_backlog(plan.folder).unloaded_bytes)


def log_status(plan: LogPlan, database: Database | None) -> LogStatus:
    """Where a log stands; a database that is away is told, not raised.

    Raises:
        LogError: the spool cannot be read.
    """
    records, trouble = None, None
    if database is not None:
        try:
            with database, database.connect() as connection:
                records = count_since(connection, None)
        except StoreError as error:
            trouble = error.message
    with _reading(plan.folder):
        return LogStatus(plan.folder, plan.mode, read_backlog(plan.folder), records, trouble)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Say of a spool that cannot be read what to do about it."""
    try:
        yield
    except OSError as error:
        raise LogError(
            f"the prediction log in {folder} cannot be read: {error.strerror or error}",
            hint="run as the user whose service wrote it, or as root",
        ) from error


def _write_export(sink: IO[bytes], rows: Iterator[list[tuple[Any, ...]]], advance: Any) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, count = _schema(), 0
    with pq.ParquetWriter(pa.PythonFile(cast(Any, sink), mode="w"), schema, compression="zstd") as writer:
        for some in rows:
            writer.write_table(_table(some, schema))
            count += len(some)
            advance(len(some))
    return count


def _schema() -> pa.Schema:
    import pyarrow as pa

    kinds: dict[str, pa.DataType] = {
        "created_at": pa.timestamp("us", tz="UTC"),
        "level": pa.float64(),
        "estimate": pa.float64(),
        "lower": pa.float64(),
        "upper": pa.float64(),
        "confidence": pa.float64(),
        "warnings": pa.list_(pa.string()),
        "latency_ms": pa.float64(),
        "price_unit": pa.float64(),
        "position": pa.int64(),
        "previous_hash": pa.binary(32),
        "record_hash": pa.binary(32),
    }
    names = (*COLUMNS, "segment", "position", "previous_hash", "record_hash")
    return pa.schema([(name, kinds.get(name, pa.string())) for name in names])


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns: list[list[Any]] = [[] for _ in schema]
    for created_at, segment, position, previous, digest, record in rows:
        values = (*row_of(record.encode()), segment, position, previous, digest)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        columns[1][-1] = created_at
    return pa.Table.from_arrays(
        [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema
    )


def _read_export(path: Path) -> Iterator[list[tuple[Any, ...]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_readable(path)
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in _PLACE if name not in file.schema_arrow.names]
            if missing:
                raise DataError(
                    f"{path} is not an export of the prediction log: it has no column {missing[0]}",
                    hint="write one: appraise log export > log.parquet",
                )
            for batch in file.iter_batches(5_000, columns=list(_PLACE)):
                yield list(zip(*(batch.column(name).to_pylist() for name in _PLACE), strict=True))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{path} is not an export of the prediction log: {str(error).splitlines()[0]}",
            hint="write one: appraise log export > log.parquet",
        ) from error
