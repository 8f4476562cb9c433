"""How well a classifier does, from counts of what was predicted and what came true. Counts merge by addition."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.stats.intervals import Estimate, proportion, require, within_unit

Label = str | int | float | bool
Floats = NDArray[np.float64]
Counts = NDArray[Any]
SMOOTHING = 0.5  # of each cell, in variances: what happened every time so far need not always happen


class Score(StrEnum):
    """Shares of a class that are u of v: hits of what was predicted, hits of what was there, and both at once."""

    PRECISION = "precision"
    RECALL = "recall"
    F1 = "f1"


class Average(StrEnum):
    """How the classes' scores become one: every class alike, or by how many rows it has."""

    MACRO = "macro"
    WEIGHTED = "weighted"


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each label was predicted where each came true.

    Attributes:
        labels: the classes, in the order of rows and columns.
        counts: shape (labels, labels): actual label by predicted label; whole numbers, unless thinned.
    """

    labels: tuple[Label, ...]
    counts: Counts

    def __add__(self, other: "Confusion") -> "Confusion":
        """Both together.

        Raises:
            ValueError: their labels differ.
        """
        if self.labels != other.labels:
            raise ValueError("confusions of different labels don't add up")
        return Confusion(self.labels, self.counts + other.counts)

    def thinned(self, by: float) -> "Confusion":
        """As many fewer independent rows, alike."""
        return Confusion(self.labels, self.counts / by)

    @property
    def rows(self) -> float:
        """How many predictions came true or didn't."""
        return float(self.counts.sum())

    @cached_property
    def hits(self) -> Counts:
        """Rows of each label that were predicted as such."""
        return np.diag(self.counts)

    @cached_property
    def actual(self) -> Counts:
        """Rows of each label."""
        return np.asarray(self.counts.sum(axis=1))

    @cached_property
    def predicted(self) -> Counts:
        """Rows predicted as each label."""
        return np.asarray(self.counts.sum(axis=0))

    def place(self, label: Label) -> int:
        """Where a label stands.

        Raises:
            ValueError: there is no such label.
        """
        return self.labels.index(label)


def confuse(labels: Sequence[Label], actual: Sequence[Label], predicted: Sequence[Label]) -> Confusion:
    """Count predictions against what came true.

    Args:
        labels: every label that may occur, each once.
        actual: what came true, a label for each row.
        predicted: what was predicted for it.

    >>> confuse(["no", "yes"], actual=["no", "yes", "yes"], predicted=["no", "no", "yes"]).counts.tolist()
    [[1, 0], [1, 1]]

    Raises:
        ValueError: a label repeats or is unknown, or the lengths differ.
    """
    places = {label: i for i, label in enumerate(labels)}
    if len(places) != len(labels):
        raise ValueError("each label is named once")
    if unknown := {*actual, *predicted} - places.keys():
        raise ValueError(f"{min(map(repr, unknown))} is none of the labels")
    size = len(labels)
    cells = [places[a] * size + places[b] for a, b in zip(actual, predicted, strict=True)]
    counts = np.bincount(np.array(cells, np.intp), minlength=size * size).reshape(size, size)
    return Confusion(tuple(labels), counts.astype(np.int64))


def accuracy(confusion: Confusion, alpha: float) -> Estimate:
    """The share of rows that were predicted right.

    >>> round(accuracy(Confusion(("no", "yes"), np.array([[50, 5], [5, 40]])), 0.05).low, 3)
    0.826

    Raises:
        TooLittleData: there are fewer than `MINIMUM` rows.
    """
    require("rows", confusion.rows, confusion.rows)
    return proportion(float(confusion.hits.sum()), confusion.rows, alpha)


def score_of(confusion: Confusion, score: Score, label: Label, alpha: float) -> Estimate:
    """Precision, recall or F1 of one class.

    Given the rows that count, each is a proportion: precision of the rows predicted so, recall of those that are so, and
    F1 = 2 J / (1 + J) of the share J of hits among the rows that are either. So their intervals are a proportion's.

    >>> found = score_of(Confusion(("no", "yes"), np.array([[50, 5], [5, 40]])), Score.F1, "yes", 0.05)
    >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
    (0.8889, 0.8021, 0.9404)

    Raises:
        TooLittleData: fewer than `MINIMUM` rows are of this class, or count for the score.
        ValueError: there is no such label.
    """
    k = confusion.place(label)
    require(f"rows of class {label!r}", float(confusion.actual[k]), confusion.rows)
    hits, of = float(confusion.hits[k]), float(_either(confusion, score)[k])
    require(f"rows predicted as {label!r}", of, confusion.rows)
    share = proportion(hits, of, alpha)
    if score is not Score.F1:
        return share
    value, low, high = (2 * j / (1 + j) for j in (share.value, share.low, share.high))
    return Estimate(value, low, high, share.rows)


def _either(confusion: Confusion, score: Score) -> Counts:
    if score is Score.PRECISION:
        return confusion.predicted
    return (
        confusion.actual if score is Score.RECALL else confusion.actual + confusion.predicted - confusion.hits
    )


