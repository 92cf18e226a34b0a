"""Any ensemble of binary trees as flat arrays, evaluated by one compiled loop.

Decision trees, random forests, XGBoost and LightGBM differ in how they grow trees, not in what a grown tree is. Kept
like this they need none of those libraries to answer, and nothing of theirs is ever unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from appraise.features.state import State

_ARRAYS = ("root", "feature", "threshold", "left", "right", "missing_left", "value", "cover")


@dataclass(frozen=True, slots=True)
class Forest:
    """T trees of N nodes in all.

    Attributes:
        root: (T,) position of each tree's root.
        feature: (N,) column that a node asks for, -1 in a leaf.
        threshold: (N,) a row goes left when its value is at most this.
        left, right: (N,) children.
        missing_left: (N,) whether a missing value goes left.
        value: (N,) what a leaf adds.
        cover: (N,) training weight that reached each node, as the library counts it.
        base: added to the sum over trees.
        single: whether values are rounded to single precision first, as the library that grew the trees does.
    """

    root: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]
    cover: NDArray[np.float64]
    base: float
    single: bool

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the trees for each row of X (n, p), shape (n,)."""
        values = self.rounded(X)
        out = np.empty(len(X))
        _evaluate(
            self.root, self.feature, self.threshold, self.left, self.right, self.missing_left, self.value, values, out
        )
        return out + self.base

    def rounded(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """X as it is compared with thresholds, C-contiguous."""
        return X.astype(np.float32).astype(np.float64) if self.single else np.ascontiguousarray(X)

    def state(self) -> State:
        """The arrays."""
        return State(
            data={"base": self.base, "single": self.single}, arrays={name: getattr(self, name) for name in _ARRAYS}
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        arrays = {name: state.arrays[name] for name in _ARRAYS}
        return cls(**arrays, base=state.data["base"], single=state.data["single"])


@njit(cache=True, nogil=True)
def _evaluate(root, feature, threshold, left, right, missing_left, value, X, out):  # type: ignore[no-untyped-def]
    for row in range(X.shape[0]):
        total = 0.0
        for tree in range(root.shape[0]):
            node = root[tree]
            while feature[node] >= 0:
                x = X[row, feature[node]]
                goes_left = missing_left[node] if np.isnan(x) else x <= threshold[node]
                node = left[node] if goes_left else right[node]
            total += value[node]
        out[row] = total


class _Builder:
    """Collects nodes tree by tree."""

    def __init__(self) -> None:
        self.root: list[int] = []
        self.nodes: list[tuple[int, float, int, int, bool, float, float]] = []

    def build(self, *, base: float, single: bool) -> Forest:
        feature, threshold, left, right, missing_left, value, cover = zip(*self.nodes, strict=True)
        return Forest(
            root=np.array(self.root, np.int32),
            feature=np.array(feature, np.int32),
            threshold=np.array(threshold, np.float64),
            left=np.array(left, np.int32),
            right=np.array(right, np.int32),
            missing_left=np.array(missing_left, np.bool_),
            value=np.array(value, np.float64),
            cover=np.array(cover, np.float64),
            base=base,
            single=single,
        )


def from_sklearn(trees: list[Any], *, weight: float) -> Forest:
    """From fitted scikit-learn regression trees, each adding `weight` times its leaf's mean."""
    builder = _Builder()
    for fitted in trees:
        tree = fitted.tree_
        offset = len(builder.nodes)
        builder.root.append(offset)
        for node in range(tree.node_count):
            is_leaf = tree.children_left[node] < 0
            builder.nodes.append(
                (
                    -1 if is_leaf else int(tree.feature[node]),
                    float(tree.threshold[node]),
                    offset + int(tree.children_left[node]),
                    offset + int(tree.children_right[node]),
                    bool(tree.missing_go_to_left[node]),
                    weight * float(tree.value[node, 0, 0]),
                    float(tree.weighted_n_node_samples[node]),
                )
            )
    return builder.build(base=0.0, single=True)


def from_xgboost(model: dict[str, Any]) -> Forest:
    """From XGBoost's JSON model: a row goes left when its single-precision value is below the condition."""
    learner = model["learner"]
    builder = _Builder()
    for tree in learner["gradient_booster"]["model"]["trees"]:
        offset = len(builder.nodes)
        builder.root.append(offset)
        conditions = np.array(tree["split_conditions"], np.float32)
        below = np.nextafter(conditions, np.float32(-np.inf)).astype(np.float64)
        for node, child in enumerate(tree["left_children"]):
            is_leaf = child < 0
            builder.nodes.append(
                (
                    -1 if is_leaf else int(tree["split_indices"][node]),
                    float(below[node]),
                    offset + child,
                    offset + tree["right_children"][node],
                    bool(tree["default_left"][node]),
                    float(conditions[node]) if is_leaf else 0.0,
                    float(tree["sum_hessian"][node]),
                )
            )
    base = str(learner["learner_model_param"]["base_score"]).strip("[]")
    return builder.build(base=float(base), single=True)


def from_lightgbm(model: dict[str, Any]) -> Forest:
    """From LightGBM's dumped model."""
    builder = _Builder()

    def add(node: dict[str, Any]) -> int:
        position = len(builder.nodes)
        if "leaf_value" in node:
            # A tree that is a single leaf counts no rows.
            cover = float(node.get("leaf_count", 1))
            builder.nodes.append((-1, 0.0, -1, -1, False, float(node["leaf_value"]), cover))
            return position
        builder.nodes.append((0, 0.0, 0, 0, False, 0.0, 0.0))
        left, right = add(node["left_child"]), add(node["right_child"])
        threshold = float(node["threshold"])
        # Without missing values in training LightGBM reads a missing value as zero.
        missing_left = threshold >= 0.0 if node["missing_type"] == "None" else bool(node["default_left"])
        cover = float(node["internal_count"])
        builder.nodes[position] = (int(node["split_feature"]), threshold, left, right, missing_left, 0.0, cover)
        return position

    for tree in model["tree_info"]:
        builder.root.append(add(tree["tree_structure"]))
    return builder.build(base=0.0, single=False)
