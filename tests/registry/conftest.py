"""Small bundles, and registries that live in a temporary folder."""

import dataclasses
import datetime as dt
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from appraise.features.state import State
from appraise.registry.bundle import write_bundle
from appraise.registry.manifest import Manifest
from appraise.registry.mlflow_registry import Registry
from appraise.registry.version import FIRST

MANIFEST = Manifest(
    name="homes",
    version=FIRST,
    kind="catboost",
    created_at=dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC),
    spec={"name": "homes", "columns": []},
    spec_hash="a" * 64,
    metrics={"holdout": {"rmse": 0.4}},
    training_ranges={"square_feet": [300.0, 9000.0]},
    git_commit=None,
    data_hash=None,
    libraries={"numpy": "2"},
    extra={},
)
PARTS = {
    "encoder": State({"levels": ["a", "b"], "smoothing": 0.1 + 0.2}),
    "pool": State({"columns": ["x"]}, {"price": np.array([1.5, np.nan, np.inf]), "city": np.array(["Zürich", "Bern"])}),
}
NATIVES = {"catboost.cbm": b"CBM1 trees"}


@pytest.fixture
def manifest() -> Manifest:
    return MANIFEST


@pytest.fixture
def parts() -> dict[str, State]:
    return PARTS


@functools.cache
def _empty_store(folder: Path) -> Path:
    """A SQLite store with MLflow's tables and nothing in it; MLflow takes seconds to make one."""
    registry = Registry(f"sqlite:///{folder / 'empty.db'}", str(folder / "artifacts"), folder / "cache")
    registry._client.search_experiments()
    return folder / "empty.db"


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Writes a bundle, with what the manifest should say otherwise, and returns its folder."""
    count = iter(range(1000))

    def make(**manifest: object) -> Path:
        folder = tmp_path / f"bundle-{next(count)}"
        write_bundle(folder, manifest=dataclasses.replace(MANIFEST, **manifest), parts=PARTS, natives=NATIVES)
        return folder

    return make


@pytest.fixture
def registry(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry with a SQLite store and artifacts in a folder."""
    store = tmp_path / "home" / "mlflow.db"
    store.parent.mkdir()
    shutil.copy(_empty_store(tmp_path_factory.getbasetemp()), store)
    return Registry(f"sqlite:///{store}", str(tmp_path / "home" / "artifacts"), tmp_path / "home" / "cache")