def average_score(confusion: Confusion, score: Score, average: Average, alpha: float) -> Estimate:
    """The scores of all classes that occur as one, by the delta method.

    A row in cell (i, j) moves class k's score R = u / v by (u_row - R v_row) / mean(v), and the weights by its own
    class (Deng, Knoblich and Lu, KDD 2018, section 2); every cell counts `SMOOTHING` more in the variance.

    >>> confusion = Confusion(("no", "yes"), np.array([[50, 5], [5, 40]]))
    >>> macro = average_score(confusion, Score.F1, Average.MACRO, 0.05)
    >>> round(macro.value, 4), round(macro.low, 4), round(macro.high, 4)
    (0.899, 0.813, 0.939)

    Raises:
        TooLittleData: fewer than `MINIMUM` rows of a class that counts as much as any other, or in all.
        ValueError: a class was never predicted, so that it has no precision.
    """
    occurs = (confusion.actual + confusion.predicted) > 0
    require("rows", confusion.rows, confusion.rows)
    confusion = Confusion(
        tuple(label for label, does in zip(confusion.labels, occurs, strict=True) if does),
        confusion.counts[np.ix_(occurs, occurs)],
    )
    _require_classes(confusion, score, average)
    if len(confusion.labels) == 1:  # nothing else was there or predicted
        return proportion(confusion.rows, confusion.rows, alpha)
    value, _ = _average(confusion.counts.astype(np.float64), score, average)
    smooth = _smoothed(confusion.counts)
    centre, influence = _average(smooth, score, average)
    shares = smooth / smooth.sum()
    error = sqrt(float((shares * influence**2).sum()) / confusion.rows)
    return within_unit(value, centre, error, confusion.rows, alpha)


def _require_classes(confusion: Confusion, score: Score, average: Average) -> None:
    for label, actual, of in zip(confusion.labels, confusion.actual, _either(confusion, score), strict=True):
        if not of:
            raise ValueError(f"{score} of class {label!r} is undefined: nothing counts for it")
        if average is Average.MACRO:
            require(f"rows of class {label!r}", float(actual), confusion.rows)


def _smoothed(counts: Counts) -> Floats:
    """Half a row more on the diagonal, and half a row more spread over the rest of each line."""
    size = len(counts)
    return counts.astype(np.float64) + np.where(
        np.eye(size, dtype=np.bool_), SMOOTHING, SMOOTHING / (size - 1)
    )


def _average(counts: Floats, score: Score, average: Average) -> tuple[float, Floats]:
    """The average score, and the influence on it of one row in each cell."""
    shares = counts.sum(axis=1) / counts.sum()
    if average is Average.MACRO:
        value, influence, _ = weigh_scores(counts, score, np.full(len(counts), 1 / len(counts)))
        return value, influence
    value, influence, scores = weigh_scores(counts, score, shares)
    return value, influence + (scores - value)[:, np.newaxis]


def weigh_scores(counts: Floats, score: Score, weights: Floats) -> tuple[float, Floats, Floats]:
    """The weighted mean of the classes' scores, the influence on it of one row in each cell, and the scores.

    >>> value, influence, scores = weigh_scores(np.array([[4.0, 1.0], [2.0, 3.0]]), Score.RECALL, np.array([0.5, 0.5]))
    >>> round(value, 2), influence.round(1).tolist(), scores.tolist()
    (0.7, [[0.2, -0.8], [-0.6, 0.4]], [0.8, 0.6])
    """
    hits, actual, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    by_row, by_column = float(score is not Score.PRECISION), float(score is not Score.RECALL)
    worth = by_row + by_column  # of a hit in u: F1 = 2 TP / (actual + predicted)
    with np.errstate(divide="ignore", invalid="ignore"):
        of = by_row * actual + by_column * predicted
        scores = np.where(weights > 0, worth * hits / of, 0.0)
        pull = np.where(weights > 0, weights * counts.sum() / of, 0.0)
    influence = np.diag(worth * pull) - (by_row * pull * scores)[:, np.newaxis] - by_column * pull * scores
    return float(weights @ scores), influence, scores


def classification_scores(confusion: Confusion, alpha: float) -> dict[str, Estimate | ValueError]:
    """Accuracy, each class's scores and their averages by name; in place of what can't be told, why it can't.

    >>> told = classification_scores(Confusion(("no", "yes"), np.array([[500, 5], [5, 4]])), 0.05)
    >>> sorted(told)[:4], str(told["recall yes"])
    (['accuracy', 'f1 no', 'f1 yes', 'macro f1'], "20 rows of class 'yes' are needed, there are 9")
    """
    asked = {"accuracy": partial(accuracy, confusion, alpha)}
    for score in Score:
        for label in confusion.labels:
            asked[f"{score} {label}"] = partial(score_of, confusion, score, label, alpha)
        for average in Average:
            asked[f"{average} {score}"] = partial(average_score, confusion, score, average, alpha)
    return {name: _told(ask) for name, ask in asked.items()}


def _told(ask: Callable[[], Estimate]) -> Estimate | ValueError:
    try:
        return ask()
    except ValueError as reason:
        return reason
