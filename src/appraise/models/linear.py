"""Ordinary least squares and ridge regression on filled, standardised features."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from appraise.features.state import State
from appraise.models.base import Model, TrainingData, root_mean_square, shares, together

#: Penalties tried, per training row; the first is no penalty beyond what a singular matrix needs.
_OLS = (1e-9,)
_PENALTIES = tuple(float(10.0**power) for power in range(-6, 3))

#: Standardised features are clipped here: a linear model has no other defence against a wild value.
_CLIP = 6.0


class LinearRegression(Model):
    """Least squares, with missing values filled by medians."""

    kind = "linear"
    penalties: tuple[float, ...] = _OLS

    def fit(self, data: TrainingData) -> Self:
        """Fit each penalty and keep the one that validates best."""
        best = np.inf
        for step, penalty in enumerate(self.penalties, start=1):
            trial = self._solve(data.X, data.y, penalty)
            error = root_mean_square(data.y_val - trial.predict(data.X_val))
            if error < best:
                best = error
                self.__dict__.update(trial.__dict__)
            data.report(step, len(self.penalties))
        return self

    def refit(self, data: TrainingData) -> Self:
        """Fit on all rows with the chosen penalty."""
        return self._solve(*together(data), self.penalty_)

    def _solve(self, X: NDArray[np.float64], y: NDArray[np.float64], penalty: float) -> Self:
        model = type(self)()
        model.penalty_ = penalty
        known = ~np.isnan(X).all(axis=0)
        model.fill_ = np.zeros(X.shape[1])
        model.fill_[known] = np.nanmedian(X[:, known], axis=0)
        filled = np.where(np.isnan(X), model.fill_, X)
        model.centre_ = filled.mean(axis=0)
        model.scale_ = filled.std(axis=0)
        constant = (filled.min(axis=0) == filled.max(axis=0)) | (model.scale_ < 1e-12)
        model.scale_[constant] = np.inf
        Z = model.standardised(X)
        gram = Z.T @ Z
        gram[np.diag_indices_from(gram)] += penalty * len(Z)
        model.intercept_ = float(y.mean())
        model.coefficients_ = np.asarray(np.linalg.lstsq(gram, Z.T @ (y - model.intercept_), rcond=None)[0], np.float64)
        model.coefficients_[constant] = 0.0
        return model

    def standardised(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Features filled, and in standard deviations from their mean over the training rows, shape (n, p)."""
        return np.clip((np.where(np.isnan(X), self.fill_, X) - self.centre_) / self.scale_, -_CLIP, _CLIP)

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Prices on the model's scale, shape (n,)."""
        out = np.empty(len(X))
        _evaluate(
            np.ascontiguousarray(X), self.fill_, self.centre_, self.scale_, self.coefficients_, self.intercept_, out
        )
        return out

    def importances(self) -> NDArray[np.float64]:
        """Absolute standardised coefficients as shares."""
        return shares(np.abs(self.coefficients_))

    def state(self) -> State:
        """Coefficients and how features are standardised."""
        data: dict[str, Any] = {"intercept": self.intercept_, "penalty": self.penalty_}
        return State(
            data=data,
            arrays={
                "fill": self.fill_,
                "centre": self.centre_,
                "scale": self.scale_,
                "coefficients": self.coefficients_,
            },
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        model = cls()
        model.intercept_, model.penalty_ = state.data["intercept"], state.data["penalty"]
        model.fill_, model.centre_ = state.arrays["fill"], state.arrays["centre"]
        model.scale_, model.coefficients_ = state.arrays["scale"], state.arrays["coefficients"]
        return model

    penalty_: float
    intercept_: float
    fill_: NDArray[np.float64]
    centre_: NDArray[np.float64]
    scale_: NDArray[np.float64]
    coefficients_: NDArray[np.float64]


class RidgeRegression(LinearRegression):
    """Least squares with a quadratic penalty, chosen on validation."""

    kind = "ridge"
    penalties = _PENALTIES


@njit(cache=True, nogil=True)
def _evaluate(X, fill, centre, scale, coefficients, intercept, out):  # type: ignore[no-untyped-def]
    """Intercept and sum of coefficients times standardised features, in the order of the features."""
    for row in range(X.shape[0]):
        total = intercept
        for column in range(coefficients.shape[0]):
            value = X[row, column]
            if np.isnan(value):
                value = fill[column]
            total += coefficients[column] * min(max((value - centre[column]) / scale[column], -_CLIP), _CLIP)
        out[row] = total
