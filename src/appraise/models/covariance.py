"""The covariance of the Gaussian process, the predictive density of single rows, and a factorisation in blocks.

The covariance of two rows is

    a M(place) + b M(likeness) + c M(place') M(likeness') + noise

with M the Matern function of smoothness 3/2 (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006,
equation 4.17) of a distance that has a length scale for place and one for each attribute, other ones in the product.
Without coordinates M(place) is one: what is left are two covariances in likeness and a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Positions in theta, which is the logarithm of: standard deviations of the noise and of the three terms, inverse
#: length scales of place alone and in the product; then follow those of each attribute, alone and in the product.
NOISE, PLACE, LIKENESS, PRODUCT, PLACE_SCALE, PRODUCT_SCALE, ATTRIBUTE_SCALES = range(7)

#: Rows of a block of the factorisation.
_BLOCK = 1024

_FAST = {"contract", "reassoc", "nsz"}


@dataclass(frozen=True, slots=True)
class Scaled:
    """Inputs of n rows divided by length scales, so that a covariance needs distances only.

    Attributes:
        place, likeness: (n, 0 or 2) and (n, d), of the terms alone.
        place_in_product, likeness_in_product: the same, of the product.
    """

    place: NDArray[np.float64]
    likeness: NDArray[np.float64]
    place_in_product: NDArray[np.float64]
    likeness_in_product: NDArray[np.float64]

    @classmethod
    def by(cls, points: NDArray[np.float64], theta: NDArray[np.float64]) -> Self:
        """Scale points of shape (n, width of place + d)."""
        d = (len(theta) - ATTRIBUTE_SCALES) // 2
        width = points.shape[1] - d
        alone, product = np.exp(theta[ATTRIBUTE_SCALES:]).reshape(2, d)
        where, what = points[:, :width], points[:, width:]
        parts = (where * np.exp(theta[PLACE_SCALE]), what * alone, where * np.exp(theta[PRODUCT_SCALE]), what * product)
        return cls(*(np.ascontiguousarray(part) for part in parts))

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The arrays in the order in which compiled functions take them."""
        return self.place, self.likeness, self.place_in_product, self.likeness_in_product


