"""Boosted trees walked in one call: the same bits as scikit-learn's own hundred calls (D12)."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.runtimes.one_walk import MOST_CELLS, _Grove, walk_at_once


def binary() -> tuple[Any, NDArray[np.float64]]:
    rows, y = load_breast_cancer(return_X_y=True)
    return HistGradientBoostingClassifier(max_iter=30).fit(rows, y), rows


def three_classes() -> tuple[Any, NDArray[np.float64]]:
    rows, y = load_iris(return_X_y=True)
    return HistGradientBoostingClassifier(max_iter=20).fit(rows, y), rows


def one_tree() -> tuple[Any, NDArray[np.float64]]:
    rows, y = load_diabetes(return_X_y=True)
    return HistGradientBoostingRegressor(max_iter=1).fit(rows, y), rows


def counts() -> tuple[Any, NDArray[np.float64]]:
    rows, y = load_diabetes(return_X_y=True)
    return HistGradientBoostingRegressor(max_iter=40, loss="poisson").fit(rows, y), rows


def with_gaps() -> tuple[Any, NDArray[np.float64]]:
    rows, y = load_breast_cancer(return_X_y=True)
    rows[np.random.default_rng(1).random(rows.shape) < 0.2] = np.nan
    rows[:, 3] = 1.0  # nothing to split by
    return HistGradientBoostingClassifier(max_iter=30).fit(rows, y), rows


MODELS = [binary, three_classes, one_tree, counts, with_gaps]


def answers(model: Any, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    ask = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    return np.asarray(ask(rows))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("together", [1, 2, 7, 150])
def test_the_answers_are_those_of_scikit_learn_to_the_last_bit(make: Any, together: int) -> None:
    model, rows = make()
    pieces = [rows[start : start + together] for start in range(0, 150, together)]
    wanted = [answers(model, piece) for piece in pieces]
    walk_at_once(model)
    assert "_raw_predict" in vars(model)
    for piece, want in zip(pieces, wanted, strict=True):
        np.testing.assert_array_equal(answers(model, piece), want)


def test_a_booster_behind_other_steps_walks_at_once_too() -> None:
    rows, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=10)).fit(rows, y)
    wanted = model.predict_proba(rows[:5])
    walk_at_once(model)
    assert "_raw_predict" in vars(model[-1])
    np.testing.assert_array_equal(model.predict_proba(rows[:5]), wanted)


def test_splits_by_category_stay_with_scikit_learn() -> None:
    rows, y = load_iris(return_X_y=True)
    rows = np.column_stack([rows, np.arange(len(rows)) % 3])
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features=[4]).fit(rows, y)
    walk_at_once(model)
    assert "_raw_predict" not in vars(model)


def test_a_tree_that_would_answer_otherwise_is_found_out() -> None:
    model, _ = binary()
    grove = _Grove(model)
    assert grove.agrees()
    grove._nodes["value"] += 1e-9
    assert not grove.agrees()


def test_a_model_too_large_for_the_cache_stays_with_scikit_learn() -> None:
    rows = np.random.default_rng(2).random((200, 2000))
    model = HistGradientBoostingRegressor(max_iter=70, min_samples_leaf=50).fit(rows, rows[:, 0])
    assert 70 * (rows.shape[1] + 1) > MOST_CELLS
    walk_at_once(model)
    assert "_raw_predict" not in vars(model)


def test_a_table_of_another_kind_is_left_to_scikit_learn_and_its_checks() -> None:
    model, rows = binary()
    wanted = model.predict_proba(rows[:3])
    walk_at_once(model)
    np.testing.assert_array_equal(model.predict_proba(rows[:3].tolist()), wanted)
    with pytest.raises(ValueError, match="features"):
        model.predict_proba(rows[:3, :5])
