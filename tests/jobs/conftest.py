"""Small models that are trained once: dated with places, undated without, and the real data where they are."""

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest

from appraise.datasets.presets import find_spec
from appraise.datasets.simulate import simulate_table
from appraise.datasets.spec import DatasetSpec
from appraise.jobs import fitting
from appraise.jobs.progress import SilentProgress
from appraise.jobs.train import TrainOptions, TrainResult, train
from appraise.jobs.workspace import Workspace
from appraise.models import intervals
from appraise.registry.mlflow_registry import Registry

REAL = Path(__file__).parents[3] / "shared" / "data"

#: Few and large steps: the libraries are not what is under test.
QUICK = {
    "catboost": {"iterations": 60, "learning_rate": 0.2, "depth": 4},
    "lightgbm": {"n_estimators": 60, "learning_rate": 0.2, "num_leaves": 8},
}


@contextmanager
def quick_fitting(*kinds: str, iterations: int = 40) -> Iterator[None]:
    """Fitting that compares these kinds alone, with small models for the scale and for uncertainty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "candidate_kinds", lambda _quality, _rows: (kinds, ()))
        patch.setattr(fitting, "_SCALE_TRIAL_ITERATIONS", iterations)
        patch.setattr(fitting, "_OUT_OF_FOLD_ITERATIONS", iterations)
        patch.setattr(intervals, "_SCALE_ITERATIONS", iterations)
        # What one row takes depends on what else the machine does.
        patch.setattr(fitting.Fitting, "_row_time", lambda _self, model: 10.0 * len(getattr(model, "parts", (model,))))
        yield


@functools.cache
def _empty_store() -> bytes:
    """A registry's database before its first run; to make one takes longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mlflow.db"
        with Registry(f"sqlite:///{file}", folder, Path(folder)).run("none", name="none"):
            pass
        return file.read_bytes()


def make_workspace(home: Path) -> Workspace:
    """A workspace without models."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "mlflow.db").write_bytes(_empty_store())
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}", str(home / "artifacts"), home / "cache" / "models")
    return Workspace(home=home, registry=registry)


@dataclass(frozen=True)
class Trained:
    """A workspace in which a model of a dataset was trained."""

    spec: DatasetSpec
    workspace: Workspace
    data: Path
    result: TrainResult

    @property
    def frame(self) -> pl.DataFrame:
        return pl.read_parquet(self.data)


def train_quickly(
    spec: DatasetSpec, workspace: Workspace, data: Path, options: TrainOptions | None = None, *kinds: str
) -> TrainResult:
    """`train` with one or a few small models."""
    options = options or TrainOptions()
    with quick_fitting(*(kinds or ("catboost",))):
        return train(
            spec,
            workspace=workspace,
            data=str(data),
            options=options if options.parameters else replace(options, parameters=QUICK),
            progress=SilentProgress(),
        )


def _trained(name: str, rows: int, home: Path) -> Trained:
    spec, workspace = find_spec(name), make_workspace(home)
    data = home / f"{name}.parquet"
    simulate_table(name, rows=rows).write_parquet(data)
    return Trained(spec, workspace, data, train_quickly(spec, workspace, data))


@pytest.fixture(scope="session")
def bayside(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Dated, with places."""
    return _trained("bayside", 1000, tmp_path_factory.mktemp("bayside"))


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Undated, without places."""
    return _trained("homes", 500, tmp_path_factory.mktemp("homes"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return make_workspace(tmp_path / "home")


@pytest.fixture(name="quick_fitting", scope="session")
def quick_fitting_fixture() -> Callable[..., AbstractContextManager[None]]:
    """`quick_fitting`."""
    return quick_fitting


@pytest.fixture(name="train_quickly", scope="session")
def train_quickly_fixture() -> Callable[..., TrainResult]:
    """`train_quickly`."""
    return train_quickly


@pytest.fixture(scope="session")
def california_file() -> Path:
    return _real("california_housing.csv")


@pytest.fixture(scope="session")
def melbourne_file() -> Path:
    return _real("melbourne_sales.csv")


def _real(name: str) -> Path:
    if not (REAL / name).exists():
        pytest.skip(f"{name} is not in ../shared/data")
    return REAL / name
