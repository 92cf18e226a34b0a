"""From a canonical frame to columns that need no frame library."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.spec import DatasetSpec


def input_columns(spec: DatasetSpec, frame: pl.DataFrame) -> dict[str, NDArray[Any] | list[Any]]:
    """The columns that reach the model, as far as the frame has them.

    Returns:
        Numbers, integers and booleans as float64 with NaN for missing values, dates as datetime64[D] with NaT, others
        as lists of text and None.
    """
    columns: dict[str, NDArray[Any] | list[Any]] = {}
    for column in spec.inputs:
        if column.name not in frame.columns:
            continue
        values = frame[column.name]
        match column.kind:
            case "number" | "integer" | "boolean":
                columns[column.name] = values.cast(pl.Float64).to_numpy()
            case "date":
                columns[column.name] = values.to_numpy().astype("datetime64[D]")
            case _:
                columns[column.name] = values.to_list()
    return columns


def prices(spec: DatasetSpec, frame: pl.DataFrame) -> NDArray[np.float64]:
    """The target, shape (n,), float64."""
    values: NDArray[np.float64] = frame[spec.target.name].cast(pl.Float64).to_numpy()
    return values
