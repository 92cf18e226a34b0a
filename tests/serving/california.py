"""A made-up California, large enough for a model to be trained on it."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from appraise.bootstrap import build_workspace
from appraise.datasets.presets import find_spec
from appraise.jobs import fitting
from appraise.jobs.progress import SilentProgress
from appraise.jobs.train import TrainOptions, train
from appraise.settings import Settings

#: A home that a model of it values without a warning.
HOME = {
    "MedInc": 8.3252,
    "HouseAge": 41.0,
    "AveRooms": 6.984127,
    "AveBedrms": 1.02381,
    "Population": 322.0,
    "AveOccup": 2.555556,
    "Latitude": 37.88,
    "Longitude": -122.23,
}


def train_california(folder: Path, *, rows: int, west: float = 1.0, iterations: int) -> Path:
    """Train a small `california` 1.0.0, the champion, in the cache too; returns its home.

    Args:
        folder: where the home is made, and the sales.
        rows, west: as of `write_sales`.
        iterations: of the models by which its uncertainty is learnt.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("APPRAISE_"):
                patch.delenv(name)
        patch.chdir(folder)
        patch.setattr(fitting, "candidate_kinds", lambda _quality, _rows: (("catboost",), ()))
        patch.setattr(fitting, "_OUT_OF_FOLD_ITERATIONS", iterations)
        workspace = build_workspace(Settings(home=folder / "home"))
        data = str(write_sales(folder / "sales.csv", rows=rows, west=west))
        spec, options = find_spec("california"), TrainOptions()
        train(spec, workspace=workspace, data=data, options=options, progress=SilentProgress())
        workspace.registry.resolve("california")
    return folder / "home"


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