def variances(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variances of the noise, of place, of likeness and of their product, shape (4,)."""
    return np.asarray(np.exp(2 * theta[: PRODUCT + 1]), np.float64)


def posterior_mean(
    queries: Scaled, known: Scaled, weights: NDArray[np.float64], theta: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The covariance of q queries and n known rows, times the weights: shape (q,)."""
    out = np.empty(len(queries.place))
    _mean(queries.arrays(), known.arrays(), weights, variances(theta), out)
    return out


def solve(
    known: Scaled,
    y: NDArray[np.float64],
    theta: NDArray[np.float64],
    threads: int,
    report: Callable[[float], None],
) -> NDArray[np.float64]:
    """The inverse of the covariance of n known rows times y, shape (n,).

    A Cholesky factorisation by block rows that keeps the lower triangle only: 4 bytes times the square of n. LAPACK's
    own takes twice that, and `dpotrf` of SciPy's OpenBLAS 0.3.30 on two threads ends the process at 16,512 rows.

    Args:
        report: called with the share of the work that is done.

    Raises:
        numpy.linalg.LinAlgError: where the covariance is not positive definite.
    """
    from scipy.linalg import solve_triangular

    n = len(y)
    rows: list[NDArray[np.float64]] = []
    starts = range(0, n, _BLOCK)
    with ThreadPoolExecutor(threads) as executor:
        for start in starts:
            stop = min(start + _BLOCK, n)
            row = np.empty((stop - start, stop))
            parts = np.array_split(np.arange(stop - start), threads * 4)
            _finish(executor.submit(_fill, known.arrays(), variances(theta), start, part, row) for part in parts)
            for left, other in zip(starts, rows, strict=False):
                own = slice(left, left + _BLOCK)
                row[:, own] -= row[:, :left] @ other[:, :left].T
                row[:, own] = solve_triangular(other[:, own], row[:, own].T, lower=True, check_finite=False).T
            row[:, start:] -= row[:, :start] @ row[:, :start].T
            row[:, start:] = np.linalg.cholesky(row[:, start:])
            rows.append(row)
            report((stop / n) ** 3)
    out = y.copy()
    for start, row in zip(starts, rows, strict=True):
        own = slice(start, start + len(row))
        out[own] = solve_triangular(row[:, own], out[own] - row[:, :start] @ out[:start], lower=True)
    for start, row in zip(reversed(starts), reversed(rows), strict=True):
        own = slice(start, start + len(row))
        out[own] = solve_triangular(row[:, own], out[own], lower=True, trans="T")
        out[:start] -= row[:, :start].T @ out[own]
    return out


@dataclass(frozen=True, slots=True)
class Conditional:
    """Predictive densities of t rows, each given m neighbours of its own.

    Attributes:
        points: (n, width of place + d) inputs.
        y: (n,) targets.
        groups: (t, m + 1) positions of the neighbours and, last, of the row itself.
        threads: how many threads may be used.
    """

    points: NDArray[np.float64]
    y: NDArray[np.float64]
    groups: NDArray[np.int64]
    threads: int

    def loss(self, theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Mean negative log density of the rows and its gradient.

        The gradient follows from the weights w of the neighbours: with u = (-w, 1) the predictive variance is u'Ku,
        which is stationary in w, and the residual is u'y, so both differ by dK in a bilinear form only.
        """
        loss, _, gradient = self._evaluate(theta)
        return float(loss.mean()), gradient.mean(axis=0)

    def residuals(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each of the t rows is above its prediction from the neighbours, shape (t,)."""
        return self._evaluate(theta)[1]

    def _evaluate(
        self, theta: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        t = len(self.groups)
        scaled = Scaled.by(self.points, theta).arrays()
        loss, residual, gradient = np.empty(t), np.empty(t), np.zeros((t, len(theta)))
        with ThreadPoolExecutor(self.threads) as executor:
            _finish(
                executor.submit(
                    _densities, scaled, self.y, self.groups, variances(theta), part, loss, residual, gradient
                )
                for part in np.array_split(np.arange(t), self.threads * 4)
            )  # fmt: skip
        return loss, residual, gradient


def _finish(futures: Iterable) -> None:  # type: ignore[type-arg]
    for future in list(futures):
        future.result()


@njit(cache=True, nogil=True, fastmath=_FAST)
def _squared(a, i, b, j):  # type: ignore[no-untyped-def]
    total = 0.0
    for dim in range(a.shape[1]):
        gap = a[i, dim] - b[j, dim]
        total += gap * gap
    return total


@njit(cache=True, nogil=True, fastmath=_FAST)
def _covariance(left, right, i, j, variance):  # type: ignore[no-untyped-def]
    r = 1.7320508075688772 * np.sqrt(_squared(left[0], i, right[0], j))
    s = 1.7320508075688772 * np.sqrt(_squared(left[1], i, right[1], j))
    total = variance[1] * (1.0 + r) * np.exp(-r) + variance[2] * (1.0 + s) * np.exp(-s)
    r = 1.7320508075688772 * np.sqrt(_squared(left[2], i, right[2], j))
    s = 1.7320508075688772 * np.sqrt(_squared(left[3], i, right[3], j))
    return total + variance[3] * (1.0 + r) * (1.0 + s) * np.exp(-r - s)


@njit(cache=True, nogil=True)
def _fill(scaled, variance, start, rows, out):  # type: ignore[no-untyped-def]
    """Rows `start` onwards of the lower triangle of the covariance matrix."""
    for row in rows:
        i = start + row
        # The block on the diagonal is filled on both sides: a square that BLAS reads whole.
        for j in range(out.shape[1]):
            out[row, j] = _covariance(scaled, scaled, i, j, variance)
        out[row, i] += variance[0]


@njit(cache=True, nogil=True)
def _mean(queries, known, weights, variance, out):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        total = 0.0
        for j in range(weights.shape[0]):
            total += weights[j] * _covariance(queries, known, i, j, variance)
        out[i] = total


@njit(cache=True, nogil=True, fastmath=_FAST)
def _factorise(matrix):  # type: ignore[no-untyped-def]
    """Cholesky factorisation of a small matrix in place."""
    for i in range(matrix.shape[0]):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = np.sqrt(max(total, 1e-12)) if i == j else total / matrix[j, j]


@njit(cache=True, nogil=True)
def _densities(scaled, y, groups, variance, rows, loss, residual, gradient):  # type: ignore[no-untyped-def]
    m = groups.shape[1] - 1
    matrix = np.empty((m + 1, m + 1))
    forward, weights, duals = np.empty(m), np.empty(m), np.empty(m)
    left, right = np.empty(m + 1), np.zeros(m + 1)
    for t in rows:
        group = groups[t]
        for a in range(m + 1):
            for b in range(a + 1):
                matrix[a, b] = _covariance(scaled, scaled, group[a], group[b], variance)
            matrix[a, a] += variance[0]
        _factorise(matrix)
        estimate = 0.0
        for a in range(m):
            total = y[group[a]]
            for b in range(a):
                total -= matrix[a, b] * forward[b]
            forward[a] = total / matrix[a, a]
            estimate += matrix[m, a] * forward[a]
        for a in range(m - 1, -1, -1):
            dual, weight = forward[a], matrix[m, a]
            for b in range(a + 1, m):
                dual -= matrix[b, a] * duals[b]
                weight -= matrix[b, a] * weights[b]
            duals[a], weights[a] = dual / matrix[a, a], weight / matrix[a, a]
        gap, spread = y[group[m]] - estimate, matrix[m, m] ** 2
        residual[t] = gap
        loss[t] = 0.5 * np.log(2 * np.pi * spread) + 0.5 * gap * gap / spread
        by_spread, by_gap = 0.5 / spread - 0.5 * gap * gap / spread**2, gap / spread
        left[:m], left[m] = -weights, 1.0
        right[:m] = duals
        for a in range(m + 1):
            for b in range(a + 1):
                weight = by_spread * left[a] * left[b] - 0.5 * by_gap * (right[a] * left[b] + right[b] * left[a])
                _add(scaled, group[a], group[b], variance, weight if a == b else 2 * weight, gradient[t])


@njit(cache=True, nogil=True)
def _add(scaled, i, j, variance, weight, gradient):  # type: ignore[no-untyped-def]
    """Add the weight times the derivative of one covariance by theta."""
    place, likeness, place_in_product, likeness_in_product = scaled
    d = likeness.shape[1]
    if i == j:
        gradient[:4] += 2 * weight * variance
        return
    squared = _squared(place, i, place, j)
    r = 1.7320508075688772 * np.sqrt(squared)
    decay = variance[1] * weight * np.exp(-r)
    gradient[1] += 2 * decay * (1 + r)
    gradient[4] -= 3 * decay * squared
    s = 1.7320508075688772 * np.sqrt(_squared(likeness, i, likeness, j))
    decay = variance[2] * weight * np.exp(-s)
    gradient[2] += 2 * decay * (1 + s)
    for k in range(d):
        gap = likeness[i, k] - likeness[j, k]
        gradient[6 + k] -= 3 * decay * gap * gap
    squared = _squared(place_in_product, i, place_in_product, j)
    r = 1.7320508075688772 * np.sqrt(squared)
    s = 1.7320508075688772 * np.sqrt(_squared(likeness_in_product, i, likeness_in_product, j))
    decay = variance[3] * weight * np.exp(-r - s)
    gradient[3] += 2 * decay * (1 + r) * (1 + s)
    gradient[5] -= 3 * decay * (1 + s) * squared
    for k in range(d):
        gap = likeness_in_product[i, k] - likeness_in_product[j, k]
        gradient[6 + d + k] -= 3 * decay * (1 + r) * gap * gap
