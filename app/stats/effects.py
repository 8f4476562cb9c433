"""How much a column's distribution has changed, in the sizes that people know, free of the size of the sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.stats.axes import BINS, OTHER, NumericAxis
from app.stats.profile import Profile
from app.stats.reference import Reference

Floats = NDArray[np.float64]

DECILES = 10
COARSE = 16  # groups of labels: the fifteen most frequent and the rest
LEAST_SHARE = 1e-4  # of an empty group, for the population stability index, whose logarithm it would blow up
_PER_ROW = 8 * np.log(2)


@dataclass(frozen=True, eq=False)
class Effects:
    """One value for each column.

    Attributes:
        psi: population stability index on the reference's deciles, or on the largest labels; from 0.
        distance: Jensen–Shannon distance to base 2 on the same groups, in [0, 1], less what sampling alone adds.
        distance_low, distance_high: its 95 % interval.
        shift: difference of the means in standard deviations of the reference; NaN for labels.
        spread: ratio of the standard deviations; NaN for labels.
        wasserstein: first Wasserstein distance in standard deviations, from bins: rough where tails are heavy.
    """

    psi: Floats
    distance: Floats
    distance_low: Floats
    distance_high: Floats
    shift: Floats
    spread: Floats
    wasserstein: Floats


def measure(
    reference: Reference, window: Profile, *, design_effects: Sequence[float] | Floats = (1.0,)
) -> Effects:
    """The sizes of the changes between a reference and a window; columns without a value get NaN.

    Jensen–Shannon: Lin, IEEE Trans. Inf. Theory 37 (1991). For small differences n times the divergence follows a
    noncentral chi-squared law (Cressie and Read, J. R. Stat. Soc. B 46, 1984), which gives the bias and the interval.

    Args:
        reference: what was.
        window: what is, counted along the same layout.
        design_effects: as for `drift.compare`; dependent rows add more to a distance by chance, and make its interval wider.

    Raises:
        ValueError: the layouts differ.
    """
    if window.layout is not reference.layout and window.layout != reference.layout:
        raise ValueError("a window is compared with the reference whose axes it was counted along")
    was, now = coarse(reference.profile), coarse(window)
    base, size = was.sum(axis=1), now.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = was / base[:, np.newaxis], now / size[:, np.newaxis]
        per_row = np.asarray(design_effects, np.float64) * (1 / base + 1 / size)
        distance, low, high = _distances(p, q, per_row)
    shift, spread = _moments(reference, window)
    return Effects(_psi(p, q), distance, low, high, shift, spread, _wasserstein(reference, window))


def coarse(profile: Profile) -> Floats:
    """The counts of the deciles of numbers, of the largest labels; shape (columns, `COARSE`), unused groups 0.

    >>> from app.stats.axes import numeric_axis
    >>> from app.stats.profile import Layout, observe
    >>> rows = np.arange(1000.0)
    >>> coarse(observe(Layout((numeric_axis(rows),)), [rows]))[0, :10].tolist()
    [100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0]
    """
    groups = np.zeros((len(profile.counts), COARSE))
    for i, axis in enumerate(profile.layout.axes):
        bins = profile.counts[i, :BINS]
        if isinstance(axis, NumericAxis):
            groups[i, :DECILES] = np.add.reduceat(np.append(bins, 0), np.append(0, axis.deciles + 1))
        else:
            groups[i, : COARSE - 1] = bins[: COARSE - 1]
            groups[i, COARSE - 1] = bins[COARSE - 1 : OTHER + 2].sum()
    return groups


def _psi(p: Floats, q: Floats) -> Floats:
    p, q = p.clip(LEAST_SHARE), q.clip(LEAST_SHARE)
    psi: Floats = ((q - p) * np.log(q / p)).sum(axis=1)
    return psi


def _distances(p: Floats, q: Floats, per_row: Floats) -> tuple[Floats, Floats, Floats]:
    middle = (p + q) / 2
    divergence = (special.rel_entr(p, middle) + special.rel_entr(q, middle)).sum(axis=1) / (2 * np.log(2))
    freedom = ((p + q) > 0).sum(axis=1) - 1.0
    statistic = _PER_ROW * divergence / per_row
    unit = per_row / _PER_ROW

    def as_distance(excess: Floats) -> Floats:
        distance: Floats = np.sqrt(np.clip(np.nan_to_num(excess) * unit, 0.0, 1.0))
        return distance

    least, most = (_noncentrality(statistic, freedom.clip(1), level) for level in (0.975, 0.025))
    return as_distance(statistic - freedom), as_distance(least), as_distance(most)


def _noncentrality(statistic: Floats, freedom: Floats, level: float) -> Floats:
    """With which noncentrality a chi-squared variable is below the statistic at this level; 0 where it is without any."""
    is_some = special.chdtr(freedom, statistic) > level
    found = np.zeros_like(statistic)
    found[is_some] = special.chndtrinc(statistic[is_some], freedom[is_some], level)
    return found


def _moments(reference: Reference, window: Profile) -> tuple[Floats, Floats]:
    shift, spread = np.full((2, len(window.counts)), np.nan)
    is_known = np.minimum(window.sizes, reference.profile.sizes) > 1
    for i in reference.layout.numeric[is_known[reference.layout.numeric]]:
        (was, before), (now, after) = reference.profile.moments(i), window.moments(i)
        deviation = np.sqrt(before) or 1.0
        shift[i], spread[i] = (now - was) / deviation, np.sqrt(after) / deviation
    return shift, spread


def _wasserstein(reference: Reference, window: Profile) -> Floats:
    distances = np.full(len(window.counts), np.nan)
    for i, axis in enumerate(reference.layout.axes):
        if isinstance(axis, NumericAxis) and window.sizes[i] and reference.profile.sizes[i]:
            was, now = reference.profile.counts[i, :BINS], window.counts[i, :BINS]
            gaps = (was.cumsum() / was.sum() - now.cumsum() / now.sum())[: len(axis.edges) - 1]
            distances[i] = float(np.abs(gaps) @ np.diff(axis.edges)) / axis.scale
    return distances
