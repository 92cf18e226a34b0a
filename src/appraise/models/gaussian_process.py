"""An exact Gaussian process on place and likeness, for data small enough.

Length scales are those under which a sample of training rows is most probable, each given its own nearest neighbours
out of all training rows (after Vecchia, "Estimation and model identification for continuous spatial processes", 1988).
A marginal likelihood of a sample would thin out the very neighbours by which short length scales are seen. The weights
of all rows then come from one Cholesky factorisation. What was measured: `docs/decisions/0008-gaussian-process.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from appraise.errors import FitError
from appraise.features.neighbours import Tree
from appraise.features.state import State
from appraise.models.base import Model, TrainingData, shares, together
from appraise.models.covariance import (
    ATTRIBUTE_SCALES,
    LIKENESS,
    PLACE,
    PLACE_SCALE,
    PRODUCT,
    PRODUCT_SCALE,
    Conditional,
    Scaled,
    posterior_mean,
    solve,
    variances,
)

#: Beyond so many rows the factorisation takes more memory and time than a candidate is given.
MAX_ROWS = 20_000

#: Rows that length scales are fitted on, neighbours that each is given, and steps of the optimiser.
_SAMPLE = 3_000
_NEIGHBOURS = 50
_STEPS = 40

#: Least standard deviation of the noise, in standard deviations of the target. Prices that a record caps are equal to
#: the cent, and neighbourhoods of them would have the likelihood believe in no noise anywhere.
_LEAST_NOISE = 0.25

#: How much closer than likeness place counts when neighbours are sought for the fit of length scales.
_PLACE_COUNTS = 5.0

#: Inputs that likeness is measured in, at most.
_MAX_INPUTS = 20

#: Standardised inputs are clipped here.
_CLIP = 8.0

_PLACE = ("axis_0_km", "axis_90_km")

#: Endings of an attribute's excess over its neighbourhood and of its neighbourhood's mean, which add up to the
#: attribute itself, standardised.
_EXCESS, _CONTEXT = "_minus_mean_30", "_mean_30"

#: Progress out of a hundred at which length scales are found.
_SCALES_FOUND = 60

_ARRAYS = ("place_", "likeness_", "added_", "fill_", "centre_", "scale_", "theta_", "points_", "weights_")


class GaussianProcess(Model):
    """Exact Gaussian process regression.

    Fitting holds the lower triangle of a covariance: 4 bytes times the square of the rows, 1.6 GB at most. The fitted
    model holds its rows, at most 22 inputs each.

    Raises:
        FitError: in `fit`, on more than `MAX_ROWS` rows of training and validation together.
    """

    kind = "gaussian_process"

    place_: NDArray[np.int64]
    likeness_: NDArray[np.int64]
    added_: NDArray[np.int64]
    width_: int
    fill_: NDArray[np.float64]
    centre_: NDArray[np.float64]
    scale_: NDArray[np.float64]
    theta_: NDArray[np.float64]
    points_: NDArray[np.float64]
    weights_: NDArray[np.float64]
    logarithmic_: bool
    mean_: float
    spread_: float
    smearing_: float
    range_: tuple[float, float]

    def fit(self, data: TrainingData) -> Self:
        """Choose inputs, fit length scales on a sample, and condition on the training rows."""
        _check_size(len(data.X) + len(data.X_val))
        self._choose_inputs(data)
        self.range_ = (float(data.y.min()), float(data.y.max()))
        self._choose_target(data.y)
        points = self._points(data.X)
        target = self._standardised(data.y)
        self._fit_scales(points, target, data)
        self._condition(points, target, data, since=_SCALES_FOUND)
        return self

    def refit(self, data: TrainingData) -> Self:
        """Condition on all rows with the inputs and length scales found; raises FitError as `fit` does."""
        X, y = together(data)
        _check_size(len(X))
        model = self.from_state(self.state())
        model._condition(model._points(X), model._standardised(y), data, since=0)
        model.range_ = (float(y.min()), float(y.max()))
        return model

    def conditioned(self, data: TrainingData) -> Model:
        """Conditioned on the validation rows as well: known sales are to it what the pool is to comparables."""
        return self.refit(data)

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Posterior mean on the model's scale, kept within the range of the known prices, shape (n,)."""
        queries = Scaled.by(self._points(X), self.theta_)
        mean = posterior_mean(queries, self._known, self.weights_, self.theta_) * self.spread_ + self.mean_
        return self._on_scale(mean)

    def prior_mean(self) -> float:
        """What is predicted of a row that is like no known one, on the model's scale."""
        return float(self._on_scale(np.array([self.mean_]))[0])

    def _on_scale(self, mean: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(np.exp(mean) * self.smearing_ if self.logarithmic_ else mean, *self.range_)

    def importances(self) -> NDArray[np.float64]:
        """Inverse length scales times the amplitudes of their terms, as shares, at the columns that are inputs."""
        _, place, likeness, product = np.sqrt(variances(self.theta_))
        alone, together_ = np.exp(self.theta_[ATTRIBUTE_SCALES:]).reshape(2, -1)
        out = np.zeros(self.width_)
        out[self.likeness_] = likeness * alone + product * together_
        if len(self.place_):
            out[self.place_] = place * np.exp(self.theta_[PLACE_SCALE]) + product * np.exp(self.theta_[PRODUCT_SCALE])
        return shares(out)

    def state(self) -> State:
        """Inputs, length scales, rows and weights."""
        return State(
            data={
                "width": self.width_,
                "logarithmic": self.logarithmic_,
                "mean": self.mean_,
                "spread": self.spread_,
                "smearing": self.smearing_,
                "range": list(self.range_),
            },
            arrays={name: getattr(self, name) for name in _ARRAYS},
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        model = cls()
        for name in _ARRAYS:
            setattr(model, name, state.arrays[name])
        model.width_, model.logarithmic_ = state.data["width"], state.data["logarithmic"]
        model.mean_, model.spread_ = state.data["mean"], state.data["spread"]
        model.smearing_ = state.data["smearing"]
        model.range_ = (state.data["range"][0], state.data["range"][1])
        model._known = Scaled.by(model.points_, model.theta_)
        return model

    def _choose_inputs(self, data: TrainingData) -> None:
        names = data.names
        self.width_ = len(names)
        place = [names.index(name) for name in _PLACE if name in names]
        self.place_ = np.array(place if len(place) == len(_PLACE) else [], np.int64)
        own, around = _attributes(names)
        likeness = own + around or _most_correlated(data, without=place)
        self.likeness_ = np.array(likeness, np.int64)
        self.added_ = np.array(around + [-1] * (len(likeness) - len(around)), np.int64)
        inputs = self._inputs(data.X)
        self.fill_ = _medians(inputs)
        filled = np.where(np.isnan(inputs), self.fill_, inputs)
        self.centre_ = filled.mean(axis=0)
        self.scale_ = filled.std(axis=0)
        # One scale for both axes keeps circles round.
        self.scale_[: len(self.place_)] = self.scale_[: len(self.place_)].max(initial=0.0)
        self.scale_[self.scale_ < 1e-12] = np.inf

    def _choose_target(self, y: NDArray[np.float64]) -> None:
        """Take logarithms where they make positive targets less skewed."""
        self.logarithmic_ = bool((y > 0).all() and abs(_skewness(np.log(y))) < abs(_skewness(y)))
        target = np.log(y) if self.logarithmic_ else y
        self.mean_ = float(target.mean())
        self.spread_ = float(target.std()) or 1.0
        self.smearing_ = 1.0

    def _standardised(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        # A price at or below zero may first turn up among the validation rows.
        target = np.log(np.maximum(y, self.range_[0])) if self.logarithmic_ else y
        return np.asarray((target - self.mean_) / self.spread_, np.float64)

    def _inputs(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Place, and each likeness column with the column that is added to it."""
        likeness = X[:, self.likeness_]
        with_other = self.added_ >= 0
        likeness[:, with_other] += X[:, self.added_[with_other]]
        return np.concatenate((X[:, self.place_], likeness), axis=1)

    def _points(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        inputs = self._inputs(X)
        points = (np.where(np.isnan(inputs), self.fill_, inputs) - self.centre_) / self.scale_
        return np.asarray(np.clip(points, -_CLIP, _CLIP), np.float64)

    def _fit_scales(self, points: NDArray[np.float64], target: NDArray[np.float64], data: TrainingData) -> None:
        sample = np.random.RandomState(data.seed).permutation(len(points))[:_SAMPLE]
        groups = _neighbourhoods(points, sample, len(self.place_))
        conditional = Conditional(points, target, groups, data.threads)
        self.theta_ = _most_likely(
            conditional,
            points.shape[1] - len(self.place_),
            lambda share: data.report(round(_SCALES_FOUND * share), 100),
        )
        if self.logarithmic_:
            # The mean of the price is above the price at the mean logarithm by this much (Duan, 1983, JASA 78, 605).
            self.smearing_ = float(np.exp(self.spread_ * conditional.residuals(self.theta_)).mean())

    def _condition(
        self, points: NDArray[np.float64], target: NDArray[np.float64], data: TrainingData, *, since: int
    ) -> None:
        self.points_ = points
        self._known = Scaled.by(points, self.theta_)
        try:
            self.weights_ = solve(
                self._known,
                target,
                self.theta_,
                data.threads,
                lambda share: data.report(since + round((100 - since) * share), 100),
            )
        except np.linalg.LinAlgError as error:
            raise FitError(
                f"the covariance of {len(points):,} rows is not positive definite",
                hint="check the features for values that are not finite",
            ) from error


def _check_size(rows: int) -> None:
    if rows > MAX_ROWS:
        raise FitError(
            f"a Gaussian process on {rows:,} rows needs a covariance of {rows**2 * 4 / 1e9:.1f} GB",
            hint=f"it is left out of the comparison above {MAX_ROWS:,} rows",
        )


def _attributes(names: tuple[str, ...]) -> tuple[list[int], list[int]]:
    """Columns of the excess of each attribute over its neighbourhood, and of the neighbourhood's mean."""
    own, around = [], []
    for i, name in enumerate(names):
        context = name.removesuffix(_EXCESS) + _CONTEXT
        if name.startswith("near_") and name.endswith(_EXCESS) and context in names:
            own.append(i)
            around.append(names.index(context))
    return own, around


def _medians(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians of the known values; zero for columns that have none."""
    out = np.zeros(columns.shape[1])
    known = ~np.isnan(columns).all(axis=0)
    out[known] = np.nanmedian(columns[:, known], axis=0)
    return out


def _skewness(values: NDArray[np.float64]) -> float:
    deviation = values - values.mean()
    return float((deviation**3).mean() / max(float(deviation.std()), 1e-12) ** 3)


def _most_correlated(data: TrainingData, *, without: list[int]) -> list[int]:
    """Columns, none of them made of prices, that follow the price most closely."""
    known = np.where(np.isnan(data.X), _medians(data.X), data.X)
    spread = known.std(axis=0)
    correlation = np.abs(((known - known.mean(axis=0)) * (data.y - data.y.mean())[:, None]).mean(axis=0))
    strength = np.where(spread > 1e-12, correlation / np.maximum(spread, 1e-12), 0.0)
    priced = [i for i, name in enumerate(data.names) if "_price_" in name or "_plane_" in name]
    strength[[*without, *priced]] = 0.0
    order = np.argsort(-strength, kind="stable")[:_MAX_INPUTS]
    return [int(i) for i in order if strength[i] > 0]


def _neighbourhoods(points: NDArray[np.float64], sample: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """For each sampled row its neighbours, half of them by place alone, and the row itself: shape (t, m + 1)."""
    m = min(_NEIGHBOURS, len(points) - 1)
    weighted = points.copy()
    weighted[:, :width] *= _PLACE_COUNTS
    if not points.shape[1]:
        weighted = np.zeros((len(points), 1))
    near = Tree.build(weighted).query(weighted[sample], m, exclude=sample)[0]
    if width:
        place = points[:, :width]
        near = np.concatenate((Tree.build(place).query(place[sample], m // 2, exclude=sample)[0], near), axis=1)
    unique = [list(dict.fromkeys(row))[:m] for row in near.tolist()]
    return np.column_stack((np.array(unique, np.int64).reshape(len(sample), m), sample))


def _most_likely(conditional: Conditional, inputs: int, report: Callable[[float], None]) -> NDArray[np.float64]:
    """The theta under which the sampled rows are most probable."""
    from scipy.optimize import Bounds, minimize

    start = np.zeros(ATTRIBUTE_SCALES + 2 * inputs)
    lower, upper = np.full_like(start, np.log(1e-3)), np.full_like(start, np.log(20.0))
    amplitudes = slice(PLACE, PRODUCT + 1)
    start[0], lower[0], upper[0] = np.log(0.4), np.log(_LEAST_NOISE), np.log(3.0)
    start[amplitudes], lower[amplitudes], upper[amplitudes] = np.log(0.5), np.log(0.01), np.log(10.0)
    start[LIKENESS] = np.log(0.7)
    for position, scale in ((PLACE_SCALE, 10.0), (PRODUCT_SCALE, 5.0)):
        start[position], lower[position], upper[position] = np.log(scale), np.log(0.02), np.log(3000.0)
    start[ATTRIBUTE_SCALES:] = np.log(0.5 / np.sqrt(max(inputs, 1)))
    steps = 0

    def count(xk: NDArray[np.float64]) -> None:  # noqa: ARG001 - the name is what SciPy looks for
        nonlocal steps
        steps += 1
        report(min(steps / _STEPS, 1.0))

    found = minimize(
        conditional.loss, start, jac=True, method="L-BFGS-B", bounds=Bounds(lower, upper),
        callback=count, options={"maxiter": _STEPS},
    )  # fmt: skip
    return np.asarray(found.x, np.float64)
