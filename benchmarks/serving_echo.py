"""The yardstick of `serving.py`: a FastAPI route that checks a row by a pydantic model and gives it back."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel


class Row(BaseModel):
    """A home of the California data."""

    MedInc: float
    HouseAge: float
    AveRooms: float
    AveBedrms: float
    Population: float
    AveOccup: float
    Latitude: float
    Longitude: float


class Echo(BaseModel):
    """An answer of ten fields."""

    prediction: float
    lower: float
    upper: float
    model_name: str
    model_version: str
    timestamp: str
    confidence_score: float
    warnings: list[str]
    input_features: Row
    processing_time_ms: float


app = FastAPI()


@app.post("/predict")
async def predict(row: Row) -> Echo:
    """Give the row back."""
    return Echo(
        prediction=row.MedInc,
        lower=0.0,
        upper=1.0,
        model_name="echo",
        model_version="1.0.0",
        timestamp="2026-01-01T00:00:00Z",
        confidence_score=0.9,
        warnings=[],
        input_features=row,
        processing_time_ms=0.1,
    )
