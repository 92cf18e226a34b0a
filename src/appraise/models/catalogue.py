"""Every model under its name."""

from __future__ import annotations

from appraise.features.state import State
from appraise.models.base import Model
from appraise.models.blend import Blend
from appraise.models.gaussian_process import GaussianProcess
from appraise.models.linear import LinearRegression, RidgeRegression
from appraise.models.trees import CatBoost, DecisionTree, DeepCatBoost, LightGBM, RandomForest, TreeModel, XGBoost

MODELS: dict[str, type[Model]] = {
    model.kind: model
    for model in (
        LinearRegression,
        RidgeRegression,
        DecisionTree,
        RandomForest,
        XGBoost,
        LightGBM,
        CatBoost,
        DeepCatBoost,
        GaussianProcess,
        Blend,
    )
}

#: Models whose hyperparameters `tune` searches.
TUNABLE: dict[str, type[TreeModel]] = {model.kind: model for model in (CatBoost, DeepCatBoost, LightGBM, XGBoost)}


def model_state(model: Model) -> State:
    """The model's kind and state."""
    state = model.state()
    return State(data={"kind": model.kind, "state": state.data}, arrays=state.arrays)


def model_from_state(state: State) -> Model:
    """The inverse of `model_state`; raises KeyError for a kind that this version does not know."""
    return MODELS[state.data["kind"]].from_state(State(data=state.data["state"], arrays=state.arrays))
