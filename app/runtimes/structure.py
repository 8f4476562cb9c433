"""The arrays of indices inside tree models, checked: C code follows them without looking.

A crafted child or feature index makes scoring read memory that is not the model's. What is checked here can't: each
child comes after its parent (so walks end), and each feature is one that the rows have.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.runtimes.errors import UnsafeArtifact
from app.runtimes.parts import parts_of

_LEAF = -1  # sklearn.tree._tree.TREE_LEAF
Integers = NDArray[np.int64]


def check_sklearn(model: Any) -> None:
    """Check every tree and support vector machine inside a scikit-learn model.

    Raises:
        UnsafeArtifact: one of them would read out of bounds, or read files that its input names.
    """
    for part in parts_of(model):
        if check := _CHECKS.get(type(part).__name__):
            check(part)
        if hasattr(part, "tree_"):
            _require(
                part.tree_.n_features == part.n_features_in_, "a tree wants more features than its model"
            )
        if hasattr(part, "_predictors"):
            _check_histogram_model(part)
        if hasattr(part, "estimators_"):
            _check_ensemble(part)
        if hasattr(part, "build_analyzer"):
            _require(part.input == "content", "a vectorizer would open files whose names come with the rows")


def _require(holds: bool, problem: str) -> None:  # noqa: FBT001 - an assertion, read as one
    if not holds:
        raise UnsafeArtifact(f"the model was crafted or damaged: {problem}")


def _check_tree(tree: Any) -> None:
    left, right = tree.children_left, tree.children_right
    inner = left != _LEAF
    _require(bool((inner == (right != _LEAF)).all()), "a node has one child only")
    _require(len(left) > 0, "a tree has no nodes")
    _check_children(left, right, inner)
    _check_features(tree.feature[inner], tree.n_features)


def _check_children(left: Integers, right: Integers, inner: NDArray[np.bool_]) -> None:
    parents, count = np.flatnonzero(inner), len(left)
    for children in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        _require(
            bool((children > parents).all() and (children < count).all()), "a child lies outside its tree"
        )


def _check_features(features: Any, count: int) -> None:
    _require(
        bool((features >= 0).all() and (features < count).all()), "a split uses a feature that no row has"
    )


def _check_ensemble(ensemble: Any) -> None:
    """Forests hand the rows to their trees without checking the width again."""
    trees = [
        tree for tree in np.ravel(np.array(ensemble.estimators_, dtype=object)) if hasattr(tree, "tree_")
    ]
    subsets = getattr(ensemble, "estimators_features_", None)
    width = ensemble.n_features_in_ if hasattr(ensemble, "n_features_in_") else None
    wanted: Iterable[int | None]
    if subsets is None or getattr(ensemble, "_max_features", None) == width:
        wanted = [width] * len(trees)
    else:
        wanted = map(len, subsets)
    for tree, columns in zip(trees, wanted, strict=False):
        _require(tree.tree_.n_features == columns, "a tree wants more features than its ensemble hands it")


def _check_histogram_model(model: Any) -> None:
    """Gradient boosting over histograms keeps its trees as arrays of records."""
    features = model.n_features_in_
    categorical = np.asarray(model._bin_mapper.is_categorical_)
    _require(len(categorical) == features, "the bins are those of other features")
    for predictor in (tree for round_ in model._predictors for tree in round_):
        _check_predictor(predictor, categorical)


def _check_predictor(predictor: Any, categorical: NDArray[Any]) -> None:
    nodes = predictor.nodes
    inner = ~nodes["is_leaf"].astype(bool)
    _require(len(nodes) > 0, "a tree has no nodes")
    _check_children(nodes["left"], nodes["right"], inner)
    _check_features(nodes["feature_idx"][inner], len(categorical))
    by_category = nodes[inner & nodes["is_categorical"].astype(bool)]
    _require(
        bool(categorical[by_category["feature_idx"]].all()), "a split by category uses a feature without any"
    )
    count = min(len(predictor.raw_left_cat_bitsets), len(predictor.binned_left_cat_bitsets))
    _require(bool((by_category["bitset_idx"] < count).all()), "a split by category lacks its categories")


def _check_svm(model: Any) -> None:
    """LIBSVM walks support vectors by counts that are stored beside them."""
    count, classes = len(model.support_), len(getattr(model, "classes_", (0, 0)))
    pairs = classes * (classes - 1) // 2
    per_class = np.asarray(model._n_support if hasattr(model, "classes_") else model._n_support[:1])
    _require(model.kernel != "precomputed", "a precomputed kernel takes no rows")
    _require(
        bool((per_class >= 0).all()) and int(per_class.sum()) == count, "the support vectors don't add up"
    )
    _require(len(model._n_support) == classes, "a class has no support vectors")
    _require(model.support_vectors_.shape == (count, model.n_features_in_), "the support vectors don't fit")
    _require(model._dual_coef_.shape == (classes - 1, count), "the coefficients don't fit")
    _require(model._intercept_.shape == (pairs,), "the intercepts don't fit")
    for extra in (model._probA, model._probB):
        _require(len(extra) in (0, pairs), "the parameters of the probabilities don't fit")


_CHECKS = {
    "Tree": _check_tree,
    "SVC": _check_svm,
    "NuSVC": _check_svm,
    "SVR": _check_svm,
    "NuSVR": _check_svm,
    "OneClassSVM": _check_svm,
}


def check_xgboost(booster: Any) -> None:
    """Check every tree of an XGBoost booster.

    Raises:
        UnsafeArtifact: one of them would read out of bounds.
    """
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    boosted = learner["gradient_booster"]
    width = int(booster.num_features())
    for tree in boosted.get("gbtree", boosted).get("model", {}).get("trees", []):
        left = np.array(tree["left_children"], dtype=np.int64)
        right = np.array(tree["right_children"], dtype=np.int64)
        inner = left != _LEAF
        _require(
            len(left) == len(right) == len(tree["split_indices"]) == len(tree["split_conditions"]),
            "ragged tree",
        )
        _check_children(left, right, inner)
        _check_features(np.array(tree["split_indices"], dtype=np.int64)[inner], width)


def check_lightgbm(text: str) -> None:
    """Check every tree of a LightGBM text model, before LightGBM sees it.

    Raises:
        UnsafeArtifact: one of them would read out of bounds.
    """
    is_whole = "\nparameters:" not in text or "\nend of parameters" in text
    _require(is_whole, "it ends within its parameters, which LightGBM reads on beyond the end")
    header, *trees = text.split("\nTree=")
    width = _settings(header).get("max_feature_idx", "")
    _require(width.isdecimal(), "the number of features is missing")
    for tree in trees:
        _check_lightgbm_tree(_settings(tree), int(width) + 1)


def _settings(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _check_lightgbm_tree(tree: dict[str, str], width: int) -> None:
    leaves = int(tree.get("num_leaves", "0"))
    nodes = leaves - 1
    left, right, features, kinds = (_integers(tree, key) for key in _NODE_ARRAYS)
    _require(
        leaves > 0 and all(len(a) == nodes for a in (left, right, features)),
        "a tree's arrays differ in length",
    )
    _require(len(tree.get("leaf_value", "").split()) == leaves, "a tree lacks leaf values")
    for children in (left, right):
        within = ((children >= 0) & (children > np.arange(nodes)) & (children < nodes)) | (
            (children < 0) & (~children < leaves)
        )
        _require(bool(within.all()), "a child lies outside its tree")
    _check_features(features, width)
    _check_lightgbm_categories(tree, kinds)


_NODE_ARRAYS = ("left_child", "right_child", "split_feature", "decision_type")
_CATEGORICAL = 1  # LightGBM's kCategoricalMask in decision_type


def _check_lightgbm_categories(tree: dict[str, str], kinds: Sequence[int] | Integers) -> None:
    by_category = (np.asarray(kinds, dtype=np.int64) & _CATEGORICAL) == 1
    if not by_category.any():
        return
    edges, words = _integers(tree, "cat_boundaries"), len(tree.get("cat_threshold", "").split())
    picks = np.array(tree.get("threshold", "").split(), dtype=np.float64)
    _require(len(picks) == len(by_category), "a tree's arrays differ in length")
    chosen = picks[by_category]
    _require(
        bool((chosen >= 0).all() and (chosen < len(edges) - 1).all()),
        "a split by category lacks its categories",
    )
    _require(
        bool((np.diff(edges) >= 0).all() and edges[0] >= 0 and edges[-1] <= words),
        "categories lie out of bounds",
    )


def _integers(tree: dict[str, str], key: str) -> Integers:
    return np.array(tree.get(key, "").split(), dtype=np.int64)
