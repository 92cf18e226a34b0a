"""What each feature contributes to a model's prediction, for every model of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appraise.models.base import Model
from appraise.models.blend import Blend
from appraise.models.gaussian_process import GaussianProcess
from appraise.models.linear import LinearRegression
from appraise.models.shapley import forest_shapley, symmetric_shapley
from appraise.models.symmetric import SymmetricTrees
from appraise.models.trees import TreeModel


@dataclass(frozen=True, slots=True)
class Contributions:
    """Contributions to the predictions of n rows on the model's scale: `base + features.sum(axis=1) + likeness`.

    Attributes:
        base: what the model predicts knowing nothing of a row, about the mean over its training rows.
        features: (n, p) what each feature adds.
        likeness: (n,) what a Gaussian process adds for the row's place and likeness as a whole; zero in other models.
    """

    base: float
    features: NDArray[np.float64]
    likeness: NDArray[np.float64]


def contributions(model: Model, X: NDArray[np.float64]) -> Contributions:
    """Contributions of the features X (n, p) to `model.predict(X)`, which they add up to but for rounding.

    Trees: Shapley values, path-dependent, as CatBoost, LightGBM and XGBoost report them. Linear models: coefficient
    times distance from the training mean, which are their Shapley values for independent features. Blends: the weighted
    sums of their parts. A Gaussian process measures likeness in all its inputs at once; its deviation from its mean is
    not split.

    Raises:
        TypeError: a model that is none of these.
    """
    match model:
        case TreeModel():
            trees = model.trees_
            shapley = symmetric_shapley(trees, X) if isinstance(trees, SymmetricTrees) else forest_shapley(trees, X)
            return Contributions(*shapley, np.zeros(len(X)))
        case LinearRegression():
            return Contributions(model.intercept_, model.standardised(X) * model.coefficients_, np.zeros(len(X)))
        case GaussianProcess():
            mean = model.prior_mean()
            return Contributions(mean, np.zeros(X.shape), model.predict(X) - mean)
        case Blend():
            return _blended(model, X)
        case _:
            raise TypeError(f"{type(model).__name__} has no contributions")


def _blended(model: Blend, X: NDArray[np.float64]) -> Contributions:
    base, features, likeness = 0.0, np.zeros(X.shape), np.zeros(len(X))
    for part, weight in zip(model.parts, model.weights, strict=True):
        if weight:
            of_part = contributions(part, X)
            base += weight * of_part.base
            features += weight * of_part.features
            likeness += weight * of_part.likeness
    return Contributions(float(base), features, likeness)
