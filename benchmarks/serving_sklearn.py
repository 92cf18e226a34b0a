"""A peer of `serving.py`: the usual FastAPI service, a pandas frame through a scikit-learn pipeline.

`BOOSTER` names the CatBoost file, `ROWS` a JSON file of rows by which the pipeline's first step is fitted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
from catboost import CatBoostRegressor
from fastapi import FastAPI
from serving_echo import Echo, Row
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline


def _pipeline() -> Pipeline:
    frame = pd.DataFrame(json.loads(Path(os.environ["ROWS"]).read_text(encoding="utf-8")))
    prepare = ColumnTransformer([("fill", SimpleImputer(strategy="median"), list(frame.columns))]).fit(frame)
    return Pipeline([("prepare", prepare), ("model", CatBoostRegressor().load_model(os.environ["BOOSTER"]))])


app = FastAPI()
pipeline = _pipeline()


@app.post("/predict")
async def predict(row: Row) -> Echo:
    """Value a row."""
    estimate = float(pipeline.predict(pd.DataFrame([row.model_dump()]))[0])
    return Echo(
        prediction=estimate,
        lower=estimate - 1.0,
        upper=estimate + 1.0,
        model_name="california",
        model_version="1.0.0",
        timestamp="2026-01-01T00:00:00Z",
        confidence_score=0.9,
        warnings=[],
        input_features=row,
        processing_time_ms=0.1,
    )
