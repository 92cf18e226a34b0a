"""From rows as they came to rows with estimates, or with the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from appraise.datasets.checks import Bounds, widened
from appraise.datasets.frames import input_columns
from appraise.datasets.loading import canonical, typed_column
from appraise.datasets.prepare import clean
from appraise.datasets.rejects import Sifted
from appraise.datasets.spec import DatasetSpec
from appraise.serving.batch.arrays import numbers, picked, repeated, texts
from appraise.serving.batch.layout import Layout
from appraise.serving.batch.reading import Unit
from appraise.serving.estimates import GRADES
from appraise.serving.predictor import Estimates, Predictor


@dataclass(frozen=True, slots=True)
class Valued:
    """The rows of a unit.

    Attributes:
        table: the rows in their order under the columns of the output.
        valued: how many have an estimate.
        unusable: how many of the estimates have the confidence grade `none`.
    """

    table: pa.Table
    valued: int
    unusable: int


class Valuer:
    """Values units of rows.

    Args:
        predictor: the model.
        layout: what the output looks like.
        level: nominal level of the intervals, in (0, 1).
    """

    def __init__(self, predictor: Predictor, layout: Layout, level: float) -> None:
        self._predictor = predictor
        self._layout = layout
        self._level = level
        self._most = usual_places(predictor)
        self._version = "" if predictor.manifest is None else str(predictor.manifest.version)

    def value(self, unit: Unit) -> Valued:
        """The rows of a unit with their estimates."""
        spec = replace(self._predictor.spec, csv=unit.layout.csv or self._predictor.spec.csv)
        headers = [column.header for column in unit.layout.match.present]
        frame, unreadable = canonical(spec, pl.DataFrame(unit.table.select(headers)), unit.layout.match)
        rows = Sifted.of(frame).without(unreadable, step="read")
        rows = clean(spec, rows, target_needed=False, most=self._most)
        estimates = self._predictor.predict_columns(input_columns(spec, rows.frame), level=self._level)
        came = self._came(spec, unit, frame)
        added = self._added(rows, estimates, frame.height)
        table = pa.Table.from_arrays([*came, *added], schema=self._layout.schema)
        unusable = int(np.count_nonzero(estimates.grade_codes == GRADES.index("none")))
        return Valued(_with_broken(table, unit), rows.frame.height, unusable)

    def _came(self, spec: DatasetSpec, unit: Unit, frame: pl.DataFrame) -> list[pa.ChunkedArray[Any]]:
        """The input's columns in the types of the output."""
        columns = []
        for field in self._layout.came:
            if field.name not in unit.table.column_names:
                columns.append(pa.chunked_array([pa.nulls(unit.table.num_rows, field.type)]))
                continue
            column = (unit.came if self._layout.cells else unit.table).column(field.name)
            if unit.layout.csv is not None and field.type != pa.string():
                column = _typed(spec, field.name, unit, frame)
            columns.append(column.cast(field.type))
        return columns

    def _added(self, rows: Sifted, estimates: Estimates, count: int) -> list[pa.Array[Any]]:
        known = None
        if len(rows.position) < count:
            known = np.zeros(count, np.bool_)
            known[rows.position] = True

        def spread(values: NDArray[np.float64]) -> pa.Array[Any]:
            if known is None:
                return numbers(values)
            wide = np.zeros(count)
            wide[rows.position] = values
            return numbers(wide, known)

        return [
            spread(estimates.estimate),
            spread(estimates.lower),
            spread(estimates.upper),
            spread(estimates.confidence),
            picked(rows.position, estimates.grade_codes, GRADES, count),
            self._warnings(rows, estimates, count),
            repeated(self._version, count, known),
            texts(rows.rejected["position"].to_numpy(), rows.rejected["reason"].to_list(), count),
        ]

    def _warnings(self, rows: Sifted, estimates: Estimates, count: int) -> pa.Array[Any]:
        # Most rows have none: a loop over all of them in Python would take as long as their features.
        told = list(compress(range(len(estimates)), estimates.warnings))
        return texts(rows.position[told], ["; ".join(estimates.warnings[place]) for place in told], count)


def usual_places(predictor: Predictor) -> Mapping[str, Bounds] | None:
    """Where most homes are, by the names of latitude and longitude: the places seen in training, with room to spare."""
    spec = predictor.spec
    if spec.latitude is None or spec.longitude is None:
        return None
    places = {}
    for name in (spec.latitude.name, spec.longitude.name):
        low, high = predictor.ranges[predictor.vocabulary.names_.index(name)]
        if not np.isnan(low):
            places[name] = widened(float(low), float(high))
    return places


def _typed(spec: DatasetSpec, header: str, unit: Unit, frame: pl.DataFrame) -> pa.ChunkedArray[Any]:
    """A column of text in the type of its kind: one that was read already, or the price, which is not."""
    column = next(column for column in spec.columns if column.header == header)
    values = frame[column.name]
    if column.role == "target":
        values = typed_column(pl.Series(unit.table.column(header)), column, spec)[0]
    return pa.chunked_array([values.to_arrow()])


def _with_broken(table: pa.Table, unit: Unit) -> pa.Table:
    """The table with the rows that could not be told apart into columns in their places, empty but for the reason."""
    if not unit.broken:
        return table
    reasons = {"error": pa.array([row.reason for row in unit.broken], pa.string())}
    empty = pa.Table.from_arrays(
        [reasons.get(field.name, pa.nulls(len(unit.broken), field.type)) for field in table.schema],
        schema=table.schema,
    )
    total = table.num_rows + len(unit.broken)
    order = np.full(total, -1, np.int64)
    broken = np.array([row.row for row in unit.broken])
    order[broken] = table.num_rows + np.arange(len(broken))
    order[order < 0] = np.arange(table.num_rows)
    return pa.concat_tables([table, empty]).take(order)
