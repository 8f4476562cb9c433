"""How rows depend on each other, from the rows themselves in the order in which they came.

Of a reference there are thousands, which give an estimate. Of a window there may be a few hundred, which give no more than a
bound, and two estimates are made of each column: the one whose bound is higher counts. The initial sequence is precise where
dependence is as quick as that of an autoregression. What is slow and slight (a tenth of the variance, which takes a hundred
rows to fade) drowns in the noise of single lags and shows only in the sum of many: in the means of batches. What is slower
still no rows of one window can show; the stream's buckets do.
"""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.stats.axes import OTHER, UNSEEN, CategoryAxis
from app.stats.dependence import Dependence, worst_of
from app.stats.profile import Column
from app.stats.reference import Floats, Reference

Estimate = Callable[[Floats, int], tuple[float, float]]
"""An effect and its degrees of freedom, from autocovariances and the number of rows."""

LEAST_ROWS = 32  # below, an autocorrelation is noise
BLOCK = 1000  # rows: what moves slower than this is drift or season, not dependence
LEAST_READ = 100  # of a window: fewer prove only what is so far off that no precise effect is needed
BATCH = 50  # rows at most: longer batches show what is slower, and cost more power
BATCHES = 10  # at least
FAR = 1e-4  # two-sided, about where the p-values of a monitor decide


def initial_sequence(covariances: Floats, rows: int) -> tuple[float, float]:
    """A design effect and its degrees of freedom, by the initial monotone sequence of autocovariances.

    Geyer, Statistical Science 7 (1992), section 3.3.
    """
    pairs = covariances[: len(covariances) // 2 * 2].reshape(-1, 2).sum(axis=1)
    stop = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else len(pairs)
    effect = 2 * np.minimum.accumulate(pairs[:stop]).sum() / covariances[0] - 1
    return float(effect), rows / (4 * stop + 1)


def batch_means(covariances: Floats, rows: int) -> tuple[float, float]:
    """A design effect and its degrees of freedom, by the variance of the means of overlapping batches.

    Meketon and Schmeiser, Overlapping batch means (Proceedings of the Winter Simulation Conference, 1984): half as many
    degrees again as batches apart. Taking off the mean of the block costs a batch's share of the variance.
    """
    length = min(BATCH, max(2, len(covariances) // BATCHES))
    weights = 2 * (1 - np.arange(length) / length)
    weights[0] = 1.0
    effect = weights @ covariances[:length] / covariances[0] / (1 - length / len(covariances))
    return float(effect), 1.5 * rows / length


def of_rows(
    reference: Reference,
    columns: Sequence[Column],
    hours: NDArray[np.int64] | None = None,
    estimate: Estimate = initial_sequence,
) -> Dependence:
    """From the autocorrelation of scores in row order, about the mean of each `BLOCK` rows; the worse of location and scale.

    Args:
        reference: whose scores are taken.
        columns: as for `profile.observe`, rows in the order of time; nulls are passed over.
        hours: of the week, in which each row was, where windows are held against them: what an hour's rows have in common
            is no dependence then. Columns of another length, such as words, are taken as they are.
        estimate: how.

    Raises:
        ValueError: there are more or fewer columns than axes.

    >>> from app.stats.axes import numeric_axis
    >>> from app.stats.profile import Layout, observe
    >>> rows = np.repeat(np.random.default_rng(1).normal(size=2000), 2)
    >>> reference = Reference(observe(Layout((numeric_axis(rows),)), [rows]))
    >>> bool(1.8 < of_rows(reference, [rows]).effects[0] < 2.2)
    True
    """
    if len(columns) != len(reference.layout.axes):
        raise ValueError(f"{len(columns)} columns for {len(reference.layout.axes)} axes")
    axes = reference.layout.axes
    taken = [_places(axis, column, hours) for axis, column in zip(axes, columns, strict=True)]
    parts = [
        [
            of_sequence(_apart(score[bins], of), estimate)
            for score, (bins, of) in zip(scores[0], taken, strict=True)
        ]
        for scores in (reference.normal_scores, reference.squared_scores)
    ]
    return worst_of([Dependence(*np.array(part).T) for part in parts])


def bounds_of_own(reference: Reference, columns: Sequence[Column]) -> Floats:
    """The highest design effects that some rows in the order of time show; 0 for a column that is the same in all of them.

    Args:
        reference: whose scores are taken.
        columns: as for `profile.observe`.

    Raises:
        ValueError: there are more or fewer columns than axes.

    >>> from app.stats.axes import numeric_axis
    >>> from app.stats.profile import Layout, observe
    >>> rows = np.random.default_rng(1).normal(size=2000)
    >>> reference = Reference(observe(Layout((numeric_axis(rows),)), [rows]))
    >>> [round(float(bounds_of_own(reference, [each])[0])) for each in (rows, np.repeat(rows[:1000], 4))]
    [1, 4]
    """
    quick, slow = (of_rows(reference, columns, estimate=each) for each in (initial_sequence, batch_means))
    bounds = np.maximum(quick.at_most(), slow.effects * _student(slow.freedom))
    return np.where(quick.freedom > 0, bounds, 0.0)


def _student(freedom: Floats) -> Floats:
    """How much larger an estimated variance is to be taken for a normal law to have the far tail that Student's has."""
    ratio: Floats = special.stdtrit(freedom.clip(1.0), FAR / 2) / special.ndtri(FAR / 2)
    return ratio**2


def _apart(scores: Floats, hours: NDArray[np.int64] | None) -> Floats:
    """How far each score is from the mean of its hour."""
    if hours is None or not len(scores):
        return scores
    rows = np.bincount(hours).clip(1)
    off: Floats = scores - (np.bincount(hours, scores) / rows)[hours]
    return off


def _places(
    axis: Any, column: Column, hours: NDArray[np.int64] | None
) -> tuple[NDArray[np.intp], NDArray[np.int64] | None]:
    """The bin of each value that is neither null nor infinite, in order, with its hour; none where nobody looked."""
    if column is None:
        return np.empty(0, np.intp), None
    if isinstance(axis, CategoryAxis):
        tops = {label: i for i, label in enumerate(axis.top)} | dict.fromkeys(axis.rest, OTHER)
        is_known = np.array([label is not None for label in column], np.bool_)
        places = np.array([tops.get(label, UNSEEN) for label in column if label is not None], np.intp)
    else:
        values = np.asarray(column, np.float64)
        is_known = np.isfinite(values)
        places = axis.bins_of(values[is_known])
    return places, hours[is_known] if hours is not None and len(hours) == len(is_known) else None


def of_sequence(
    scores: Floats, estimate: Estimate = initial_sequence, *, block: int = BLOCK
) -> tuple[float, float]:
    """The design effect of one sequence, shape (rows,), in the order of time, and its degrees of freedom."""
    if len(scores) < LEAST_ROWS:
        return 1.0, 0.0
    length = len(scores) // ceil(len(scores) / block)
    blocks = scores[: len(scores) // length * length].reshape(-1, length)
    covariances = _autocovariances(blocks - blocks.mean(axis=1, keepdims=True))
    return (1.0, 0.0) if covariances[0] < 1e-12 else estimate(covariances, blocks.size)


def _autocovariances(blocks: Floats) -> Floats:
    """Their mean over the blocks, at each lag."""
    length = blocks.shape[1]
    spectrum = np.abs(np.fft.rfft(blocks, 2 * length, axis=1)) ** 2
    covariances: Floats = np.fft.irfft(spectrum.mean(axis=0))[:length] / length
    return covariances
