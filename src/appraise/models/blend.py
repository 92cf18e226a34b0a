"""A weighted blend: models that err in different places, averaged."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from appraise.features.state import State
from appraise.models.base import Model, TrainingData, shares

#: Weights below this are not worth the time of the model that they belong to.
_LEAST_WEIGHT = 0.05


class Blend(Model):
    """The weighted mean of fitted models, weights non-negative and adding up to one.

    Args:
        parts: fitted models.
        weights: (len(parts),) their weights.
    """

    kind = "blend"

    def __init__(self, parts: tuple[Model, ...], weights: NDArray[np.float64]) -> None:
        self.parts = parts
        self.weights = weights

    def fit(self, data: TrainingData) -> Self:
        """Fit every part; the weights stay."""
        for part in self.parts:
            part.fit(data)
        return self

    def refit(self, data: TrainingData) -> Self:
        """Refit every part on all rows; the weights stay."""
        return type(self)(tuple(part.refit(data) for part in self.parts), self.weights)

    def conditioned(self, data: TrainingData) -> Blend:
        """Every part conditioned; the weights stay."""
        return Blend(tuple(part.conditioned(data) for part in self.parts), self.weights)

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Prices on the model's scale, shape (n,)."""
        total = np.zeros(len(X))
        for part, weight in zip(self.parts, self.weights, strict=True):
            total += weight * part.predict(X)
        return total

    def importances(self) -> NDArray[np.float64]:
        """Weighted mean of the parts' importances."""
        total = np.zeros_like(self.parts[0].importances())
        for part, weight in zip(self.parts, self.weights, strict=True):
            total += weight * part.importances()
        return shares(total)

    def state(self) -> State:
        """Weights, and the kind and state of each part."""
        joined = State.join({str(i): part.state() for i, part in enumerate(self.parts)})
        return State(
            data={"kinds": [part.kind for part in self.parts], "parts": joined.data},
            arrays={**joined.arrays, "weights": self.weights},
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        from appraise.models.catalogue import MODELS

        joined = State(data=state.data["parts"], arrays=state.arrays)
        parts = tuple(MODELS[kind].from_state(joined.part(str(i))) for i, kind in enumerate(state.data["kinds"]))
        return cls(parts, state.arrays["weights"])


def blend_weights(predictions: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative weights adding up to one under which the blend's squared error is least.

    Args:
        predictions: (n, models) out-of-sample predictions.
        y: (n,) what they should have been.

    Returns:
        (models,) weights; small ones are set to zero and the others scaled up.
    """
    from scipy.optimize import nnls

    # Errors of a convex combination are that combination of errors; the heavy last row holds the sum at one.
    errors = predictions - y[:, None]
    heavy = 1e3 * float(np.abs(errors).max() or 1.0) * np.sqrt(len(y))
    system = np.concatenate((errors, np.full((1, errors.shape[1]), heavy)))
    weights, _ = nnls(system, np.concatenate((np.zeros(len(y)), [heavy])))
    weights[weights < _LEAST_WEIGHT * weights.max()] = 0.0
    return shares(np.asarray(weights, np.float64))
