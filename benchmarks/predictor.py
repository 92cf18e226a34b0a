"""Speed of the predictor in process, beside the usual way: a scikit-learn pipeline on a pandas frame.

    python benchmarks/predictor.py

Ours checks the row, encodes it, finds comparables, runs the model and makes an interval; the other runs its encoder
and a gradient boosted model, and makes no interval. Both are trained on the same California rows.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from _report import Figure, held_against, parser, say, show
from accuracy import ours
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBRegressor

from appraise.datasets.prepare import prepare
from appraise.datasets.presets import find_spec


def main() -> None:
    """Run it."""
    arguments = parser(__doc__)
    arguments.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments.add_argument("--data-dir", type=Path, default=os.environ.get("APPRAISE_DATA_DIR"))
    chosen = arguments.parse_args()
    spec = find_spec("california")
    data = None if chosen.data_dir is None else Path(chosen.data_dir) / "california_housing.csv"
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(spec, data=data, cache=Path(folder), memory_limit=None)
    fit, holdout = ours(spec, prepared, "fast", chosen.threads)
    say(f"the default model is {fit.chosen.kind}")
    predictor = fit.predictor
    names = [column.name for column in spec.inputs]
    rows = [dict(zip(names, values, strict=True)) for values in holdout.table.values.tolist()]
    pipeline = usual_way(prepared.frame[prepared.split.train].to_pandas(), names, spec.target.name, chosen.threads)
    usual_row = Figure(
        "sklearn-pipeline-1-row", microseconds(lambda i: pipeline.predict(pd.DataFrame([rows[i]])), 200), "us"
    )
    usual_many = Figure(
        "sklearn-pipeline-1000-rows",
        microseconds(lambda _: pipeline.predict(pd.DataFrame(rows[:1000])), 10) / 1e3,
        "ms",
    )
    columns = {name: values[:1000] for name, values in holdout.columns.items()}
    show(
        [
            held_against("appraise/1-row", microseconds(lambda i: predictor.predict([rows[i]]), 1000), "us", usual_row),
            usual_row,
            held_against(
                "appraise/1000-rows", microseconds(lambda _: predictor.predict(rows[:1000]), 30) / 1e3, "ms", usual_many
            ),
            held_against(
                "appraise/1000-rows-columns",
                microseconds(lambda _: predictor.predict_columns(columns), 30) / 1e3,
                "ms",
                usual_many,
            ),
            usual_many,
        ],
        as_json=chosen.json,
    )


def usual_way(frame: pd.DataFrame, names: list[str], target: str, threads: int) -> Pipeline:
    """A fitted scikit-learn pipeline."""
    pipeline = Pipeline(
        [
            ("prepare", ColumnTransformer([("scale", StandardScaler(), names)])),
            ("model", XGBRegressor(n_estimators=800, learning_rate=0.05, max_depth=6, n_jobs=threads)),
        ]
    )
    return pipeline.fit(frame[names], frame[target])


def microseconds(call: Callable[[int], Any], times: int) -> float:
    """Median time of a call, after a few that warm up."""
    for i in range(3):
        call(i)
    taken = []
    for i in range(times):
        started = time.perf_counter()
        call(i)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e6


if __name__ == "__main__":
    main()
