"""A k-d tree for nearest earlier sales, compiled, with bounded work for one query and none in Python.

The tree is a flat set of arrays, so that it is saved, shared between threads and rebuilt without ceremony. Leaves hold
`LEAF` points in structure-of-arrays order, which lets the compiler measure a whole leaf at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Points in a leaf: four vectors of eight single-precision lanes.
LEAF = 32

#: The distance to a box, rounded otherwise than that to a point in it, may come out above it by less than this share;
#: uncorrected, it would hide points that are equally far.
_ROUNDING = np.float32(1.0 - 4e-6)

#: As many leaves as a search may need to be exact.
EVERY_LEAF = 2**62

#: No distance is greater: that of padding is infinite, and what overflows is too far to be compared.
_FARTHEST = np.finfo(np.float32).max

#: The key of no point: behind all others.
_NOTHING = (np.int64(_FARTHEST.view(np.int32)) << 32) + 0xFFFFFFFF

#: What of floating point the compiler may rearrange; infinities are kept.
_FAST = {"contract", "reassoc", "nsz"}

#: Depth of the traversal stack; a balanced tree of 2**48 leaves would fit.
_STACK = 64


@dataclass(frozen=True, slots=True)
class Tree:
    """A balanced k-d tree over n points in d dimensions.

    Attributes:
        points: (leaves, d, LEAF) coordinates by leaf, float32, padded with infinity.
        index: (leaves, LEAF) position of each point in the array that the tree was built from, -1 for padding.
        days: (leaves, LEAF) the day of each point, float64, padded with infinity; (1, LEAF) where all are known always.
        lower, upper: (nodes, d) bounding box of each node, float32.
        first_day: (nodes,) earliest day below each node.
    """

    points: NDArray[np.float32]
    index: NDArray[np.int32]
    days: NDArray[np.float64]
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]
    first_day: NDArray[np.float64]

    @classmethod
    def build(cls, points: NDArray[np.float64], days: NDArray[np.float64] | None = None) -> Tree:
        """Build the tree.

        Args:
            points: (n, d) coordinates, finite in single precision, n >= 1, d >= 1.
            days: (n,) the day from which a point counts as known; None makes all of them known always.

        Raises:
            ValueError: for no points, no dimensions, or a coordinate that is not finite.
        """
        n, d = points.shape
        if n == 0 or d == 0:
            raise ValueError("a tree needs at least one point in at least one dimension")
        with np.errstate(over="ignore"):
            single = np.ascontiguousarray(points, dtype=np.float32)
        if not np.isfinite(single).all():
            raise ValueError("a tree needs finite coordinates")
        known_from = np.full(n, -np.inf) if days is None else np.ascontiguousarray(days, dtype=np.float64)
        leaves = -(-n // LEAF)
        order = np.arange(n, dtype=np.int32)
        lower = np.empty((2 * leaves - 1, d), np.float32)
        upper = np.empty((2 * leaves - 1, d), np.float32)
        first_day = np.empty(2 * leaves - 1)
        _build(single, known_from, order, lower, upper, first_day, leaves)
        padded = np.full((leaves * LEAF, d), np.inf, np.float32)
        padded[:n] = single[order]
        index = np.full(leaves * LEAF, -1, np.int32)
        index[:n] = order
        by_leaf = known_from[:1].repeat(LEAF)
        if days is not None:
            by_leaf = np.full(leaves * LEAF, np.inf)
            by_leaf[:n] = known_from[order]
        return cls(
            points=np.ascontiguousarray(padded.reshape(leaves, LEAF, d).transpose(0, 2, 1)),
            index=index.reshape(leaves, LEAF),
            days=by_leaf.reshape(-1, LEAF),
            lower=lower,
            upper=upper,
            first_day=first_day,
        )

    def query(
        self,
        points: NDArray[np.float64],
        k: int,
        *,
        before: NDArray[np.float64] | None = None,
        exclude: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The k nearest points to each of q query points, nearest first.

        Args:
            points: (q, d) query coordinates.
            k: how many neighbours.
            before: (q,) only points of an earlier day count; None lets all of them count.
            exclude: (q,) position of the one point that does not count, -1 for none.

        Returns:
            positions (q, k), -1 where there are fewer than k, and distances (q, k), infinite there.
        """
        q = len(points)
        found = np.empty((q, k), np.int64)
        distances = np.empty((q, k), np.float64)
        _query_all(
            *self.arrays(),
            np.ascontiguousarray(points, dtype=np.float32),
            np.full(q, np.inf) if before is None else np.ascontiguousarray(before, dtype=np.float64),
            np.full(q, -1, np.int64) if exclude is None else np.ascontiguousarray(exclude, dtype=np.int64),
            found,
            distances,
        )
        return found, distances

    def arrays(
        self,
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.int32],
        NDArray[np.float64],
        NDArray[np.float32],
        NDArray[np.float32],
        NDArray[np.float64],
    ]:
        """The arrays in the order in which compiled kernels take them."""
        return self.points, self.index, self.days, self.lower, self.upper, self.first_day


