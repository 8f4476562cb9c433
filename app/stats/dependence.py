"""By how much dependence between rows raises the variance of a mean: the design effects that `drift.compare` takes.

Two sources are combined, since either may be missing or mute. Rows of the reference in their order give a precise
estimate at once, but a reference that was shuffled, or sampled, looks independent whatever its stream is like. Buckets of
the live stream can't be shuffled, but come slowly. So the rows are believed where they show dependence (shuffling never
adds any); where they show none they count for some hundred buckets at most, and for nothing once buckets contradict them.
Where the order of the rows is unknown, only buckets speak, and the window's own rows where somebody read them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.stats.axes import BINS, GROUPS
from app.stats.profile import Profile
from app.stats.reference import Reference

Floats = NDArray[np.float64]

TRUSTED = 60.0  # degrees of freedom that rows without dependence count for at most
DOUBT = 0.001  # one-sided, of calling rows dependent
SUSPECTED = 10.0  # the effect of an autoregression of .8, where nothing is known yet
CAUTION = 0.9  # of the upper bound that stands for the effect of rows known to be dependent
_MEDIAN = 0.45493642311957283  # of chi-squared with one degree of freedom
_CAP = 3.841458820694124  # its 95 % quantile, where squared differences are cut off …
_CAPPED_MEAN = 0.9130  # … and its mean so cut: P(χ²₃ < cap) + .05 cap
_WEIGHTS = (1.0, -2.0, 1.0)  # of three buckets in a row: what a straight line adds to them cancels
_FREEDOM_PER_TRIPLE = (
    0.44  # 18/35 for second differences (Seifert et al., Biometrika 80, 1993), .85 for the cut
)


@dataclass(frozen=True, eq=False)
class Dependence:
    """What one source says of each column.

    Attributes:
        effects: estimated variance of a mean over that of as many independent rows, from 0; 1 where nothing is known.
        freedom: degrees of freedom of the estimate, as if it were a variance; 0 where nothing is known.
    """

    effects: Floats
    freedom: Floats

    def at_least(self) -> Floats:
        """The lower confidence bounds; 0 where nothing is known."""
        return np.where(self.freedom > 0, self._bound(DOUBT), 0.0)

    def at_most(self) -> Floats:
        """The upper confidence bounds; the estimates themselves where nothing is known."""
        return np.where(self.freedom > 0, self._bound(CAUTION), self.effects)

    def _bound(self, level: float) -> Floats:
        freedom = self.freedom.clip(1.0)
        bound: Floats = self.effects * freedom / special.chdtri(freedom, level)
        return bound


def design_effects(rows: Dependence | None, buckets: Dependence | None = None) -> Floats:
    """What to pass to `drift.compare`, at least 1, shape (columns,).

    Estimates without a sign of dependence are averaged by their degrees of freedom; with one, the upper bound is used,
    which comes down to the estimate as buckets accumulate.

    Args:
        rows: from the reference in row order; None where its order is not known to be that of time. Then the upper bound
            of the buckets is used from the start: later alarms are the price of not believing what may be shuffled.
        buckets: from the live stream, once there are some.

    Raises:
        ValueError: neither is there.

    >>> independent = Dependence(np.array([1.0]), np.array([5000.0]))
    >>> few = Dependence(np.array([2.9]), np.array([3.0]))
    >>> many = Dependence(np.array([3.0]), np.array([600.0]))
    >>> [design_effects(independent, each).round(2).tolist() for each in (None, few, many)]
    [[1.0], [1.09], [3.24]]
    """
    if rows is None:
        if buckets is None:
            raise ValueError("neither rows in order nor buckets: nothing is known of dependence")
        return buckets.at_most().clip(1.0)
    if buckets is None:
        buckets = Dependence(np.ones_like(rows.effects), np.zeros_like(rows.freedom))
    is_dependent = rows.at_least() > 1
    is_contradicted = buckets.at_least() > rows.effects.clip(1.0)
    trust = np.where(is_dependent, rows.freedom, rows.freedom.clip(0.0, TRUSTED))
    trust[is_contradicted] = 0.0
    freedom = trust + buckets.freedom
    effects = (trust * rows.effects + buckets.freedom * buckets.effects) / np.where(freedom > 0, freedom, 1.0)
    pooled = Dependence(np.where(freedom > 0, effects, 1.0), freedom)
    chosen = np.where(is_dependent | is_contradicted, pooled.at_most(), pooled.effects)
    return chosen.clip(1.0)


def cautious_effects(
    rows: Dependence, buckets: Dependence | None = None, own: Floats | None = None, *, read: float = 1.0
) -> Floats:
    """The same where the rows of the reference may have been shuffled: what shows dependence is believed, nothing else.

    Until buckets have spoken a column that shows none is suspected of `SUSPECTED`; then of their upper bound. Believing
    it instead made most lives of autoregressive streams end in a false alarm within a day. Where the window's own rows
    were read it is suspected of what they show, unless buckets show more.

    Args:
        rows: from the reference in row order.
        buckets: from the live stream, once there are some.
        own: upper bounds from the window's own rows, as `row_dependence` has them, 0 where nothing is known.
        read: the share of the window that these rows are. What is slower than they last they can't show, so that the
            others add no more than they would if nothing were known.

    >>> silent, buckets = (Dependence(np.array([1.0]), np.array([freedom])) for freedom in (5000.0, 100.0))
    >>> cautious_effects(silent).tolist(), cautious_effects(silent, buckets).round(2).tolist()
    ([10.0], [1.21])
    >>> [cautious_effects(silent, own=np.array([1.5]), read=read).tolist() for read in (1.0, 0.2, 0.01)]
    [[1.5], [7.5], [10.0]]
    """
    suspected = np.full_like(rows.effects, SUSPECTED) if buckets is None else buckets.at_most().clip(1.0)
    if own is not None:
        shown = np.maximum(own, np.minimum(own / read, suspected)).clip(1.0)
        is_believed = (own > 0) & (buckets is None or buckets.effects <= own)
        suspected = np.where(is_believed, shown, suspected)
    return np.where(rows.at_least() > 1, design_effects(rows, buckets), suspected)


def of_buckets(reference: Reference, buckets: Sequence[Profile]) -> Dependence:
    """From how much more the means of buckets differ than their rows within explain; the worse of location and scale.

    Of three buckets in a row the second difference is taken, so that slow drift and the hours of a day cancel; large ones
    are cut off, so that jumps don't count as dependence.

    Args:
        reference: whose scores the means are taken of.
        buckets: in the order of time, equally long, of the reference's layout.

    Raises:
        ValueError: there are no three.

    >>> from app.stats.axes import numeric_axis
    >>> from app.stats.profile import Layout, observe
    >>> rows = np.random.default_rng(1).normal(size=(60, 200))
    >>> layout = Layout((numeric_axis(rows.ravel()),))
    >>> pairs = [observe(layout, [np.repeat(row, 2)]) for row in rows]
    >>> bool(1.5 < of_buckets(Reference(observe(layout, [rows.ravel()])), pairs).effects[0] < 2.5)
    True
    """
    if len(buckets) < len(_WEIGHTS):
        raise ValueError(f"{len(buckets)} buckets hold no {len(_WEIGHTS)} in a row")
    bins = np.stack([bucket.counts[:, :BINS] for bucket in buckets]).astype(np.float64)
    bins[:, list(reference.layout.labelled), BINS - GROUPS :] = 0.0
    parts = [_of_means(bins, powers) for powers in (reference.normal_scores, reference.squared_scores)]
    return worst_of(parts)


def worst_of(parts: Sequence[Dependence]) -> Dependence:
    """Of each column the largest effect, with its own degrees of freedom."""
    effects, freedom = np.stack([p.effects for p in parts]), np.stack([p.freedom for p in parts])
    worst = effects.argmax(axis=0)
    columns = np.arange(effects.shape[1])
    return Dependence(effects[worst, columns], freedom[worst, columns])


def _of_means(bins: Floats, powers: Floats) -> Dependence:
    """Design effects of the mean of one score; `bins` of shape (buckets, columns, bins)."""
    sizes = bins.sum(axis=2)
    first, second = (np.einsum("bci,ci->bc", bins, power) / sizes.clip(1) for power in powers[:2])
    return of_means(sizes, first, second)


def of_means(sizes: Floats, first: Floats, second: Floats) -> Dependence:
    """From how many values each bucket has, their mean and the mean of their squares, each of shape (buckets, columns)."""
    within = (sizes * (second - first**2)).sum(axis=0) / (sizes - 1).clip(0).sum(axis=0).clip(1)
    is_triple = _in_threes(sizes).min(axis=0) > 1
    weights = np.array(_WEIGHTS)[:, np.newaxis, np.newaxis]
    unit = np.where(is_triple, (weights**2 / _in_threes(sizes).clip(1)).sum(axis=0), np.nan)
    squares = (weights * _in_threes(first)).sum(axis=0) ** 2 / unit
    between = np.array([_cut_mean(column[~np.isnan(column)]) for column in squares.T])
    size = sizes.sum(axis=0) / (sizes > 0).sum(axis=0).clip(1)
    return _effects(between, within, size, is_triple.sum(axis=0))


def _in_threes(values: Floats) -> Floats:
    """Each bucket with the two that follow it, shape (3, buckets - 2, columns)."""
    threes: Floats = np.moveaxis(
        np.lib.stride_tricks.sliding_window_view(values, len(_WEIGHTS), axis=0), -1, 0
    )
    return threes


def _cut_mean(squares: Floats) -> float:
    """The scale of squares that follow chi-squared with one degree of freedom, but for some that are too large."""
    if not len(squares):
        return 0.0
    middle = float(np.median(squares))
    if middle == 0:
        return float(squares.mean())
    return float(np.minimum(squares, middle * _CAP / _MEDIAN).mean()) / _CAPPED_MEAN


def _effects(between: Floats, within: Floats, size: Floats, triples: NDArray[np.intp]) -> Dependence:
    """Dependence lowers the variance within a bucket: its mean is σ² (n - D) / (n - 1), from which D follows."""
    total = (size - 1) * within + between
    is_known = (total > 1e-12) & (triples > 1)
    effects = np.where(is_known, size * between / np.where(is_known, total, 1.0), 1.0)
    return Dependence(effects, np.where(is_known, triples * _FREEDOM_PER_TRIPLE, 0.0))
