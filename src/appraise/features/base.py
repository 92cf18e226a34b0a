"""What every transformation is: fitted on training rows, applied to any rows, saved without pickle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.state import State

#: No feature is larger: trees compare in single precision, which ends at 3.4e38.
LARGEST = 1e38


@dataclass(frozen=True, slots=True)
class FitContext:
    """What a transformation may know besides the training rows.

    Attributes:
        target: (n,) prices on the model's scale.
        seed: of every random choice.
        latitude, longitude, sale_date: names of those columns, None where the dataset has none.
        categories: names of the coded category columns.
        booleans: names of the boolean columns.
        frequency_encoded, target_encoded: names of the categories so encoded.
        recording_lag: days until a sale is known.
        folds: in how many parts out-of-fold encodings are made.
    """

    target: NDArray[np.float64]
    seed: int = 0
    latitude: str | None = None
    longitude: str | None = None
    sale_date: str | None = None
    categories: tuple[str, ...] = ()
    booleans: tuple[str, ...] = ()
    frequency_encoded: tuple[str, ...] = ()
    target_encoded: tuple[str, ...] = ()
    recording_lag: int = 1
    folds: int = 5


class Transformation(ABC):
    """A fitted map from a `Table` to feature columns.

    The constructor only stores; `fit` sets the names ending in an underscore. Input columns are found by name, so
    their order does not matter and one that is missing counts as all missing values.
    """

    kind: ClassVar[str]

    input_names_: tuple[str, ...]
    output_names_: tuple[str, ...]

    @abstractmethod
    def fit(self, table: Table, context: FitContext) -> Self:
        """Learn from n training rows and return self."""

    @abstractmethod
    def transform(self, table: Table) -> NDArray[np.float64]:
        """Features of shape (n, len(output_names_)), NaN or at most `LARGEST` in size; the table is not changed."""

    def write(self, table: Table, out: NDArray[np.float64]) -> None:
        """Write what `transform` returns into `out`, which has its shape and may be part of a wider matrix."""
        out[:] = self.transform(table)

    def fit_transform(self, table: Table, context: FitContext) -> NDArray[np.float64]:
        """Fit, and return the features of the training rows as a model may train on them.

        Transformations that look at the target return values to which the row's own target did not contribute.
        """
        return self.fit(table, context).transform(table)

    @abstractmethod
    def state(self) -> State:
        """The fitted state, from which `from_state` makes an equal transformation."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
