"""Tree models: grown by their libraries, kept and evaluated as flat arrays."""

from __future__ import annotations

import json
import tempfile
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from appraise.errors import FitError, OutputError
from appraise.features.state import State
from appraise.models.base import LearningCurve, Model, TrainingData, shares, together
from appraise.models.forest import Forest, from_lightgbm, from_sklearn, from_xgboost
from appraise.models.symmetric import SymmetricTrees

#: Boosting stops when validation has not improved for so many iterations.
PATIENCE = 100

#: Points kept of a learning curve.
_CURVE_POINTS = 60

Parameters = Mapping[str, float | int]


class TreeModel(Model):
    """A model whose fitted form is a set of trees.

    Args:
        parameters: hyperparameters in the library's own names; those not given are the class's `defaults`.
    """

    defaults: ClassVar[Parameters]

    trees_: Forest | SymmetricTrees
    importances_: NDArray[np.float64]
    iterations_: int

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.parameters: dict[str, Any] = {**self.defaults, **(parameters or {})}

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Prices on the model's scale, shape (n,)."""
        return self.trees_.predict(X)

    def importances(self) -> NDArray[np.float64]:
        """Shares of the reduction of error, or of the change of the prediction, as the library counts it."""
        return self.importances_

    def state(self) -> State:
        """Trees, importances and hyperparameters."""
        trees = self.trees_.state()
        return State(
            data={
                "symmetric": isinstance(self.trees_, SymmetricTrees),
                "trees": trees.data,
                "parameters": self.parameters,
                "iterations": self.iterations_,
            },
            arrays={**trees.arrays, "importances": self.importances_},
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        model = cls(state.data["parameters"])
        model.importances_ = state.arrays["importances"]
        model.iterations_ = state.data["iterations"]
        arrays = {name: array for name, array in state.arrays.items() if name != "importances"}
        form = SymmetricTrees if state.data["symmetric"] else Forest
        model.trees_ = form.from_state(State(data=state.data["trees"], arrays=arrays))
        return model

    def fit(self, data: TrainingData) -> Self:
        """Grow on the training rows."""
        self.grow(data, data.X, data.y, iterations=None)
        return self

    def refit(self, data: TrainingData) -> Self:
        """Grow on all rows, as many iterations as `fit` found and more in proportion to the rows."""
        model = type(self)(self.parameters)
        X, y = together(data)
        model.grow(data, X, y, iterations=round(self.iterations_ * len(X) / len(data.X)))
        return model

    @abstractmethod
    def grow(
        self, data: TrainingData, X: NDArray[np.float64], y: NDArray[np.float64], *, iterations: int | None
    ) -> None:
        """Fit on rows of the caller's choice.

        Args:
            data: seed, threads and, for stopping, validation rows.
            X: (n, p) features.
            y: (n,) target.
            iterations: how many; None stops by the validation rows. Models that do not boost know none.

        Raises:
            FitError: when the library refuses the rows.
        """


class DecisionTree(TreeModel):
    """One regression tree (scikit-learn)."""

    kind = "decision_tree"
    defaults: ClassVar[Parameters] = {"max_depth": 10, "min_samples_leaf": 15}

    def grow(
        self,
        data: TrainingData,
        X: NDArray[np.float64],
        y: NDArray[np.float64],
        *,
        iterations: int | None,  # noqa: ARG002
    ) -> None:
        from sklearn.tree import DecisionTreeRegressor

        tree = DecisionTreeRegressor(random_state=data.seed, **self.parameters).fit(X, y)
        self.trees_ = from_sklearn([tree], weight=1.0)
        self.importances_ = shares(np.asarray(tree.feature_importances_))
        self.iterations_ = 1
        data.report(1, 1)


class RandomForest(TreeModel):
    """Averaged trees on bootstrap samples (scikit-learn)."""

    kind = "random_forest"
    defaults: ClassVar[Parameters] = {"n_estimators": 100, "min_samples_leaf": 3, "max_features": 0.2}

    def grow(
        self,
        data: TrainingData,
        X: NDArray[np.float64],
        y: NDArray[np.float64],
        *,
        iterations: int | None,  # noqa: ARG002
    ) -> None:
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(random_state=data.seed, n_jobs=data.threads, **self.parameters).fit(X, y)
        trees = list(forest.estimators_)
        self.trees_ = from_sklearn(trees, weight=1.0 / len(trees))
        self.importances_ = shares(np.asarray(forest.feature_importances_))
        self.iterations_ = len(trees)
        data.report(len(trees), len(trees))


class XGBoost(TreeModel):
    """Gradient boosting with histogram splits (XGBoost)."""

    kind = "xgboost"
    defaults: ClassVar[Parameters] = {
        "n_estimators": 2000,
        "learning_rate": 0.04,
        "max_depth": 6,
        "min_child_weight": 5,
        "subsample": 0.8,
        "colsample_bytree": 0.4,
        "reg_lambda": 3.0,
    }

    def grow(
        self, data: TrainingData, X: NDArray[np.float64], y: NDArray[np.float64], *, iterations: int | None
    ) -> None:
        import xgboost

        parameters = {key: value for key, value in self.parameters.items() if key != "n_estimators"}
        most = iterations or int(self.parameters["n_estimators"])

        class Report(xgboost.callback.TrainingCallback):  # type: ignore[misc]
            """Pass iterations on."""

            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
                data.report(epoch + 1, most)
                return False

        training = xgboost.QuantileDMatrix(X, y, nthread=data.threads)
        evals = []
        if not iterations:
            validation = xgboost.QuantileDMatrix(data.X_val, data.y_val, ref=training, nthread=data.threads)
            evals = [(training, "train"), (validation, "validation")]
        history: dict[str, dict[str, list[float]]] = {}
        booster = xgboost.train(
            {**parameters, "tree_method": "hist", "nthread": data.threads, "seed": data.seed, "verbosity": 0},
            training,
            num_boost_round=most,
            evals=evals,
            evals_result=history,
            early_stopping_rounds=None if iterations else PATIENCE,
            verbose_eval=False,
            callbacks=[Report()],
        )
        if not iterations:
            booster = booster[: booster.best_iteration + 1]
            self.curve_ = curve(history["train"]["rmse"], history["validation"]["rmse"])
        self.iterations_ = booster.num_boosted_rounds()
        self.trees_ = from_xgboost(json.loads(bytes(booster.save_raw(raw_format="json"))))
        gains = booster.get_score(importance_type="total_gain")
        self.importances_ = shares(np.array([gains.get(f"f{i}", 0.0) for i in range(X.shape[1])]))


class LightGBM(TreeModel):
    """Gradient boosting, leaf by leaf (LightGBM)."""

    kind = "lightgbm"
    defaults: ClassVar[Parameters] = {
        "n_estimators": 2000,
        "learning_rate": 0.03,
        "num_leaves": 31,
        "min_child_samples": 15,
        "subsample": 0.8,
        "subsample_freq": 1,
        "colsample_bytree": 0.25,
        "reg_lambda": 3.0,
    }

    def grow(
        self, data: TrainingData, X: NDArray[np.float64], y: NDArray[np.float64], *, iterations: int | None
    ) -> None:
        import lightgbm

        parameters = {key: value for key, value in self.parameters.items() if key != "n_estimators"}
        most = iterations or int(self.parameters["n_estimators"])
        history: dict[str, dict[str, list[float]]] = {}
        training = lightgbm.Dataset(X, y, free_raw_data=False)
        callbacks: list[Any] = [lambda environment: data.report(environment.iteration + 1, most)]
        valid_sets: list[Any] = []
        if not iterations:
            valid_sets = [training, lightgbm.Dataset(data.X_val, data.y_val, reference=training)]
            callbacks += [
                lightgbm.early_stopping(PATIENCE, verbose=False, first_metric_only=True),
                lightgbm.record_evaluation(history),
            ]
        booster = lightgbm.train(
            {
                **parameters,
                "objective": "regression",
                "metric": "rmse",
                "num_threads": data.threads,
                "seed": data.seed,
                "deterministic": True,
                "force_row_wise": True,
                "verbosity": -1,
            },
            training,
            num_boost_round=most,
            valid_sets=valid_sets,
            valid_names=["training", "validation"][: len(valid_sets)],
            callbacks=callbacks,
        )
        kept = most if iterations else booster.best_iteration
        if not iterations:
            self.curve_ = curve(history["training"]["rmse"], history["validation"]["rmse"])
        self.iterations_ = kept
        self.trees_ = from_lightgbm(booster.dump_model(num_iteration=kept))
        self.importances_ = shares(booster.feature_importance("gain", iteration=kept))


class CatBoost(TreeModel):
    """Gradient boosting with symmetric trees (CatBoost)."""

    kind = "catboost"
    defaults: ClassVar[Parameters] = {
        "iterations": 2000,
        "learning_rate": 0.05,
        "depth": 6,
        "l2_leaf_reg": 3.0,
        "rsm": 0.25,
    }

    def grow(
        self, data: TrainingData, X: NDArray[np.float64], y: NDArray[np.float64], *, iterations: int | None
    ) -> None:
        import catboost

        most = iterations or int(self.parameters["iterations"])

        class Report:
            """Pass iterations on."""

            def after_iteration(self, info: Any) -> bool:
                data.report(info.iteration, most)
                return True

        booster = catboost.CatBoostRegressor(
            **{**self.parameters, "iterations": most},
            border_count=128,
            nan_mode="Min",
            random_seed=data.seed,
            thread_count=data.threads,
            allow_writing_files=False,
            verbose=False,
        )
        stopping: dict[str, Any] = {}
        if not iterations:
            stopping = {"eval_set": catboost.Pool(data.X_val, data.y_val), "early_stopping_rounds": PATIENCE}
        try:
            booster.fit(catboost.Pool(X, y), callbacks=[Report()], **stopping)
        except catboost.CatBoostError as error:
            reason = str(error).rpartition(": ")[2].rstrip(".").lower()
            raise FitError(
                f"CatBoost cannot be trained on {len(X):,} rows: {reason}",
                hint="a model needs features and prices that differ: `appraise data` shows what the columns hold",
            ) from error
        if not iterations:
            history = booster.get_evals_result()
            self.curve_ = curve(history["learn"]["RMSE"], history["validation"]["RMSE"])
        self.iterations_ = int(booster.tree_count_)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.json"
                booster.save_model(str(path), format="json")
                self.trees_ = SymmetricTrees.from_catboost(json.loads(path.read_text()))
        except (OSError, catboost.CatBoostError) as error:
            raise OutputError(
                f"the temporary folder {tempfile.gettempdir()} cannot be written: {error}",
                hint="make room there, or set TMPDIR to a folder that has room",
            ) from error
        self.importances_ = shares(np.asarray(booster.get_feature_importance()))


class DeepCatBoost(CatBoost):
    """The same with deeper trees and smaller steps."""

    kind = "catboost_deep"
    defaults: ClassVar[Parameters] = {
        "iterations": 2000,
        "learning_rate": 0.04,
        "depth": 8,
        "l2_leaf_reg": 3.0,
        "rsm": 0.25,
    }


def curve(train: list[float], validation: list[float]) -> LearningCurve:
    """A learning curve of at most sixty points, evenly spread, the first and the last among them."""
    points = min(len(validation), _CURVE_POINTS)
    kept = np.linspace(0, len(validation) - 1, points).round().astype(int)
    return LearningCurve(
        iterations=tuple(int(i) + 1 for i in kept),
        train=tuple(float(train[i]) for i in kept),
        validation=tuple(float(validation[i]) for i in kept),
    )
