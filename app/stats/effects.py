"""How much a column's distribution has changed, in the sizes that people know, free of the size of the sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.stats.axes import BINS, OTHER, NumericAxis
from app.stats.profile import NOT_FINITE, NULL, Profile
from app.stats.reference import Reference

Floats = NDArray[np.float64]

DECILES = 10
COARSE = 16  # groups of labels: the fifteen most frequent and the rest
LEAST_SHARE = 1e-4  # of an empty group, for the population stability index, whose logarithm it would blow up
LEAST_EXPECTED = 0.25  # rows in a group, for it to be told from others by a lower end
_PER_ROW = 8 * np.log(2)


@dataclass(frozen=True, eq=False)
class Effects:
    """One value for each column.

    Attributes:
        psi: population stability index on the reference's deciles, or on the largest labels; from 0.
        distance: Jensen–Shannon distance to base 2 on the same groups and one more of missing values, in [0, 1], less what
            sampling alone adds.
        distance_low, distance_high: its 95 % interval.
        low_of_all: the lower ends that all columns are above together, with 97.5 %.
        shift: difference of the means in standard deviations of the reference, of values capped at `profile.FARTHEST` of
            them; NaN for labels, and where it has none.
        spread: ratio of the standard deviations; NaN in the same cases.
        wasserstein: first Wasserstein distance in standard deviations, of values at the upper edges of their bins: rough where
            tails are heavy and beyond the reference's range, and no farther than the last edge; NaN likewise.
    """

    psi: Floats
    distance: Floats
    distance_low: Floats
    distance_high: Floats
    low_of_all: Floats
    shift: Floats
    spread: Floats
    wasserstein: Floats


def measure(
    reference: Reference, window: Profile, *, design_effects: Sequence[float] | Floats = (1.0,)
) -> Effects:
    """The sizes of the changes between a reference and a window; columns without a value get NaN.

    Jensen–Shannon: Lin, IEEE Trans. Inf. Theory 37 (1991). For small differences n times the divergence follows a
    noncentral chi-squared law (Cressie and Read, J. R. Stat. Soc. B 46, 1984), which gives the bias and the interval. In
    groups of few rows it is larger (or, of hardly any, smaller) by nature, and is divided by how much.

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
    psi = _psi(_shares(was), _shares(now))
    was, now = np.column_stack([was, _missing(reference.profile)]), np.column_stack([now, _missing(window)])
    distance = _distances(was, now, np.asarray(design_effects, np.float64))
    shift, spread = _moments(reference, window)
    return Effects(psi, *distance, shift, spread, _wasserstein(reference, window))


