"""Histogram gradient boosting of scikit-learn answers few rows in one walk over all of its trees.

scikit-learn calls its compiled code once for each tree, at 6 µs a call however few the rows: 600 µs for a hundred
trees, most of it to look at the type of the nodes' records. Here the trees stand in one array, under selectors that
lead by one more column, the tree's number, to the root of each. So one call of the same compiled code walks them all,
over as many copies of a row as there are trees. The leaves are added up in scikit-learn's order: the sums are equal to
the last bit. Many rows are left to scikit-learn, which by then is as quick.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.runtimes.parts import parts_of

MOST_CELLS = 1 << 17  # of all copies of all rows: 1 MB, which stays in a core's cache
TRIAL_ROWS = 33
_BOOSTERS = frozenset({"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"})


def walk_at_once(model: Any) -> None:
    """Let the boosters inside a fitted model answer few rows in one walk, where that proves to be equal."""
    for part in parts_of(model):
        if type(part).__name__ in _BOOSTERS and part._preprocessor is None:
            grove = _Grove(part)
            if grove.agrees():
                part._raw_predict = grove.raw_predict


class _Grove:
    """Every tree of one booster as a single one; the booster itself for what that is not made for."""

    def __init__(self, booster: Any) -> None:
        from sklearn.ensemble._hist_gradient_boosting._predictor import _predict_from_raw_data  # noqa: PLC0415

        trees = [tree for iteration in booster._predictors for tree in iteration]
        self._walk = _predict_from_raw_data
        self._by_itself = booster._raw_predict
        self._thresholds = booster._bin_mapper.bin_thresholds_
        self._width = int(booster.n_features_in_)
        self._nodes = _join([tree.nodes for tree in trees], selecting_by=self._width)
        self._numbers = np.arange(len(trees), dtype=np.float64)[:, np.newaxis]
        self._categories = (
            trees[0].raw_left_cat_bitsets,
            *booster._bin_mapper.make_known_categories_bitsets(),
        )
        self._baseline = booster._baseline_prediction.T
        self._most_rows = MOST_CELLS // (len(trees) * (self._width + 1))

    def raw_predict(self, table: Any, n_threads: int | None = None) -> NDArray[np.float64]:
        """What scikit-learn's method of this name returns: the sums of the leaves, shape (rows, trees an iteration)."""
        if self._takes(table):
            return self._walk_once(table)
        answer: NDArray[np.float64] = self._by_itself(table, n_threads)
        return answer

    def agrees(self) -> bool:
        """Whether rows around the booster's own thresholds, alone and together, have the same sums either way."""
        return all(
            self._takes(rows) and np.array_equal(self._walk_once(rows), self._by_itself(rows))
            for rows in self._trials()
        )

    def _takes(self, table: Any) -> bool:
        return (
            type(table) is np.ndarray
            and table.dtype == np.float64
            and table.ndim == 2
            and table.shape[1] == self._width
            and 0 < len(table) <= self._most_rows
        )

    def _walk_once(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        count, trees = len(table), len(self._numbers)
        copies = np.empty((trees, count, self._width + 1))
        copies[:, :, :-1] = table
        copies[:, :, -1] = self._numbers
        leaves = np.empty(trees * count)
        self._walk(self._nodes, copies.reshape(-1, self._width + 1), *self._categories, 1, leaves)
        outputs = len(self._baseline)
        sums = np.empty((1 + trees // outputs, outputs, count))
        sums[0] = self._baseline
        sums[1:] = leaves.reshape(-1, outputs, count)
        # Accumulating goes one by one, as scikit-learn does; `sum` may add in pairs, and then rounds otherwise.
        totals: NDArray[np.float64] = np.add.accumulate(sums, axis=0)[-1]
        return totals.T

    def _trials(self) -> Iterator[NDArray[np.float64]]:
        generator = np.random.default_rng(0)
        rows = np.column_stack(
            [
                generator.choice([*values, *np.nextafter(values, np.inf), 0.0, np.nan], TRIAL_ROWS)
                for values in self._thresholds
            ]
        )
        most = max(1, self._most_rows)
        yield from (rows[:1], rows[1 : 1 + most])


def _join(trees: list[NDArray[Any]], *, selecting_by: int) -> NDArray[Any]:
    """The nodes of all trees in one array; its root leads to tree i the rows that hold i in a column."""
    first = len(trees) - 1
    starts = (first + np.cumsum([0, *map(len, trees)])).astype(np.uint32)
    nodes = np.zeros(starts[-1], trees[0].dtype)
    for tree, start in zip(trees, starts, strict=False):
        moved = nodes[start : start + len(tree)]
        moved[:] = tree
        moved["left"] += start
        moved["right"] += start
    nodes["feature_idx"][:first] = selecting_by
    _select(nodes, iter(range(first)), starts[:-1], 0, len(trees))
    return nodes


def _select(nodes: NDArray[Any], free: Iterator[int], roots: NDArray[Any], low: int, high: int) -> int:
    """The place of a node that leads to the trees from `low` up to `high`."""
    if high - low == 1:
        return int(roots[low])
    place, middle = next(free), (low + high) // 2
    nodes["num_threshold"][place] = middle - 0.5
    nodes["left"][place] = _select(nodes, free, roots, low, middle)
    nodes["right"][place] = _select(nodes, free, roots, middle, high)
    return place
