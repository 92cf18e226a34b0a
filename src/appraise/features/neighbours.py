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

#: Depth of the traversal stack; a balanced tree of 2**48 leaves would fit.
_STACK = 64


@dataclass(frozen=True, slots=True)
class Tree:
    """A balanced k-d tree over n points in d dimensions.

    Attributes:
        points: (leaves, d, LEAF) coordinates by leaf, float32, padded with infinity.
        index: (leaves, LEAF) position of each point in the array that the tree was built from, -1 for padding.
        days: (leaves, LEAF) the day of each point, float64, padded with infinity.
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
        by_leaf = np.full(leaves * LEAF, np.inf)
        by_leaf[:n] = known_from[order]
        return cls(
            points=np.ascontiguousarray(padded.reshape(leaves, LEAF, d).transpose(0, 2, 1)),
            index=index.reshape(leaves, LEAF),
            days=by_leaf.reshape(leaves, LEAF),
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


@njit(cache=True, nogil=True, inline="always")
def _sift_down(heap_distance, heap_index, size):  # type: ignore[no-untyped-def]
    i = 0
    distance, index = heap_distance[0], heap_index[0]
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            heap_distance[right] > heap_distance[child]
            or (heap_distance[right] == heap_distance[child] and heap_index[right] > heap_index[child])
        ):
            child = right
        if heap_distance[child] < distance or (heap_distance[child] == distance and heap_index[child] < index):
            break
        heap_distance[i], heap_index[i] = heap_distance[child], heap_index[child]
        i = child
    heap_distance[i], heap_index[i] = distance, index


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def nearest(  # type: ignore[no-untyped-def]
    points, index, days, lower, upper, first_day, query, before, exclude, most_leaves, heap_distance, heap_index
):
    """Fill the buffers with the nearest points, nearest first, ties by position; return how many there are.

    `heap_distance` (float32, squared distances) and `heap_index` (int32) have length k and serve as the heap. The
    search ends after `most_leaves` leaves: in many dimensions most of the time goes into proving what was found early.
    """
    visited = 0
    k = heap_distance.shape[0]
    d = query.shape[0]
    for i in range(k):
        heap_distance[i] = np.inf
        heap_index[i] = 2147483647
    leaf_distance = np.empty(LEAF, np.float32)
    node_stack = np.empty(_STACK, np.int32)
    from_stack = np.empty(_STACK, np.int32)
    to_stack = np.empty(_STACK, np.int32)
    bound_stack = np.empty(_STACK, np.float32)
    node_stack[0] = 0
    from_stack[0] = 0
    to_stack[0] = points.shape[0]
    bound_stack[0] = 0
    top = 1
    while top:
        top -= 1
        if bound_stack[top] > heap_distance[0]:
            continue
        node, a, b = node_stack[top], from_stack[top], to_stack[top]
        if b - a > 1:
            middle = (a + b) // 2
            left, right = node + 1, node + 2 * (middle - a)
            left_bound = np.float32(0)
            right_bound = np.float32(0)
            for dim in range(d):
                value = query[dim]
                gap = max(lower[left, dim] - value, value - upper[left, dim], np.float32(0))
                left_bound += gap * gap
                gap = max(lower[right, dim] - value, value - upper[right, dim], np.float32(0))
                right_bound += gap * gap
            left_bound *= _ROUNDING
            right_bound *= _ROUNDING
            left_open = first_day[left] < before and left_bound <= heap_distance[0]
            right_open = first_day[right] < before and right_bound <= heap_distance[0]
            # The nearer child is pushed last, so that it is searched first.
            if left_bound <= right_bound:
                if right_open:
                    node_stack[top], from_stack[top], to_stack[top], bound_stack[top] = right, middle, b, right_bound
                    top += 1
                if left_open:
                    node_stack[top], from_stack[top], to_stack[top], bound_stack[top] = left, a, middle, left_bound
                    top += 1
            else:
                if left_open:
                    node_stack[top], from_stack[top], to_stack[top], bound_stack[top] = left, a, middle, left_bound
                    top += 1
                if right_open:
                    node_stack[top], from_stack[top], to_stack[top], bound_stack[top] = right, middle, b, right_bound
                    top += 1
            continue
        # Leaves without a known sale are passed by: a search that ends must not end with nothing.
        if visited >= most_leaves and heap_distance[0] < np.inf:
            break
        visited += 1
        for lane in range(LEAF):
            leaf_distance[lane] = 0
        for dim in range(d):
            value = query[dim]
            for lane in range(LEAF):
                gap = points[a, dim, lane] - value
                leaf_distance[lane] += gap * gap
        for lane in range(LEAF):
            distance = leaf_distance[lane]
            if distance > heap_distance[0]:
                continue
            position = index[a, lane]
            if position < 0 or position == exclude or not days[a, lane] < before:
                continue
            if distance < heap_distance[0] or position < heap_index[0]:
                heap_distance[0] = distance
                heap_index[0] = position
                _sift_down(heap_distance, heap_index, k)
    count = 0
    for i in range(k):
        if heap_distance[i] < np.inf:
            count += 1
    for size in range(k - 1, 0, -1):
        heap_distance[0], heap_distance[size] = heap_distance[size], heap_distance[0]
        heap_index[0], heap_index[size] = heap_index[size], heap_index[0]
        _sift_down(heap_distance, heap_index, size)
    return count


@njit(cache=True, nogil=True)
def _query_all(  # type: ignore[no-untyped-def]
    points, index, days, lower, upper, first_day, queries, before, exclude, found, distances
):
    k = found.shape[1]
    heap_distance = np.empty(k, np.float32)
    heap_index = np.empty(k, np.int32)
    for row in range(queries.shape[0]):
        count = nearest(
            points, index, days, lower, upper, first_day, queries[row], before[row], exclude[row], EVERY_LEAF,
            heap_distance, heap_index,
        )  # fmt: skip
        for i in range(k):
            found[row, i] = heap_index[i] if i < count else -1
            distances[row, i] = np.sqrt(heap_distance[i]) if i < count else np.inf
