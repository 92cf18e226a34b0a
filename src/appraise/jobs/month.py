"""The monthly run: the homes of one month valued with what was known before it, and measured where prices are known."""

from __future__ import annotations

import calendar
import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from appraise.datasets.frames import input_columns, prices
from appraise.datasets.loading import canonical
from appraise.datasets.paths import plain
from appraise.datasets.prepare import clean
from appraise.datasets.rejects import Sifted
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.table import date_of
from appraise.errors import DataError
from appraise.evaluation.metrics import measure
from appraise.jobs.outputs import check_apart, check_table_path, write_table
from appraise.jobs.progress import Progress
from appraise.jobs.workspace import Workspace
from appraise.registry.version import Version
from appraise.serving.batch.inputs import find_inputs
from appraise.serving.batch.layout import find_layout
from appraise.serving.batch.planning import plan_shards
from appraise.serving.batch.reading import Unit, read_shard
from appraise.serving.batch.valuing import Valuer
from appraise.serving.predictor import DEFAULT_LEVEL, Predictor

#: The column that a monthly run adds to those of every run: (estimate - price) / price.
RELATIVE_ERROR = "relative_error"
_METRICS = ("mdape", "mape", "ppe10", "ppe20", "bias")


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a year."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """The month of `2023-05`; raises ValueError for anything else."""
        day = dt.datetime.strptime(f"{text}-01", "%Y-%m-%d").replace(tzinfo=dt.UTC)
        if text != f"{day:%Y-%m}":
            raise ValueError(text)
        return cls(day.year, day.month)

    @property
    def first(self) -> dt.date:
        """Its first day."""
        return dt.date(self.year, self.month, 1)

    @property
    def last(self) -> dt.date:
        """Its last day."""
        return dt.date(self.year, self.month, calendar.monthrange(self.year, self.month)[1])

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def file_name(self) -> str:
        """What the run's file is called where nobody says otherwise."""
        return f"preds_{self.year:04d}_{self.month:02d}.parquet"


@dataclass(frozen=True, slots=True)
class MonthResult:
    """What a monthly run wrote, and how good it was.

    Attributes:
        dataset: the dataset's name.
        model_version: the version that valued the rows.
        month: which.
        rows: homes of the month.
        valued: how many have an estimate.
        measured: how many of them have a price.
        known_sales: sales that became known after training and before the month.
        metrics: errors as `appraise evaluate` names them, and `coverage` of the intervals; empty without prices.
        level: nominal level of the intervals.
        output: the file.
        replaced: whether a file was there before.
        unusable: how many of the estimates have the confidence grade `none`.
    """

    dataset: str
    model_version: str
    month: Month
    rows: int
    valued: int
    measured: int
    known_sales: int
    metrics: dict[str, float]
    level: float
    output: Path
    replaced: bool = False
    unusable: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "dataset": self.dataset,
            "model_version": self.model_version,
            "month": str(self.month),
            "rows": self.rows,
            "valued": self.valued,
            "refused": self.rows - self.valued,
            "unusable": self.unusable,
            "measured": self.measured,
            "known_sales": self.known_sales,
            "metrics": self.metrics,
            "level": self.level,
            "output": str(self.output),
            "replaced": self.replaced,
        }


def predict_month(
    spec: DatasetSpec,
    month: Month,
    *,
    workspace: Workspace,
    data: str | None,
    output: Path | None = None,
    version: Version | None = None,
    alias: str = "champion",
    level: float = DEFAULT_LEVEL,
    progress: Progress,
) -> MonthResult:
    """Value the homes of one month as it could have been done before the month began.

    The model is as it was trained, which must have ended before the month; sales since then and before the month are
    comparables and move the market level. Prices of the month itself are used for measuring alone.

    Args:
        spec: the dataset; it has a date of sale.
        month: which.
        workspace: where models and data are.
        data: a path or address to read in place of the spec's source.
        output: CSV, Parquet or JSON lines by its suffix; None is `preds_YYYY_MM.parquet` in the working folder.
        version, alias: which model.
        level: nominal level of the intervals, in (0, 1).
        progress: who watches.

    Raises:
        DataError: the data have no dates or no row of the month, or the model was trained on sales of it or after.
        UnknownModelError, BundleError: there is no such model, or it is damaged.
        OutputError: the output cannot be written.
    """
    output = plain(output or Path(month.file_name))
    check_table_path(output)
    predictor = Predictor.load(workspace.registry.resolve(spec.name, version=version, alias=alias))
    check_month(predictor, month)
    place = workspace.data_for(spec, data) or spec.source
    if place is None:
        raise DataError(f"the spec of {spec.name} does not say where its data are", hint="name them: --input FILE")
    replaced = output.is_file()
    with progress.task("data") as task:
        task.note(place)
        found = _Reader(predictor, month, workspace, place, output)
        units = list(found.units())
        known = found.known()
    if not units:
        raise DataError(
            f"{place} has no home of {month}; its dates are from {found.first} to {found.last}",
            hint="choose another month, or name newer data with --input",
        )
    with progress.task("estimates", total=sum(unit.table.num_rows for unit in units)) as task:
        live = predictor
        if known.height:
            live = predictor.with_sales(input_columns(predictor.spec, known), prices(predictor.spec, known))
        valuer = Valuer(live, found.layout, level)
        made = []
        for unit in units:
            made.append(valuer.value(unit))
            task.advance(unit.table.num_rows)
    frame = _with_errors(pl.DataFrame(pa.concat_tables([one.table for one in made])), predictor.spec)
    write_table(frame, output)
    measured = frame.filter(pl.col(RELATIVE_ERROR).is_not_null())
    return MonthResult(
        dataset=spec.name,
        model_version="" if predictor.manifest is None else str(predictor.manifest.version),
        month=month,
        rows=frame.height,
        valued=sum(one.valued for one in made),
        measured=measured.height,
        known_sales=known.height,
        metrics=_metrics(measured, predictor.spec),
        level=level,
        output=output,
        replaced=replaced,
        unusable=sum(one.unusable for one in made),
    )


