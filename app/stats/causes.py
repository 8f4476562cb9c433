"""Which feature's drift did what to a metric? From losses summed by bin, which merge by addition.

The change in mean loss is split, feature by feature, in two: rows moved to bins in which the model always did worse
(the feature drifted), and the model does worse in the very same bins (what the features mean has changed).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.stats.intervals import Estimate, around, require

Floats = NDArray[np.float64]

PRIOR_ROWS = 1.0  # of mean loss in each bin: one without rows is taken to be like the others, not known to be


@dataclass(frozen=True, eq=False)
class BinLosses:
    """Rows and losses in each bin of one feature.

    Attributes:
        rows: labelled rows, shape (bins,).
        losses: the sum of their losses: 1 for a wrong class, |error|, error².
        squares: the sum of the squares of these.
    """

    rows: NDArray[np.int64]
    losses: Floats
    squares: Floats

    def __add__(self, other: "BinLosses") -> "BinLosses":
        """Both together.

        Raises:
            ValueError: they have different bins.
        """
        if self.rows.shape != other.rows.shape:
            raise ValueError("losses in different bins don't add up")
        return BinLosses(self.rows + other.rows, self.losses + other.losses, self.squares + other.squares)

    @property
    def total(self) -> int:
        """All rows."""
        return int(self.rows.sum())

    @property
    def mean(self) -> float:
        """The mean loss."""
        return float(self.losses.sum()) / self.total

    @property
    def spread(self) -> float:
        """The variance of the loss within bins, pooled."""
        with np.errstate(divide="ignore", invalid="ignore"):
            within = self.squares - np.where(self.rows > 0, self.losses**2 / self.rows, 0.0)
        freedom = self.total - int(np.count_nonzero(self.rows))
        return max(0.0, float(within.sum())) / max(1, freedom)


def sum_losses(bins: ArrayLike, losses: ArrayLike, size: int) -> BinLosses:
    """The losses of some rows by bin.

    Args:
        bins: the bin of each row, from 0, shape (rows,).
        losses: shape (rows,).
        size: how many bins there are.

    >>> sum_losses([0, 1, 1], [1.0, 0.0, 2.0], 3).losses.tolist()
    [1.0, 2.0, 0.0]

    Raises:
        ValueError: a bin doesn't exist, a loss is no finite number, or the lengths differ.
    """
    places, values = np.asarray(bins, np.intp), np.asarray(losses, np.float64)
    if places.shape != values.shape or places.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("a finite loss for each row is needed")
    if ((places < 0) | (places >= size)).any():
        raise ValueError("a row is in a bin that the feature doesn't have")
    rows, total, squares = (
        np.bincount(places, weights, minlength=size).astype(np.float64)
        for weights in (None, values, values**2)
    )
    return BinLosses(rows.astype(np.int64), total, squares)


@dataclass(frozen=True)
class Cause:
    """What one feature explains of the change in mean loss; positive is worse.

    Attributes:
        feature: its name.
        drift: Σ (q - p) · loss: the window's rows lie in other bins than the reference's.
        concept: Σ q · (loss' - loss): the same bins bring other losses. The two add up to the change.
        share: of drift in the sizes of the two, which may oppose each other, in [0, 1]; None where nothing changed.
    """

    feature: str
    drift: Estimate
    concept: Estimate
    share: float | None


def rank_causes(
    reference: Mapping[str, BinLosses], window: Mapping[str, BinLosses], alpha: float
) -> list[Cause]:
    """The features, the one first whose drift surely did the most.

    Features that move together each explain what they have in common, so the parts of several don't add up
    (`estimated_loss.contributions` shares it out). The split is Oaxaca's and Blinder's (International Economic Review
    14, 1973) on bins, the intervals by the delta method.

    Args:
        reference: for each feature the losses of the rows that the model was registered with.
        window: of the labelled rows of the window, along the same bins.
        alpha: the share of times that an interval may miss; shared among features by the caller.

    >>> was = sum_losses([0] * 900 + [1] * 100, [0.0] * 900 + [1.0, 0.0] * 50, 2)
    >>> now = sum_losses([0] * 500 + [1] * 500, [0.0] * 500 + [1.0, 0.0] * 250, 2)
    >>> cause = rank_causes({"age": was}, {"age": now}, 0.05)[0]
    >>> cause.feature, round(cause.drift.value, 2), cause.drift.low > 0, round(cause.concept.value, 2)
    ('age', 0.2, True, 0.0)

    Raises:
        TooLittleData: fewer than `MINIMUM` rows on either side.
        ValueError: a feature is on one side only, or has other bins there.
    """
    if reference.keys() != window.keys():
        raise ValueError("causes are told of features on both sides")
    causes = [_cause(name, reference[name], window[name], alpha) for name in reference]
    return sorted(causes, key=lambda cause: (-_surely(cause.drift), -abs(cause.drift.value)))


def _surely(estimate: Estimate) -> float:
    """How far the interval is from 0."""
    return max(estimate.low, -estimate.high, 0.0)


def _cause(feature: str, was: BinLosses, now: BinLosses, alpha: float) -> Cause:
    if was.rows.shape != now.rows.shape:
        raise ValueError(f"{feature} has other bins in the window than in the reference")
    require("rows of the reference", was.total, was.total)
    require("rows of the window", now.total, now.total)
    p, q = was.rows / was.total, now.rows / now.total
    loss = (was.losses + PRIOR_ROWS * was.mean) / (was.rows + PRIOR_ROWS)
    drift, change = float(q @ loss) - float(p @ loss), now.mean - was.mean
    rows, size = min(was.total, now.total), abs(drift) + abs(change - drift)
    return Cause(
        feature,
        around(drift, sqrt(_drift_variance(was, now, p, q, loss)), rows, alpha),
        around(change - drift, sqrt(_concept_variance(was, now, q)), rows, alpha),
        abs(drift) / size if size else None,
    )


def _drift_variance(was: BinLosses, now: BinLosses, p: Floats, q: Floats, loss: Floats) -> float:
    """Which bins the rows of either side fell into, and how well the bins' losses are known."""
    of_rows = sum(
        (float(share @ loss**2) - float(share @ loss) ** 2) / total
        for share, total in ((q, now.total), (p, was.total))
    )
    return max(0.0, of_rows) + float((q - p) ** 2 @ _bin_variances(was))


def _concept_variance(was: BinLosses, now: BinLosses, q: Floats) -> float:
    return now.spread / now.total + float(q**2 @ _bin_variances(was))


def _bin_variances(was: BinLosses) -> Floats:
    """How well the loss of each bin is known; that of the prior row is as far off as any row's loss is from the mean."""
    anywhere = max(0.0, float(was.squares.sum()) / was.total - was.mean**2)
    variances: Floats = (was.rows * was.spread + PRIOR_ROWS**2 * anywhere) / (was.rows + PRIOR_ROWS) ** 2
    return variances
