"""How well scores tell two classes apart and how likely they make what came true, from counts by score and class."""

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from app.stats.intervals import Estimate, mean, require, within_unit

Floats = NDArray[np.float64]
Counts = NDArray[Any]

FARTHEST_LOGIT = 14.0
LOGIT_STEP = 0.1
PROBABILITY_EDGES: Floats = special.expit(
    np.linspace(-FARTHEST_LOGIT, FARTHEST_LOGIT, round(2 * FARTHEST_LOGIT / LOGIT_STEP) + 1)
)
"""Steps of equal log-odds, for probabilities: fine where a mistake is dear. Beyond 1 in 1.2 million they count as that."""


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """How many rows of each class have a score in (edges[i - 1], edges[i]].

    Attributes:
        edges: ascending, shape (bins - 1,): `PROBABILITY_EDGES`, or those of the reference for scores of another kind.
        positives, negatives: shape (bins,); whole numbers, unless thinned.
        unusable: rows whose score is no finite number; in no bin.
    """

    edges: Floats
    positives: Counts
    negatives: Counts
    unusable: int = 0

    def __add__(self, other: "ScoreCounts") -> "ScoreCounts":
        """Both together.

        Raises:
            ValueError: their edges differ.
        """
        if not np.array_equal(self.edges, other.edges):
            raise ValueError("scores in different bins don't add up")
        return ScoreCounts(
            self.edges,
            self.positives + other.positives,
            self.negatives + other.negatives,
            self.unusable + other.unusable,
        )

    def thinned(self, by: float) -> "ScoreCounts":
        """As many fewer independent rows, alike."""
        return replace(self, positives=self.positives / by, negatives=self.negatives / by)


@dataclass(frozen=True)
class Binned:
    """An estimate from bins, and by how much at most the same rows one by one would give another value."""

    estimate: Estimate
    bin_error: float


def count_scores(edges: Floats, scores: ArrayLike, is_positive: ArrayLike) -> ScoreCounts:
    """Count the scores of both classes.

    Args:
        edges: ascending, shape (bins - 1,).
        scores: shape (rows,).
        is_positive: booleans, shape (rows,): what came true.

    >>> counts = count_scores(np.array([0.5]), [0.1, 0.9, 0.8, np.nan], [False, True, False, True])
    >>> counts.positives.tolist(), counts.negatives.tolist(), counts.unusable
    ([0, 1], [1, 1], 1)

    Raises:
        ValueError: there are more of the ones than of the others.
    """
    values, positive = np.asarray(scores, np.float64), np.asarray(is_positive, np.bool_)
    if values.shape != positive.shape or values.ndim != 1:
        raise ValueError(f"scores of shape {values.shape} for classes of shape {positive.shape}")
    is_usable = np.isfinite(values)
    bins, positive = np.searchsorted(edges, values[is_usable], side="left"), positive[is_usable]
    size = len(edges) + 1
    return ScoreCounts(
        edges,
        np.bincount(bins[positive], minlength=size).astype(np.int64),
        np.bincount(bins[~positive], minlength=size).astype(np.int64),
        int(values.size - bins.size),
    )


def roc_auc(counts: ScoreCounts, alpha: float) -> Binned:
    """The chance that a positive row has the higher score; rows of one bin count as ties.

    Interval by DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988, p. 837-845), in log-odds; in the variance each class
    has one row more, spread over all bins as the rows are, so that a perfect separation has an interval too.

    >>> generator = np.random.default_rng(1)
    >>> is_positive = generator.random(1000) < 0.3
    >>> scores = special.expit(generator.normal(size=1000) + is_positive)
    >>> auc = roc_auc(count_scores(PROBABILITY_EDGES, scores, is_positive), 0.05)
    >>> round(auc.estimate.value, 3), round(auc.estimate.low, 3), round(auc.bin_error, 3)
    (0.733, 0.699, 0.011)

    Raises:
        TooLittleData: fewer than `MINIMUM` rows of a class.
    """
    positives, negatives = counts.positives.astype(np.float64), counts.negatives.astype(np.float64)
    rows = float(positives.sum() + negatives.sum())
    require("rows of the positive class", float(positives.sum()), rows)
    require("rows of the negative class", float(negatives.sum()), rows)
    value, _ = _area(positives, negatives)
    spread = (positives + negatives) / rows
    centre, error = _area(positives + spread, negatives + spread)
    ties = float(positives @ negatives / (positives.sum() * negatives.sum()))
    return Binned(within_unit(value, centre, error, rows, alpha), ties / 2)


def _area(positives: Floats, negatives: Floats) -> tuple[float, float]:
    """The area under the curve and its standard error."""
    p, n = positives / positives.sum(), negatives / negatives.sum()
    beaten = n.cumsum() - n / 2  # by a positive row of each bin: its placement
    beating = 1 - (p.cumsum() - p / 2)
    area = float(p @ beaten)
    variance = float(p @ (beaten - area) ** 2) / (positives.sum() - 1)
    variance += float(n @ (beating - area) ** 2) / (negatives.sum() - 1)
    return area, sqrt(variance)


def log_loss(counts: ScoreCounts, alpha: float) -> Binned:
    """The mean of -ln of the probability that was given to what came true, taken at the middle of each bin.

    For more than two classes, count the probability of the class that came true, as positives.

    >>> counts = count_scores(PROBABILITY_EDGES, [0.9] * 30 + [0.2] * 30, [True] * 30 + [False] * 30)
    >>> told = log_loss(counts, 0.05)
    >>> abs(told.estimate.value - (-np.log(0.9) - np.log(0.8)) / 2) < told.bin_error < 0.01
    True

    Raises:
        TooLittleData: there are fewer than `MINIMUM` rows.
        ValueError: the counts are not in the bins of probabilities.
    """
    if not np.array_equal(counts.edges, PROBABILITY_EDGES):
        raise ValueError("a log loss is read off bins of probabilities")
    weights = np.concatenate([counts.positives, counts.negatives]).astype(np.float64)
    rows = float(weights.sum())
    total, squares, cubes = (float(weights @ _LOSSES**power) for power in (1, 2, 3))
    estimate = mean(total, squares, cubes, rows, alpha)
    return Binned(estimate, float(weights @ _LOSS_ERRORS) / rows)


def _losses() -> tuple[Floats, Floats]:
    """The loss in the middle of each bin, and how far it is from those at the bin's ends."""
    ends = special.logit(PROBABILITY_EDGES)
    left, right = np.append(ends[0], ends), np.append(ends, ends[-1])
    both = [np.logaddexp(0, sign * np.stack([left, (left + right) / 2, right])) for sign in (-1, 1)]
    from_left, middle, from_right = np.concatenate(both, axis=1)
    return middle, np.maximum(np.abs(middle - from_left), np.abs(middle - from_right))


_LOSSES, _LOSS_ERRORS = _losses()
