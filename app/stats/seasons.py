"""References for a week that goes round: what each hour of it looks like, mixed as a window covers them.

A reference pooled over a daily cycle alarms at almost every hour. One of each hour's own rows doesn't, but is thin. So each
hour is drawn towards all of them, the less the more they differ.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.stats.axes import BINS, GROUPS
from app.stats.labels import MOST_OF_REFERENCE, LabelCounts, merge_labels
from app.stats.profile import ABOVE, BELOW, NOT_FINITE, Layout, Profile, merge
from app.stats.reference import Reference

Floats = NDArray[np.float64]

HOURS = 168
PROVEN = 4.5  # standard errors: an hour so far from all others in anything is known to be different
EXPECTED = 5.0  # rows of a bin in an hour, for its share to be near normal
LEAST = 1e-12  # variance: below, nothing varies
LEAST_PRIOR = 1.0  # row that all hours together count for, where hours differ as much as can be


@dataclass(frozen=True, eq=False)
class Seasons:
    """What was seen in each hour of the week.

    Attributes:
        pooled: all hours together.
        counts: shape (`HOURS`, columns, `CELLS`): whole numbers, unless `rebase` moved them.
        sums: shape (`HOURS`, columns, 2).
        labels: of each hour that was seen those without a bin of their own, as `Profile` has them.
        most: rows of which nothing here can be surer than as many of them tell; infinity, but after `rebase`.
    """

    pooled: Profile
    counts: NDArray[np.int64] | Floats
    sums: NDArray[np.int64] | Floats
    labels: Mapping[int, tuple[LabelCounts, ...]]
    most: Floats | float = np.inf

    @property
    def layout(self) -> Layout:
        """Of the profiles."""
        return self.pooled.layout

    @cached_property
    def exclusive(self) -> Floats:
        """The share of each cell that excludes the others in its hour's rows: bins, nulls, what is not finite."""
        shares: Floats = _exclusive(self.layout, self.counts) / self.rows[:, :, np.newaxis].clip(1)
        return shares

    @cached_property
    def rows(self) -> Floats:
        """How many rows each hour had, shape (`HOURS`, columns)."""
        rows: Floats = _exclusive(self.layout, self.counts).sum(axis=2)
        return rows

    @cached_property
    def prior(self) -> Floats:
        """How many rows all hours together count for beside each hour's own, shape (`HOURS`, columns).

        It is the variance of rows over that between hours, from the analysis of variance of the shares of all cells
        and of two scores, whichever differs most between hours (Efron and Morris, J. Am. Stat. Assoc. 70, 1975,
        section 2). An hour that is proven different is left alone (ibid. 67, 1972: limited translation), and doesn't count
        where the others are compared; one that was never seen may be like any.
        """
        of_all, of_alike = np.full((2, self.rows.shape[1]), np.inf)
        is_proven = np.zeros(self.rows.shape, np.bool_)
        for means, within in self._measures():
            squares = _off(means, within, self.rows)
            is_alike = squares <= PROVEN**2
            of_all = np.minimum(of_all, _within_over_between(squares, self.rows))
            of_alike = np.minimum(of_alike, _within_over_between(squares * is_alike, self.rows * is_alike))
            is_proven |= ~is_alike
        total = self.rows.sum(axis=0).clip(LEAST_PRIOR)
        prior = np.clip(np.where(self.rows > 0, of_alike, of_all), LEAST_PRIOR, total)
        return np.where(is_proven, LEAST_PRIOR, prior)

    def _measures(self) -> Iterable[tuple[Floats, Floats]]:
        """What may differ between hours: its mean in each, shape (`HOURS`, columns), and its variance within, (columns,)."""
        reference = Reference(self.pooled)
        bins = self.exclusive[:, :, :BINS]
        for powers in (reference.normal_scores, reference.squared_scores):
            first, second = (np.einsum("hci,ci->hc", bins, power) for power in powers[:2])
            yield first, self._within(second - first**2)
        for cell in range(NOT_FINITE + 1):
            share = self.exclusive[:, :, cell]
            within = self._within(share * (1 - share))
            is_common = np.median(self.rows, axis=0) * within >= EXPECTED
            yield share, np.where(is_common, within, np.nan)

    def _within(self, variances: Floats) -> Floats:
        within: Floats = (self.rows * variances).sum(axis=0) / self.rows.sum(axis=0).clip(1)
        return within

    def reference(self, rows: ArrayLike) -> Reference:
        """The reference of a window that covers some hours: their mixture, in as many rows as it is as good as.

        Given an hour's own n rows and a prior of k, its shrunk distribution errs with variance σ² / (n + k), beside what
        all hours share.

        Args:
            rows: the window's rows in each hour of the week, shape (`HOURS`,).

        Raises:
            ValueError: another shape, negative numbers, or no rows.

        >>> from app.stats.axes import numeric_axis
        >>> from app.stats.profile import observe
        >>> draw = np.random.default_rng(1).normal
        >>> layout = Layout((numeric_axis(draw(size=9999)),))
        >>> week = [(hour, observe(layout, [draw(hour % 2, size=900)])) for hour in range(HOURS)]
        >>> odd = by_hour(week).reference(np.arange(HOURS) == 7)
        >>> round(odd.profile.moments(0)[0], 1), bool(900 <= odd.sizes[0] < 1000)
        (1.0, True)
        """
        window = np.asarray(rows, np.float64)
        if window.shape != (HOURS,) or (window < 0).any() or not window.any():
            raise ValueError(f"a window has rows in some of {HOURS} hours")
        covered = np.flatnonzero(window)
        parts = (window[covered] / window.sum())[:, np.newaxis]
        own, prior, total = self.rows[covered], self.prior[covered], self.rows.sum(axis=0)
        lent = (parts * prior / (own + prior)).sum(axis=0)
        unsure = (parts**2 / (own + prior)).sum(axis=0) + lent**2 / total.clip(1)
        size = 1 / (unsure + 1 / np.maximum(self.most, 1))
        return Reference(self._mixture(covered, size * parts / (own + prior), size * lent / total.clip(1)))

    def _mixture(self, covered: NDArray[np.intp], of_hours: Floats, of_all: Floats) -> Profile:
        """Every row of a covered hour counted `of_hours` times, and every row at all `of_all` times."""
        counts = (
            np.einsum("hc,hci->ci", of_hours, self.counts[covered])
            + of_all[:, np.newaxis] * self.pooled.counts
        )
        sums = (
            np.einsum("hc,hci->ci", of_hours, self.sums[covered]) + of_all[:, np.newaxis] * self.pooled.sums
        )
        whole = _whole(_exclusive(self.layout, counts))
        labelled = list(self.layout.labelled)
        hashed = slice(BINS - GROUPS, BINS)
        whole[labelled, hashed] = _whole(counts[labelled, hashed])
        beyond = np.ceil(counts[:, [BELOW, ABOVE]] - 1e-9).astype(np.int64)
        return Profile(
            self.layout,
            np.hstack([whole, beyond]),
            np.rint(sums).astype(np.int64),
            self.pooled.extremes,
            self._mix_labels(covered.tolist(), of_hours, of_all),
        )

    def _mix_labels(
        self, covered: Sequence[int], of_hours: Floats, of_all: Floats
    ) -> tuple[LabelCounts, ...]:
        mixed = []
        for i, column in enumerate(self.layout.labelled):
            weights = zip(covered, of_hours[:, column].tolist(), strict=True)
            parts = [self.labels[hour][i].times(weight) for hour, weight in weights if hour in self.labels]
            parts.append(self.pooled.labels[i].times(of_all[column]))
            mixed.append(merge_labels(parts, MOST_OF_REFERENCE))
        return tuple(mixed)