@njit(cache=True, nogil=True)
def _select(points, order, low, high, rank, dim):  # type: ignore[no-untyped-def]
    """Reorder `order[low:high]` so that the `rank` smallest along `dim` come first; ties go by position."""
    left, right = low, high - 1
    target = low + rank
    while left < right:
        middle = (left + right) // 2
        pivot = order[middle]
        pivot_value = points[pivot, dim]
        i, j = left, right
        while i <= j:
            while points[order[i], dim] < pivot_value or (points[order[i], dim] == pivot_value and order[i] < pivot):
                i += 1
            while points[order[j], dim] > pivot_value or (points[order[j], dim] == pivot_value and order[j] > pivot):
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if target <= j:
            right = j
        elif target >= i:
            left = i
        else:
            return


@njit(cache=True, nogil=True)
def _build(points, days, order, lower, upper, first_day, leaves):  # type: ignore[no-untyped-def]
    n, d = points.shape
    stack = np.empty((_STACK, 3), np.int64)
    stack[0] = 0, 0, leaves
    top = 1
    while top:
        top -= 1
        node, a, b = stack[top]
        start, stop = a * LEAF, min(b * LEAF, n)
        widest, width = 0, np.float32(-1)
        for dim in range(d):
            low = high = points[order[start], dim]
            for i in range(start + 1, stop):
                value = points[order[i], dim]
                low = min(low, value)
                high = max(high, value)
            lower[node, dim] = low
            upper[node, dim] = high
            if high - low > width:
                widest, width = dim, high - low
        earliest = days[order[start]]
        for i in range(start + 1, stop):
            earliest = min(earliest, days[order[i]])
        first_day[node] = earliest
        if b - a > 1:
            middle = (a + b) // 2
            _select(points, order, start, stop, middle * LEAF - start, widest)
            stack[top] = node + 2 * (middle - a), middle, b
            stack[top + 1] = node + 1, a, middle
            top += 2


@njit(cache=True, nogil=True)
def workspace(k):  # type: ignore[no-untyped-def]
    """Buffers of a search for k points: the found, a leaf's distances and candidates, and what is left to visit.

    One for each thread and loop, so that no search allocates.
    """
    return (
        np.empty(k, np.int64),
        np.empty(LEAF, np.float32),
        np.empty(LEAF, np.int64),
        np.empty((_STACK, 3), np.int64),
        np.empty(_STACK, np.float32),
    )


@njit(cache=True, nogil=True)
def distance_of(key):  # type: ignore[no-untyped-def]
    """The distance of a found point, float32."""
    return np.sqrt(np.int32(key >> 32).view(np.float32))


@njit(cache=True, nogil=True)
def position_of(key):  # type: ignore[no-untyped-def]
    """The position of a found point in the array that the tree was built from."""
    return np.int32(key & 0xFFFFFFFF)


