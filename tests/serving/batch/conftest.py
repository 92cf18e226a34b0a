"""A small model of the made-up market, as a bundle, and homes to be valued."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.serving.bundles import save

from appraise.datasets.presets import find_spec
from appraise.datasets.simulate import simulate_table
from appraise.jobs import fitting
from appraise.jobs.fitting import FitOptions, Fitting
from appraise.jobs.progress import SilentProgress
from appraise.models import intervals
from appraise.serving.batch import planning
from appraise.serving.batch.run import Run, plan_run

QUICK = {"catboost": {"iterations": 60, "learning_rate": 0.2, "depth": 4}}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of `homes`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "candidate_kinds", lambda _quality, _rows: (("catboost",), ()))
        for module, constant in (
            (fitting, "_SCALE_TRIAL_ITERATIONS"),
            (fitting, "_OUT_OF_FOLD_ITERATIONS"),
            (intervals, "_SCALE_ITERATIONS"),
        ):
            patch.setattr(module, constant, 40)
        frame, spec = simulate_table("homes", rows=400), find_spec("homes")
        options = FitOptions(parameters=QUICK, row_budget_us=1e9)
        predictor = Fitting(spec, frame[:300], frame[300:], options, SilentProgress()).run().predictor
    return save(predictor, tmp_path_factory.mktemp("bundles") / "homes")


@pytest.fixture(scope="session")
def homes() -> pl.DataFrame:
    """3,000 homes with a number of their own and without prices."""
    return simulate_table("homes", rows=3000, seed=1).drop("price").with_row_index("home")


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of 100 rows, so that little data has many shards. Other processes cut none: they are told which."""
    monkeypatch.setattr(planning, "UNIT_ROWS", 100)


@pytest.fixture
def plan(bundle: Path, tmp_path: Path) -> Callable[..., Run]:
    """Plans a run; the output is the folder `out` if nothing else is said."""

    def plan(source: object, output: object | None = None, *, level: float = 0.9, endpoint: str | None = None) -> Run:
        return plan_run(
            bundle=bundle,
            input=str(source),
            output=str(output or tmp_path / "out"),
            level=level,
            cache=tmp_path / "cache",
            endpoint=endpoint,
        )

    return plan
