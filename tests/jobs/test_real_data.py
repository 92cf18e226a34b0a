"""The real files of `../shared/data`, where they are: one small model each, measured as the report measures it."""

import numpy as np
import pytest

from appraise.datasets.infer import infer_spec
from appraise.datasets.presets import find_spec
from appraise.jobs.evaluate import _Evaluator, evaluate
from appraise.jobs.progress import SilentProgress
from appraise.jobs.train import TrainOptions
from appraise.serving.predictor import Predictor

#: Rows that a decile must have before its coverage means anything.
LEAST = 200


@pytest.fixture
def measured(workspace, train_quickly, monkeypatch):
    def measured(spec, data, parameters):
        # The spatial score takes a model for each part of the map, which is another test's.
        monkeypatch.setattr(_Evaluator, "spatial", lambda _self: None)
        train_quickly(spec, workspace, data, TrainOptions(parameters={"catboost": parameters}))
        return evaluate(spec, workspace=workspace, data=str(data), progress=SilentProgress())

    return measured


def test_california_is_valued_well_and_its_intervals_are_true(measured, workspace, california_file):
    spec = find_spec("california")
    result = measured(spec, california_file, {"iterations": 350, "learning_rate": 0.12})
    holdout = result.splits["holdout"]
    assert holdout.metrics["rmse"].value < 0.40
    predictor = Predictor.load(workspace.registry.resolve("california"))
    prepared = workspace.prepare(spec, str(california_file))
    held = prepared.frame[prepared.split.holdout]
    actual = held[spec.target.name].to_numpy()
    estimates = predictor.predict(held.select(column.name for column in spec.inputs).to_dicts(), level=0.9)
    inside = (estimates.lower <= actual) & (actual <= estimates.upper)
    assert 0.86 < inside.mean() < 0.94
    decile = np.argsort(np.argsort(estimates.estimate)) * 10 // len(actual)
    for number in range(10):
        here = decile == number
        assert here.sum() >= LEAST
        assert 0.80 < inside[here].mean() < 0.98, f"decile {number + 1}"


def test_melbourne_needs_no_edit_and_walking_forward_pays(measured, melbourne_file):
    spec = infer_spec(melbourne_file, target="Price").spec
    result = measured(spec, melbourne_file, {"iterations": 350, "learning_rate": 0.08})
    frozen, walking = (result.splits[name].metrics["mdape"].value for name in ("holdout", "walk_forward"))
    assert walking <= frozen + 0.003
    assert walking <= 0.95 * result.baselines[0].metrics["mdape"]
