"""A made-up California, large enough for a model to be trained on it."""

import csv
from pathlib import Path

import numpy as np


def write_sales(path: Path, *, rows: int, west: float = 1.0) -> Path:
    """Write sales as a CSV file, prices by income, `west` times as high in the western half; returns the file."""
    random = np.random.default_rng(7)
    income = random.lognormal(1.2, 0.5, rows)
    columns = {
        "MedInc": income,
        "HouseAge": random.integers(1, 52, rows).astype(float),
        "AveRooms": random.normal(5.4, 1.0, rows).clip(2, 12),
        "AveBedrms": random.normal(1.05, 0.05, rows).clip(0.8, 1.4),
        "Population": random.integers(50, 4000, rows).astype(float),
        "AveOccup": random.normal(2.9, 0.5, rows).clip(1, 6),
        "Latitude": random.uniform(33, 40, rows),
        "Longitude": random.uniform(-123, -116, rows),
    }
    price = 0.5 * income * np.where(columns["Longitude"] < -120, west, 1.0) * random.lognormal(0, 0.1, rows)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*columns, "MedHouseVal"])
        writer.writerows(zip(*columns.values(), price, strict=True))
    return path
