"""How well a classifier does while nobody has said what came true, from what its probabilities mean.

Confidence-based performance estimation (NannyML, "How it works: CBPE"): a row predicted as j adds its chance of being
i to cell (i, j) of an expected confusion, and every score follows from that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.stats.calibration import Calibration
from app.stats.confusion import Score, weigh_scores
from app.stats.intervals import Estimate, require, within_unit

Floats = NDArray[np.float64]

ASSUMPTION = (
    "Estimated without labels: it holds only while the same features mean the same outcome as in the reference. "
    "Concept drift is invisible to it."
)
_LEAST = 1e-9


@dataclass(frozen=True, eq=False)
class Expected:
    """Rows without labels, with the chance of each class.

    Attributes:
        calibrations: one for each class; a single one, of the positive class, where there are two.
        scores: what each calibration was applied to, shape (rows, calibrations).
        chances: shape (rows, classes), each row adding up to 1.
        scales: what each row of calibrated scores added up to, shape (rows,).
        predicted: the place of the class that was answered, shape (rows,).
        weights: how often each row stands, shape (rows,).
    """

    calibrations: tuple[Calibration, ...]
    scores: Floats
    chances: Floats
    scales: Floats
    predicted: NDArray[np.intp]
    weights: Floats

    @property
    def confusion(self) -> Floats:
        """Expected rows by actual and predicted class, shape (classes, classes)."""
        classes = self.chances.shape[1]
        answered = np.eye(classes)[self.predicted] * self.weights[:, np.newaxis]
        expected: Floats = self.chances.T @ answered
        return expected

    @property
    def rows(self) -> int:
        """How many rows it stands for."""
        return round(float(self.weights.sum()))


def expect(
    calibrations: Sequence[Calibration],
    scores: ArrayLike,
    predicted: ArrayLike,
    weights: ArrayLike | None = None,
) -> Expected:
    """What to expect of rows whose labels are not there.

    Args:
        calibrations: of each class, one against the rest; of two classes that of the positive one alone.
        scores: shape (rows, classes), or (rows,) for the positive one of two.
        predicted: the place of the class that was answered, shape (rows,).
        weights: how often each row stands: counts of a histogram of scores.

    >>> as_is = Calibration(np.array([]), np.array([0.5]), np.array([1000.0]), is_identity=True)
    >>> expect([as_is], [0.9, 0.8, 0.3], [1, 1, 0], weights=[10, 10, 20]).confusion.round(2).tolist()
    [[14.0, 3.0], [6.0, 17.0]]

    Raises:
        TooLittleData: there are fewer than `MINIMUM` rows.
        ValueError: shapes don't fit, a score is no number, no class has a chance in some row, or several calibrations are
            not learnt from the same rows.
    """
    matrix = np.asarray(scores, np.float64)
    matrix = matrix[:, np.newaxis] if matrix.ndim == 1 else matrix
    answered = np.asarray(predicted, np.intp)
    weight = np.ones(len(answered)) if weights is None else np.asarray(weights, np.float64)
    if matrix.shape != (len(answered), len(calibrations)) or len(weight) != len(answered):
        raise ValueError(
            f"scores of shape {matrix.shape} for {len(answered)} rows and {len(calibrations)} calibrations"
        )
    require("rows", int(weight.sum()), int(weight.sum()))
    learnt = {len(each.learnt) for each in calibrations}
    if len(calibrations) > 1 and (len(learnt) > 1 or 0 in learnt):
        raise ValueError("calibrations of several classes are learnt from the same rows")
    columns = [calibration.apply(column) for calibration, column in zip(calibrations, matrix.T, strict=True)]
    chances = np.stack([1 - columns[0], columns[0]] if len(columns) == 1 else columns, axis=1)
    scales = chances.sum(axis=1)
    if not (scales > 0).all() or answered.min() < 0 or answered.max() >= chances.shape[1]:
        raise ValueError("each row needs a class that has a chance, and an answer that is a class")
    return Expected(tuple(calibrations), matrix, chances / scales[:, np.newaxis], scales, answered, weight)


def expected_accuracy(expected: Expected, alpha: float) -> Estimate:
    """The accuracy that the rows' labels will show.

    Its interval, as those of the other scores here, holds what chance may make of the outcomes, how well the calibration
    is known, and what its correction by labels left open (delta method). Where a model's own probabilities are taken at
    their word it lies around what the labelled rows say, though they prove nothing: a thousand of them leave a model
    alone whose chances are too small by as much as such an interval is wide.

    >>> as_is = Calibration(np.array([]), np.array([0.5]), np.array([1000.0]), is_identity=True)
    >>> told = expected_accuracy(expect([as_is], [0.9, 0.2] * 500, [1, 0] * 500), 0.05)
    >>> round(told.value, 3), round(told.low, 3), round(told.high, 3)
    (0.85, 0.827, 0.871)
    """
    confusion = expected.confusion
    value = float(np.diag(confusion).sum() / expected.rows)
    return _estimate(expected, value, np.eye(len(confusion)) - value, alpha)


def expected_score(expected: Expected, score: Score, weights: ArrayLike, alpha: float) -> Estimate:
    """Precision, recall or F1 as the rows' labels will show them.

    Args:
        expected: the rows.
        score: which of them.
        weights: of the classes: 1 for one alone, 1 / classes for the macro average.
        alpha: the share of times that the interval may miss.

    >>> as_is = Calibration(np.array([]), np.array([0.5]), np.array([1000.0]), is_identity=True)
    >>> round(expected_score(expect([as_is], [0.9, 0.2] * 500, [1, 0] * 500), Score.RECALL, [0, 1], 0.05).value, 3)
    0.818

    Raises:
        TooLittleData: fewer than `MINIMUM` rows of a class are to be expected, or count for the score.
        ValueError: the weights are not one for each class.
    """
    confusion, weight = expected.confusion, np.asarray(weights, np.float64)
    if weight.shape != (len(confusion),):
        raise ValueError("a weight for each class is needed")
    for k in np.flatnonzero(weight):
        require(f"rows expected of class {k}", int(confusion[k].sum()), expected.rows)
        if score is Score.PRECISION:
            require(f"rows predicted as class {k}", int(confusion[:, k].sum()), expected.rows)
    value, influence, _ = weigh_scores(confusion, score, weight)
    return _estimate(expected, value, influence, alpha)


def _estimate(expected: Expected, value: float, influence: Floats, alpha: float) -> Estimate:
    """Influence: of a row in each cell, shape (classes, classes)."""
    return _told(expected, value, influence.T[expected.predicted] / expected.rows, alpha)


def expected_auc(expected: Expected, alpha: float) -> Estimate:
    """The area under the ROC curve of two classes that the rows' labels will show.

    >>> as_is = Calibration(np.array([]), np.array([0.5]), np.array([1000.0]), is_identity=True)
    >>> told = expected_auc(expect([as_is], np.linspace(0, 1, 1001), [0] * 1001), 0.05)
    >>> round(told.value, 3)
    0.834

    Raises:
        TooLittleData: fewer than `MINIMUM` rows of a class are to be expected.
        ValueError: there are not two classes.
    """
    if len(expected.calibrations) != 1:
        raise ValueError("one curve is that of two classes")
    chance, weight = expected.chances[:, 1], expected.weights
    _, place = np.unique(expected.scores[:, 0], return_inverse=True)
    positives, negatives = np.bincount(place, weight * chance), np.bincount(place, weight * (1 - chance))
    p, n = float(positives.sum()), float(negatives.sum())
    require("rows expected of the positive class", int(p), expected.rows)
    require("rows expected of the negative class", int(n), expected.rows)
    below, above = negatives.cumsum() - negatives / 2, p - positives.cumsum() + positives / 2
    area = float(positives @ below) / (p * n)
    turned = (
        (below - above)[place] / (p * n) - area / p + area / n
    )  # a negative row that becomes a positive one
    return _told(expected, area, np.stack([np.zeros_like(turned), turned], axis=1), alpha)


def _told(expected: Expected, value: float, effects: Floats, alpha: float) -> Estimate:
    """Effects: of one row on the score, were it of each class; shape (rows, classes)."""
    chances, weights = expected.chances, expected.weights
    middle = (chances * effects).sum(axis=1)
    outcomes = float(weights @ ((chances * effects**2).sum(axis=1) - middle**2))
    slopes = _slopes(expected, effects, middle)
    by_block: list[Floats] = [
        np.bincount(each.blocks_of(scores), slope, len(each.chances)).astype(np.float64)
        for each, scores, slope in zip(expected.calibrations, expected.scores.T, slopes.T, strict=True)
    ]
    gap = sum(
        float(slope @ each.gaps)
        for each, slope in zip(expected.calibrations, by_block, strict=True)
        if len(each.gaps)
    )
    variance = (
        max(0.0, outcomes) + _of_calibrations(expected.calibrations, by_block) + _of_shifts(expected, slopes)
    )
    centre = min(max(value + gap, _LEAST), 1 - _LEAST)
    return within_unit(value, centre, sqrt(variance), expected.rows, alpha)


def _slopes(expected: Expected, effects: Floats, middle: Floats) -> Floats:
    """By how much the score moves with each calibrated chance of each row, shape (rows, calibrations)."""
    if len(expected.calibrations) == 1:
        slopes = (effects[:, 1] - effects[:, 0])[:, np.newaxis]
    else:
        slopes = (effects - middle[:, np.newaxis]) / expected.scales[:, np.newaxis]
    weighed: Floats = slopes * expected.weights[:, np.newaxis]
    return weighed


def _of_calibrations(calibrations: Sequence[Calibration], by_block: Sequence[Floats]) -> float:
    """The variance that calibrations bring in by not being known better.

    Several are learnt from the same rows, each of which is of one class: what lets one chance seem too large lets another
    seem too small.
    """
    per_row = [slope / each.rows for each, slope in zip(calibrations, by_block, strict=True)]
    if len(calibrations) == 1:
        [one], [effect] = calibrations, per_row
        return float(effect**2 @ (one.rows * one.smoothed * (1 - one.smoothed)))
    effects = np.stack(
        [effect[each.learnt] for each, effect in zip(calibrations, per_row, strict=True)], axis=1
    )
    chances = np.stack([each.smoothed[each.learnt] for each in calibrations], axis=1)
    chances /= chances.sum(axis=1, keepdims=True)
    return float(((chances * effects**2).sum(axis=1) - (chances * effects).sum(axis=1) ** 2).sum())


def _of_shifts(expected: Expected, slopes: Floats) -> float:
    """The variance that corrections bring in, at the most: several are made from the same labels."""
    error = 0.0
    for each, scores, slope in zip(expected.calibrations, expected.scores.T, slopes.T, strict=True):
        chances = each.apply(scores)
        error += abs(float((slope * chances * (1 - chances)).sum())) * each.shift_error
    return error**2
