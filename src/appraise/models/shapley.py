"""Shapley values of trees, compiled: exact, and fast enough to be made for every answer.

The game is that of TreeSHAP (Lundberg et al., "From local explanations to global understanding with explainable AI for
trees", Nature Machine Intelligence 2, 2020), path-dependent: a node that asks for a known feature sends the row where
it goes, a node that asks for an unknown one sends it both ways in proportion to the training weight that went there. It
is what CatBoost, LightGBM and XGBoost report; how it is computed here is not.
"""

from __future__ import annotations

from math import factorial

import numpy as np
from numba import njit
from numpy.typing import NDArray

from appraise.models.forest import Forest
from appraise.models.symmetric import MAX_DEPTH, SymmetricTrees


def symmetric_shapley(trees: SymmetricTrees, X: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Shapley values of symmetric trees.

    A tree of depth D asks for at most D features, so that its game has at most 2**D coalitions. All of their values
    come from D passes over 2**D numbers: each level from the leaves up halves the nodes and doubles the coalitions.

    Args:
        trees: the model.
        X: (n, p) features.

    Returns:
        The value of knowing nothing, and what each feature adds to it, shape (n, p).
    """
    out = np.zeros((len(X), X.shape[1]))
    answers = np.empty((len(X), trees.question_feature.shape[1]), np.uint8)
    base = _symmetric(
        trees.column, trees.border, trees.first_border, trees.question_feature, trees.question_bin, trees.leaf,
        trees.cover, np.ascontiguousarray(X), _COALITION_SIZE, _JOINED, _ABSENT, answers, out,
    )  # fmt: skip
    return trees.base + base, out


def forest_shapley(forest: Forest, X: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Shapley values of any trees, in time proportional to nodes times half the depth.

    A feature's Shapley value is the integral over t in (0, 1) of what it adds when each other feature is known with
    probability t (Owen, "Multilinear extensions of games", Management Science 18, 1972). For a leaf that is d features
    deep the integrand is a polynomial of degree d - 1, which Gauss and Legendre's rule integrates exactly with half as
    many points. At each point the probability of a leaf is a product along its path, so that one pass down and one pass
    up the tree serve all leaves and all features.

    Args:
        forest: the model.
        X: (n, p) features.

    Returns:
        The value of knowing nothing, and what each feature adds to it, shape (n, p).
    """
    out = np.zeros((len(X), X.shape[1]))
    node, parent, same = (np.empty(len(forest.feature), np.int64) for _ in range(3))
    first, features = np.empty(len(forest.root) + 1, np.int64), np.empty(len(forest.root), np.int64)
    _lay_out(forest.root, forest.feature, forest.left, forest.right, node, parent, same, first, features)
    points, weights = _rules((int(features.max(initial=0)) + 1) // 2)
    base = _forest(
        forest.feature, forest.threshold, forest.left, forest.right, forest.missing_left, forest.value, forest.cover,
        forest.rounded(X), node, parent, same, first, features, points, weights, out,
    )  # fmt: skip
    return forest.base + base, out


def _coalition_weights() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of a coalition's value in Shapley's formula, by players (rows) and the coalition's size (columns).

    Returns:
        The weight for a member plus that for one who is absent, and the latter alone.
    """
    joined = np.zeros((MAX_DEPTH + 1, MAX_DEPTH + 1))
    absent = np.zeros_like(joined)
    for players in range(1, MAX_DEPTH + 1):
        orders = factorial(players)
        for size in range(players + 1):
            if size < players:
                absent[players, size] = factorial(size) * factorial(players - size - 1) / orders
            joined[players, size] = absent[players, size]
            if size:
                joined[players, size] += factorial(size - 1) * factorial(players - size) / orders
    return joined, absent


_COALITION_SIZE = np.array([coalition.bit_count() for coalition in range(2**MAX_DEPTH)], np.int64)
_JOINED, _ABSENT = _coalition_weights()


@njit(cache=True, nogil=True)
def _symmetric(  # type: ignore[no-untyped-def]  # noqa: C901
    column, border, first_border, question_feature, question_bin, leaf, cover, X, coalition_size, joined, absent,
    answers, out,
):  # fmt: skip
    trees, depth = question_feature.shape
    leaves = 1 << depth
    # Nodes are numbered as in a heap: the children of i are 2i and 2i + 1, the root is 1. The root asks the last
    # question, whose bit is a leaf's highest, as in CatBoost's own Shapley values.
    weight = np.empty(2 * leaves)
    share = np.empty(2 * leaves)
    expected = np.empty(2 * leaves)
    value = np.empty(leaves)
    player = np.empty(depth, np.int64)
    asked = np.empty(depth, np.int64)
    base = 0.0
    for tree in range(trees):
        weight[leaves:] = cover[tree]
        for node in range(leaves - 1, 0, -1):
            weight[node] = weight[2 * node] + weight[2 * node + 1]
        players = 0
        for level in range(depth):
            player[level] = -1
            feature = question_feature[tree, level]
            # A bin above all borders: the level only pads a shallow tree, and asks for nothing.
            pads = question_bin[tree, level] >= first_border[feature + 1] - first_border[feature]
            first = 1 << (depth - 1 - level)
            for node in range(first, 2 * first):
                left = weight[2 * node] / weight[node] if weight[node] > 0 else 0.5
                share[2 * node] = 1.0 if pads else left
                share[2 * node + 1] = 1.0 - share[2 * node]
            if pads:
                continue
            for other in range(players):
                if asked[other] == feature:
                    player[level] = other
            if player[level] < 0:
                player[level] = players
                asked[players] = feature
                players += 1
            threshold = border[first_border[feature] + question_bin[tree, level]]
            for row in range(X.shape[0]):
                answers[row, level] = np.float32(X[row, column[feature]]) > threshold
        expected[leaves:] = leaf[tree]
        for node in range(leaves - 1, 0, -1):
            expected[node] = share[2 * node] * expected[2 * node] + share[2 * node + 1] * expected[2 * node + 1]
        base += expected[1]

        for row in range(X.shape[0]):
            value[:] = leaf[tree]
            coalitions = 1
            for level in range(depth):
                nodes = 1 << (depth - 1 - level)
                who = player[level]
                if who < 0:
                    for node in range(nodes):
                        for s in range(coalitions):
                            value[node * coalitions + s] = value[2 * node * coalitions + s]
                    continue
                goes = answers[row, level] * coalitions
                if 1 << who < coalitions:
                    # The coalitions tell this level's feature apart already.
                    for node in range(nodes):
                        low, high = share[2 * (nodes + node)], share[2 * (nodes + node) + 1]
                        source = 2 * node * coalitions
                        for s in range(coalitions):
                            known = value[source + goes + s]
                            mixed = low * value[source + s] + high * value[source + coalitions + s]
                            value[node * coalitions + s] = known if (s >> who) & 1 else mixed
                    continue
                for node in range(nodes):
                    low, high = share[2 * (nodes + node)], share[2 * (nodes + node) + 1]
                    a = value[2 * node * coalitions : (2 * node + 1) * coalitions]
                    b = value[(2 * node + 1) * coalitions : (2 * node + 2) * coalitions]
                    if goes:
                        for s in range(coalitions):
                            a[s] = low * a[s] + high * b[s]
                    else:
                        for s in range(coalitions):
                            mixed = low * a[s] + high * b[s]
                            b[s] = a[s]
                            a[s] = mixed
                coalitions *= 2

            without = 0.0
            for s in range(coalitions):
                size = coalition_size[s]
                without += absent[players, size] * value[s]
                value[s] *= joined[players, size]
            for who in range(players - 1, -1, -1):
                half = 1 << who
                total = 0.0
                for s in range(half):
                    total += value[half + s]
                    value[s] += value[half + s]
                out[row, column[asked[who]]] += total - without
    return base


def _rules(most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points in (0, 1) and weights of Gauss-Legendre rules of 0 to `most` points, a row for each."""
    points = np.zeros((most + 1, max(most, 1)))
    weights = np.zeros_like(points)
    for count in range(1, most + 1):
        x, w = np.polynomial.legendre.leggauss(count)
        points[count, :count], weights[count, :count] = (x + 1) / 2, w / 2
    return points, weights


@njit(cache=True, nogil=True)
def _lay_out(root, feature, left, right, node, parent, same, first, features):  # type: ignore[no-untyped-def]
    """Number the reachable nodes of each tree from its root down, so that a node comes after its parent.

    Fills for each number the `node`, the number of its `parent`, and that of the nearest node above it that was reached
    by asking for the same feature as it was (`same`; the root where there is none); for each tree its `first` number,
    and the most distinct `features` on a path.
    """
    distinct = np.empty(len(feature), np.int64)
    filled = 0
    for tree in range(root.shape[0]):
        top = filled
        first[tree] = top
        features[tree] = 0
        node[top], parent[top], same[top], distinct[top] = root[tree], top, top, 0
        filled += 1
        here = top
        while here < filled:
            asked = feature[node[here]]
            if asked >= 0:
                above = here
                while above != top and feature[node[parent[above]]] != asked:
                    above = parent[above]
                below = distinct[here] + (above == top)
                features[tree] = max(features[tree], below)
                for child in (left[node[here]], right[node[here]]):
                    node[filled], parent[filled], same[filled], distinct[filled] = child, here, above, below
                    filled += 1
            here += 1
    first[root.shape[0]] = filled


@njit(cache=True, nogil=True)
def _forest(  # type: ignore[no-untyped-def]  # noqa: C901
    feature, threshold, left, right, missing_left, value, cover, X, node, parent, same, first, features, points,
    weights, out,
):  # fmt: skip
    largest = 0
    for tree in range(features.shape[0]):
        largest = max(largest, first[tree + 1] - first[tree])
    share = np.empty(largest)
    reach = np.empty(largest)
    is_left = np.empty(largest, np.bool_)
    goes_left = np.empty(largest, np.bool_)
    # Of each node's feature, from all that the path to it asks for: the share of training weight that goes the path's
    # way wherever it is asked for, and whether the row does.
    z = np.empty(largest)
    o = np.empty(largest)
    most = points.shape[1]
    inverse = np.empty((largest, most))
    probability = np.empty((largest, most))
    below = np.empty((largest, most))
    base = 0.0
    for tree in range(features.shape[0]):
        start = first[tree]
        size = first[tree + 1] - start
        rule = (features[tree] + 1) // 2
        t, w = points[rule], weights[rule]
        share[0] = reach[0] = 1.0
        for i in range(size):
            here = node[start + i]
            if i:
                above = node[parent[start + i]]
                is_left[i] = left[above] == here
                both = cover[left[above]] + cover[right[above]]
                share[i] = cover[here] / both if both > 0 else 0.5
                reach[i] = reach[parent[start + i] - start] * share[i]
            if feature[here] < 0:
                base += reach[i] * value[here]
        if size == 1:
            continue
        z[0] = o[0] = 1.0
        inverse[0] = 1.0
        probability[0] = 1.0
        for row in range(X.shape[0]):
            for i in range(size):
                here = node[start + i]
                is_leaf = feature[here] < 0
                if not is_leaf:
                    x = X[row, feature[here]]
                    goes_left[i] = missing_left[here] if np.isnan(x) else x <= threshold[here]
                if i:
                    up, again = parent[start + i] - start, same[start + i] - start
                    z[i] = z[again] * share[i]
                    o[i] = o[again] if is_left[i] == goes_left[up] else 0.0
                    for q in range(rule):
                        known = t[q] * o[i] + (1.0 - t[q]) * z[i]
                        # Where neither the row nor any training weight goes, nothing is to be reached.
                        inverse[i, q] = 1.0 / known if known > 0.0 else 1.0
                        probability[i, q] = probability[up, q] * inverse[again, q] * known
                for q in range(rule):
                    below[i, q] = probability[i, q] * value[here] * w[q] if is_leaf else 0.0
            for i in range(size - 1, 0, -1):
                up, again = parent[start + i] - start, same[start + i] - start
                own, before = o[i] - z[i], o[again] - z[again]
                total = 0.0
                for q in range(rule):
                    below[up, q] += below[i, q]
                    total += below[i, q] * (own * inverse[i, q] - before * inverse[again, q])
                out[row, feature[node[start + up]]] += total
    return base
