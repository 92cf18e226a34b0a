"""What every model is: fitted on a matrix, asked for prices on the model's scale, saved without pickle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from appraise.features.state import State


def _silent(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a model is fitted on.

    Attributes:
        names: p feature names.
        X: (n, p) features; NaN is a missing value.
        y: (n,) prices on the model's scale.
        X_val, y_val: validation rows, by which iterations are counted and penalties chosen; never the holdout.
        seed: of every random choice.
        threads: how many threads may be used.
        report: called with iterations done and their most.
    """

    names: tuple[str, ...]
    X: NDArray[np.float64]
    y: NDArray[np.float64]
    X_val: NDArray[np.float64]
    y_val: NDArray[np.float64]
    seed: int = 0
    threads: int = 1
    report: Callable[[int, int], None] = field(default=_silent)


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Root mean squared error on the model's scale after each number of iterations."""

    iterations: tuple[int, ...]
    train: tuple[float, ...]
    validation: tuple[float, ...]


class Model(ABC):
    """A regression of price on features, on the model's scale.

    The constructor only stores hyperparameters; fitted values end in an underscore.
    """

    kind: ClassVar[str]

    curve_: LearningCurve | None = None

    @abstractmethod
    def fit(self, data: TrainingData) -> Self:
        """Fit on the training rows, with the validation rows to stop by, and return self."""

    @abstractmethod
    def refit(self, data: TrainingData) -> Self:
        """A new model fitted on training and validation rows together, with what `fit` found (iterations, penalty)."""

    def conditioned(self, data: TrainingData) -> Model:
        """The model that knows the validation rows too, as far as that takes no new training; most models cannot."""
        del data
        return self

    @abstractmethod
    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Prices on the model's scale, shape (n,)."""

    @abstractmethod
    def importances(self) -> NDArray[np.float64]:
        """Share of each of the p features in the model's decisions, shape (p,), adding up to one."""

    @abstractmethod
    def state(self) -> State:
        """The fitted state."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""


def together(data: TrainingData) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Training and validation rows, one under the other."""
    return np.concatenate((data.X, data.X_val)), np.concatenate((data.y, data.y_val))


def shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative values as shares of their sum; equal shares where all are zero."""
    total = float(values.sum())
    return values / total if total > 0 else np.full(len(values), 1.0 / max(len(values), 1))


def root_mean_square(values: NDArray[np.float64]) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(values * values)))
