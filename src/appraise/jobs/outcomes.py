"""Outcomes as a person sees to them: a file of sales taken row by row, and live accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from appraise.errors import AppraiseError, DataError, Problem
from appraise.jobs.inputs import check_readable
from appraise.jobs.outputs import check_table_path, write_table
from appraise.jobs.progress import Progress
from appraise.monitoring.accuracy import LiveAccuracy, live_accuracy
from appraise.store.database import Database
from appraise.store.outcome_fields import FIELDS, Outcome, read_outcome
from appraise.store.outcomes import Recorded, add_outcomes

_ROWS = 1_000
_NEEDED = ("price", "sold_at")


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row of a file that was not taken.

    Attributes:
        row: its place, counted from 1 without the header.
        reason: why, in one sentence.
    """

    row: int
    reason: str

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {"row": self.row, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class AddedOutcomes:
    """What became of the rows of a file.

    Attributes:
        file: it.
        rows: how many it has.
        recorded, known, corrected: how many were new, there already, or other than what was there.
        counted: how many of those count in live accuracy.
        refused: those that were not taken.
    """

    file: Path
    rows: int
    recorded: int
    known: int
    corrected: int
    counted: int
    refused: tuple[RefusedRow, ...]

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "file": str(self.file),
            "rows": self.rows,
            "recorded": self.recorded,
            "known": self.known,
            "corrected": self.corrected,
            "counted": self.counted,
            "refused": [row.to_dict() for row in self.refused],
        }


def add_file(
    file: Path, *, database: Database, spool: Path, actor: str, rejects: Path | None = None, progress: Progress
) -> AddedOutcomes:
    """Take the outcomes of a CSV or Parquet file, each row on its own.

    Args:
        file: with the columns `price`, `sold_at`, and `prediction_id` or `user_id`, perhaps `model_name`.
        database: where outcomes are kept.
        spool: where estimates are looked for that are not in the database yet.
        actor: who adds them.
        rejects: a file for the rows that are refused, with the reason of each.
        progress: watches.

    Raises:
        DataError: the file cannot be read, or lacks a column.
        StoreError: the database is away or refuses; what was taken before is kept, and the file can be given again.
        OutputError: `rejects` cannot be written.
    """
    if rejects is not None:
        check_table_path(rejects)
    frame = _read(file)
    counts = dict.fromkeys(("recorded", "known", "corrected", "counted"), 0)
    refused: list[RefusedRow] = []
    with database, progress.task("outcomes", total=len(frame)) as task:
        for start in range(0, len(frame), _ROWS):
            rows = [_fields(row) for row in frame.slice(start, _ROWS).iter_rows(named=True)]
            for place, result in enumerate(_added(rows, database, spool, file, actor), start + 1):
                if isinstance(result, Recorded):
                    counts[result.status] += 1
                    counts["counted"] += result.counted
                else:
                    refused.append(RefusedRow(place, result))
            task.advance(len(rows))
    if rejects is not None and refused:
        places = [one.row - 1 for one in refused]
        write_table(frame[places].with_columns(reason=pl.Series([one.reason for one in refused])), rejects)
    return AddedOutcomes(file, len(frame), **counts, refused=tuple(refused))


def accuracy(database: Database, *, days: int, model: str | None) -> LiveAccuracy:
    """How right estimates have been, by the sales of the last days; raises StoreError."""
    with database:
        return live_accuracy(database, days=days, model=model)


def _added(
    rows: list[dict[str, Any]], database: Database, spool: Path, file: Path, actor: str
) -> Iterator[Recorded | str]:
    read = [read_outcome(row) for row in rows]
    outcomes = [one for one in read if isinstance(one, Outcome)]
    added = iter(add_outcomes(database, spool, outcomes, source=file.name, caller=actor) if outcomes else ())
    for one in read:
        if not isinstance(one, Outcome):
            yield "; ".join(map(_sentence, one))
            continue
        result = next(added)
        yield result.message if isinstance(result, AppraiseError) else result


def _sentence(problem: Problem) -> str:
    return f"{problem.field or 'the row'} {problem.constraint}, received {problem.received}"


def _read(file: Path) -> pl.DataFrame:
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise DataError(f"{file} is neither .csv nor .parquet", hint="give one of these")
    check_readable(file)
    try:
        frame = pl.read_csv(file, infer_schema=False) if suffix == ".csv" else pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error
    missing = [name for name in _NEEDED if name not in frame.columns]
    if not {"prediction_id", "user_id"} & set(frame.columns):
        missing.append("prediction_id (or user_id)")
    if missing:
        raise DataError(
            f"{file} has no column {missing[0]}",
            hint=f"its columns should be prediction_id or user_id, and {' and '.join(_NEEDED)}",
        )
    return frame


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's own fields; the text of a price as a number, where it is one."""
    fields = {name: row.get(name) for name in FIELDS if row.get(name) not in (None, "")}
    price = fields.get("price")
    if isinstance(price, str):
        try:
            fields["price"] = float(price)
        except ValueError:
            # The check of the row says what is asked of it.
            return fields
    return fields