@njit(cache=True, nogil=True)
def insert(ascending, value):  # type: ignore[no-untyped-def]
    """Put a value into its place among ascending ones, the greatest of which falls out.

    Every place is written, without a branch, so that the compiler does eight at a time: half the time of a heap.
    """
    before = value
    for i in range(ascending.shape[0]):
        here = ascending[i]
        ascending[i] = here if here < value else max(value, before)
        before = here


@njit(cache=True, nogil=True, fastmath=_FAST)
def _gap(lower, upper, query, node):  # type: ignore[no-untyped-def]
    """Squared distance from a point to a node's box, never above that to a point in it."""
    total = np.float32(0)
    for dim in range(query.shape[0]):
        gap = max(lower[node, dim] - query[dim], query[dim] - upper[node, dim], np.float32(0))
        total += gap * gap
    return total * _ROUNDING


@njit(cache=True, nogil=True, fastmath=_FAST)
def nearest(points, index, days, lower, upper, first_day, query, before, exclude, most_leaves, work):  # type: ignore[no-untyped-def]
    """Find the nearest points; return how many there are, at most k.

    They are the first of `work[0]`, nearest first, ties by position; `distance_of` and `position_of` read them. A key
    is the squared distance's bits above the position: as integers such keys have the order that is wanted.

    The search ends after `most_leaves` leaves: in many dimensions most of the time goes into proving what was found.
    """
    found, distances, fresh, stack, bounds = work
    bits = distances.view(np.int32)
    last = found.shape[0] - 1
    found[:] = _NOTHING
    worst = _FARTHEST
    visited = 0
    stack[0] = 0, 0, points.shape[0]
    bounds[0] = 0
    top = 1
    while top:
        top -= 1
        if bounds[top] > worst:
            continue
        node, a, b = stack[top]
        if b - a > 1:
            middle = (a + b) // 2
            left, right = node + 1, node + 2 * (middle - a)
            left_bound = _gap(lower, upper, query, left)
            right_bound = _gap(lower, upper, query, right)
            # The nearer child is pushed last, so that it is searched first.
            for step in range(2):
                if (step == 0) == (left_bound <= right_bound):
                    child, start, stop, bound = right, middle, b, right_bound
                else:
                    child, start, stop, bound = left, a, middle, left_bound
                if bound <= worst and first_day[child] < before:
                    stack[top, 0], stack[top, 1], stack[top, 2] = child, start, stop
                    bounds[top] = bound
                    top += 1
            continue
        # Leaves without a known sale are passed by: a search that ends must not end with nothing.
        if visited >= most_leaves and worst < _FARTHEST:
            break
        visited += 1
        distances[:] = 0
        for dim in range(points.shape[1]):
            value = query[dim]
            for lane in range(LEAF):
                gap = points[a, dim, lane] - value
                distances[lane] += gap * gap
        known_from = days[min(a, days.shape[0] - 1)]
        count = 0
        for lane in range(LEAF):
            fresh[count] = (np.int64(bits[lane]) << 32) | index[a, lane]
            count += (distances[lane] <= worst) & (known_from[lane] < before) & (index[a, lane] != exclude)
        for i in range(count):
            if fresh[i] < found[last]:
                insert(found, fresh[i])
        worst = np.int32(found[last] >> 32).view(np.float32)
    count = 0
    for i in range(last + 1):
        count += found[i] < _NOTHING
    return count


@njit(cache=True, nogil=True)
def _query_all(  # type: ignore[no-untyped-def]
    points, index, days, lower, upper, first_day, queries, before, exclude, found, distances
):
    k = found.shape[1]
    work = workspace(k)
    for row in range(queries.shape[0]):
        count = nearest(
            points, index, days, lower, upper, first_day, queries[row], before[row], exclude[row], EVERY_LEAF, work
        )
        for i in range(k):
            found[row, i] = position_of(work[0][i]) if i < count else -1
            distances[row, i] = distance_of(work[0][i]) if i < count else np.inf