def hours_of_week(seconds: ArrayLike) -> NDArray[np.int64]:
    """The hour of the week, from Monday 0 to 1 o'clock UTC, of moments in seconds since 1970, which began on a Thursday.

    >>> hours_of_week([0, 4 * 86_400, 4 * 86_400 - 1]).tolist()
    [72, 0, 167]
    """
    hours: NDArray[np.int64] = (np.asarray(seconds, np.int64) // 3600 + 72) % HOURS
    return hours


def by_hour(buckets: Iterable[tuple[int, Profile]]) -> Seasons:
    """The profiles of some weeks, gathered by the hour of the week in which each starts.

    Args:
        buckets: hours 0 … 167 with profiles of one layout, in any order, an hour any number of times.

    Raises:
        ValueError: there are none, an hour is none of the week, or the layouts differ.

    >>> by_hour([(168, None)])
    Traceback (most recent call last):
    ValueError: 168 is no hour of the week
    """
    gathered: dict[int, list[Profile]] = {}
    for hour, profile in buckets:
        if not 0 <= hour < HOURS:
            raise ValueError(f"{hour} is no hour of the week")
        gathered.setdefault(hour, []).append(profile)
    merged = {hour: merge(profiles) for hour, profiles in gathered.items()}
    pooled = merge(merged.values(), most_labels=MOST_OF_REFERENCE)
    counts = np.zeros((HOURS, *pooled.counts.shape), np.int64)
    sums = np.zeros((HOURS, *pooled.sums.shape), np.int64)
    for hour, profile in merged.items():
        counts[hour], sums[hour] = profile.counts, profile.sums
    return Seasons(pooled, counts, sums, {hour: profile.labels for hour, profile in merged.items()})


def rebase(weeks: Seasons, reference: Profile, covered: ArrayLike | None = None) -> Seasons:
    """The hours of a week as a reference implies them that itself doesn't tell them apart: its level, the weeks' shape.

    Each hour is moved by what lies between the reference and the hours that it covers, cell by cell. So only how hours
    differ from each other is taken from the weeks: what had changed in all of them alike stays as visible as it was. But
    labels without a bin of their own are those of the weeks.

    Args:
        weeks: what was seen, some of which may have drifted from the reference.
        reference: of the same layout.
        covered: how many of its rows were of each hour of the week, shape (`HOURS`,); as in the weeks where unknown.

    Raises:
        ValueError: the layouts differ, or not one hour that the reference covers was seen.

    >>> from app.stats.axes import numeric_axis
    >>> from app.stats.profile import observe
    >>> draw = np.random.default_rng(1).normal
    >>> sample = np.concatenate([draw(0.0, size=2000), draw(1.0, size=2000)])
    >>> layout = Layout((numeric_axis(sample),))
    >>> moved = [(hour, observe(layout, [draw(hour % 2 + 0.5, size=900)])) for hour in range(HOURS)]
    >>> rebased = rebase(by_hour(moved), observe(layout, [sample]))
    >>> [abs(round(rebased.reference(np.arange(HOURS) == hour).profile.moments(0)[0])) for hour in (6, 7)]
    [0, 1]
    """
    if weeks.layout is not reference.layout and weeks.layout != reference.layout:
        raise ValueError("a reference has the axes along which the weeks were counted")
    rows, sizes = weeks.rows, _exclusive(weeks.layout, reference.counts).sum(axis=1)
    shares = _covered_shares(rows, covered)
    like, like_sums = (
        np.einsum("hc,hci->ci", shares / rows.clip(1), cells) for cells in (weeks.counts, weeks.sums)
    )
    base = 1 / (shares**2 / rows.clip(1)).sum(axis=0).clip(1e-12)
    per_row = 1 / sizes.clip(1)[:, np.newaxis]
    moved, moved_sums = (
        rows[:, :, np.newaxis] * (cells * per_row - alike)
        for cells, alike in ((reference.counts, like), (reference.sums, like_sums))
    )
    counts = _as_many(weeks.layout, (weeks.counts + moved).clip(0), rows)
    sums = weeks.sums + moved_sums
    pooled = _pooled(weeks, counts, sums)
    return Seasons(pooled, counts, sums, weeks.labels, 1 / (1 / sizes.clip(1) + 1 / base))


def _covered_shares(rows: Floats, covered: ArrayLike | None) -> Floats:
    """What part of a reference is of which hour, shape (`HOURS`, columns); hours that were not seen are left out."""
    known = rows if covered is None else np.asarray(covered, np.float64)[:, np.newaxis] * (rows > 0)
    if not known.any():
        raise ValueError("no hour that the reference covers was seen")
    shares: Floats = known / known.sum(axis=0).clip(1e-12)
    return shares


def _as_many(layout: Layout, counts: Floats, rows: Floats) -> Floats:
    """The counts, scaled so that each hour has as many rows as before."""
    found = _exclusive(layout, counts).sum(axis=2)
    scaled: Floats = counts * (rows / np.where(found > 0, found, 1.0))[:, :, np.newaxis]
    return scaled


def _pooled(weeks: Seasons, counts: Floats, sums: Floats) -> Profile:
    whole = np.rint(counts.sum(axis=0)).astype(np.int64)
    whole_sums = np.rint(sums.sum(axis=0)).astype(np.int64)
    return Profile(weeks.layout, whole, whole_sums, weeks.pooled.extremes, weeks.pooled.labels)


def _exclusive(layout: Layout, counts: NDArray[np.int64] | Floats) -> Floats:
    """The cells of which each row is in exactly one: all but the groups by hash and what is beyond the extremes."""
    cells = counts[..., : NOT_FINITE + 1].astype(np.float64)
    cells[..., list(layout.labelled), BINS - GROUPS : BINS] = 0.0
    return cells


def _off(means: Floats, within: Floats, rows: Floats) -> Floats:
    """How many standard errors each hour's mean is from that of all, squared; 0 where nothing varies, or nobody asks.

    What varies between hours and never within, such as the day of the week itself, is as far off as can be.
    """
    spread = rows * (means - (rows * means).sum(axis=0) / rows.sum(axis=0).clip(1)) ** 2
    off: Floats = np.where(spread > LEAST, spread / np.maximum(within, LEAST), 0.0)
    return np.where(np.isnan(within), 0.0, off)


def _within_over_between(squares: Floats, rows: Floats) -> Floats:
    """The ratio of variances by the method of moments; infinity where hours differ no more than by chance."""
    total = rows.sum(axis=0).clip(1)
    freedom = ((rows > 0).sum(axis=0) - 1).clip(0)
    excess = (squares.sum(axis=0) - freedom) / (total - (rows**2).sum(axis=0) / total).clip(1)
    return np.where(excess > 0, 1 / np.where(excess > 0, excess, 1.0), np.inf)


def _whole(cells: Floats) -> NDArray[np.int64]:
    """Whole numbers whose running sums are those of the cells, rounded."""
    ends = np.rint(cells.cumsum(axis=-1)).astype(np.int64)
    whole: NDArray[np.int64] = np.diff(ends, axis=-1, prepend=0)
    return whole