def _shares(counts: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: Floats = counts / counts.sum(axis=1, keepdims=True)
    return shares


def _missing(profile: Profile) -> Floats:
    """Values that are none, or no number that could be compared."""
    missing: Floats = profile.counts[:, [NULL, NOT_FINITE]].sum(axis=1).astype(np.float64)
    return missing


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
            up_to = np.append(0, bins.cumsum())[np.concatenate([[0], axis.deciles + 1, [BINS]])]
            groups[i, :DECILES] = np.diff(
                up_to
            )  # those of a value that holds several deciles are one, the others empty
        else:
            groups[i, : COARSE - 1] = bins[: COARSE - 1]
            groups[i, COARSE - 1] = bins[COARSE - 1 : OTHER + 2].sum()
    return groups


def _psi(p: Floats, q: Floats) -> Floats:
    p, q = p.clip(LEAST_SHARE), q.clip(LEAST_SHARE)
    psi: Floats = ((q - p) * np.log(q / p)).sum(axis=1)
    return psi


def _distances(was: Floats, now: Floats, design_effects: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The distance, the ends of its interval, and the lower ends for all columns together.

    One row in a group that hardly any are expected in is no proof of anything, though the law of many rows takes it for one:
    the lower ends are those of fewer groups, which the distance of all of them can't be below.
    """
    whole, sure = (
        _Chance.of(*counts, design_effects) for counts in ((was, now), _pooled(was, now, design_effects))
    )
    distance = whole.distance(whole.statistic - whole.freedom)
    low = sure.distance(sure.excess(0.975))
    low_of_all = sure.distance(sure.excess(1 - 0.025 / max(1, len(was))))
    return (
        distance, np.minimum(low, distance), whole.distance(whole.excess(0.025)), np.minimum(low_of_all, distance),
    )  # fmt: skip


def _pooled(was: Floats, now: Floats, design_effects: Floats) -> tuple[Floats, Floats]:
    """The counts with groups in which fewer than `LEAST_EXPECTED` rows are expected put into the largest."""
    columns, both = np.arange(len(was)), was + now
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = 1 / (design_effects * (1 / was.sum(axis=1) + 1 / now.sum(axis=1)))
        is_rare = _shares(both) * worth[:, np.newaxis] < LEAST_EXPECTED
    largest = both.argmax(axis=1)
    is_rare[columns, largest] = False

    def pool(counts: Floats) -> Floats:
        pooled = np.where(is_rare, 0.0, counts)
        pooled[columns, largest] += np.where(is_rare, counts, 0.0).sum(axis=1)
        return pooled

    return pool(was), pool(now)


@dataclass(frozen=True, eq=False)
class _Chance:
    """Of each column how far two samples are apart, in units of what sampling does, which follows a chi-squared law."""

    statistic: Floats
    freedom: Floats
    unit: Floats

    @classmethod
    def of(cls, was: Floats, now: Floats, design_effects: Floats) -> Self:
        p, q = _shares(was), _shares(now)
        middle, both = (p + q) / 2, _shares(was + now)
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = design_effects * (1 / was.sum(axis=1) + 1 / now.sum(axis=1)) / _PER_ROW
            divergence = (special.rel_entr(p, middle) + special.rel_entr(q, middle)).sum(axis=1) / (
                2 * np.log(2)
            )
            freedom = (both > 0).sum(axis=1) - 1.0
            unit *= (_per_group(both / (unit * _PER_ROW)[:, np.newaxis]) * (1 - both)).sum(axis=1) / freedom
            return cls(divergence / unit, freedom, unit)

    def distance(self, excess: Floats) -> Floats:
        """A noncentrality as a distance."""
        with np.errstate(invalid="ignore"):
            distance: Floats = np.sqrt(np.clip(np.nan_to_num(excess * self.unit), 0.0, 1.0))
        return distance

    def excess(self, level: float) -> Floats:
        """The noncentrality with which the statistic lies at this level."""
        return _noncentrality(self.statistic, self.freedom.clip(1), level)


@cache
def _expected() -> tuple[Floats, Floats]:
    """What a group adds to the statistic by chance, by how many rows are expected in it: 1 once they are many.

    As a power divergence of Poisson counts; with 1 it adds 1.36, with a tenth 0.43.
    """
    rows = np.geomspace(1e-5, 300.0, 100)
    found = np.arange(600.0)
    chance = np.exp(
        special.xlogy(found, rows[:, np.newaxis]) - rows[:, np.newaxis] - special.gammaln(found + 1)
    )
    times = found / rows[:, np.newaxis]
    divergence = (special.xlogy(times, 2 * times / (1 + times)) - np.log((1 + times) / 2)) / 2
    return np.log(rows), 8 * rows * (chance * divergence).sum(axis=1)


def _per_group(rows: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        added: Floats = np.interp(np.log(rows), *_expected())
    return np.where(rows > 0, added, 0.0)


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
        if before > 0:
            shift[i], spread[i] = (now - was) / np.sqrt(before), np.sqrt(after / before)
    return shift, spread


def _wasserstein(reference: Reference, window: Profile) -> Floats:
    distances = np.full(len(window.counts), np.nan)
    for i, axis in enumerate(reference.layout.axes):
        is_some = window.sizes[i] and reference.profile.sizes[i]
        if isinstance(axis, NumericAxis) and is_some and np.ptp(axis.edges) > 0:
            was, now = reference.profile.counts[i, :BINS], window.counts[i, :BINS]
            gaps = (was.cumsum() / was.sum() - now.cumsum() / now.sum())[: len(axis.edges) - 1]
            distances[i] = float(np.abs(gaps) @ np.diff(axis.edges)) / axis.scale
    return distances