def check_month(predictor: Predictor, month: Month) -> None:
    """Refuse a month that the model has learnt from.

    Raises:
        DataError: naming the first month that it can be asked for.
    """
    spec = predictor.spec
    if spec.sale_date is None:
        raise DataError(
            f"{spec.name} has no date of sale, and so no months", hint="value its homes with --input and --output"
        )
    last = date_of(predictor.last_sale)
    if month.first <= last:
        following = (last.replace(day=1) + dt.timedelta(days=31)).replace(day=1)
        raise DataError(
            f"the model of {spec.name} has learnt from sales up to {last}: in {month} it would know its own answers",
            hint=f"choose {following:%Y-%m} or a later month, or a --version that was trained before {month}",
        )


class _Reader:
    """Reads a table once, keeping the rows of a month and the sales that became known before it."""

    def __init__(self, predictor: Predictor, month: Month, workspace: Workspace, place: str, output: Path) -> None:
        self._spec = predictor.spec
        self._month = month
        self._since = date_of(predictor.last_sale)
        self._endpoint = workspace.s3_endpoint
        self._files = find_inputs(self._spec, place, cache=workspace.cache, endpoint=self._endpoint)
        check_apart((file.address for file in self._files), place, output)
        self.layout = find_layout(self._spec, self._files, endpoint=self._endpoint)
        self._known: list[pl.DataFrame] = []
        self.first: dt.date | None = None
        self.last: dt.date | None = None

    def units(self) -> Iterator[Unit]:
        """The rows of the month as they came."""
        date = self._spec.sale_date
        assert date is not None  # noqa: S101  `check_month` has seen it
        for shard in plan_shards(self._files, self.layout, endpoint=self._endpoint):
            for unit in read_shard(shard, self._files, self.layout, endpoint=self._endpoint):
                frame = self._canonical(unit)
                days = frame[date.name]
                self._see(days)
                known = frame.filter((days > self._since) & (days < self._month.first))
                if known.height:
                    self._known.append(known)
                here = days.is_between(self._month.first, self._month.last).fill_null(value=False)
                if here.any():
                    mask = here.to_arrow()
                    yield Unit(unit.layout, unit.table.filter(mask), unit.came.filter(mask))

    def known(self) -> pl.DataFrame:
        """Canonical rows of sales after training and before the month, checked and each once."""
        if not self._known:
            return pl.DataFrame()
        return clean(self._spec, Sifted.of(pl.concat(self._known))).frame

    def _canonical(self, unit: Unit) -> pl.DataFrame:
        """All rows of a unit with their prices."""
        match = unit.layout.match
        target = self._spec.target
        if target.header in unit.layout.names:
            absent = tuple(column for column in match.absent if column != target)
            match = replace(match, present=(*match.present, target), absent=absent)
        spec = replace(self._spec, csv=unit.layout.csv or self._spec.csv)
        headers = [column.header for column in match.present]
        return canonical(spec, pl.DataFrame(unit.table.select(headers)), match)[0]

    def _see(self, days: pl.Series) -> None:
        low, high = days.min(), days.max()
        if isinstance(low, dt.date) and isinstance(high, dt.date):
            self.first = low if self.first is None else min(self.first, low)
            self.last = high if self.last is None else max(self.last, high)


def _with_errors(frame: pl.DataFrame, spec: DatasetSpec) -> pl.DataFrame:
    """The rows with how far each estimate is from the price, as a share of it."""
    header = spec.target.header
    if header not in frame.columns:
        return frame.with_columns(pl.lit(None, pl.Float64).alias(RELATIVE_ERROR))
    price = pl.col(header).cast(pl.Float64, strict=False)
    error = pl.when(price > 0).then(pl.col("estimate") / price - 1)
    return frame.with_columns(error.alias(RELATIVE_ERROR))


def _metrics(measured: pl.DataFrame, spec: DatasetSpec) -> dict[str, float]:
    if measured.is_empty():
        return {}
    price = measured[spec.target.header].cast(pl.Float64).to_numpy()
    found = measure(price, measured["estimate"].to_numpy(), resamples=0)
    inside = (measured["lower"].to_numpy() <= price) & (price <= measured["upper"].to_numpy())
    figures = {key: found[key].value for key in _METRICS} | {"coverage": float(np.mean(inside))}
    return {key: value for key, value in figures.items() if math.isfinite(value)}
