"""What a window is asked beside its reference, of all columns at once: each answer is a p-value."""

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.stats.axes import BINS, GROUPS, OTHER, UNSEEN
from app.stats.labels import from_nowhere
from app.stats.profile import ABOVE, BELOW, NOT_FINITE, NULL, Profile
from app.stats.reference import Floats, Reference, exclusive_bins
from app.stats.saddlepoint import upper_tails

EXPECTED = 10.0
"""Rows of a group in either sample: with fewer, the far tail of chi-squared is not that of counts."""
DECISIVE = 0.05
"""A p-value of one question that is larger than this over the number of columns proves nothing, whoever asks."""


class Pair:
    """Two samples, their counts deflated to independent rows."""

    def __init__(self, reference: Reference, window: Profile, effects: Floats) -> None:
        self.reference = reference
        self.effects = effects
        self.labels = window.labels
        self.counts = window.counts / effects[:, np.newaxis]
        self.now = exclusive_bins(window) / effects[:, np.newaxis]
        self.was = reference.bins / effects[:, np.newaxis]
        self.size = self.now.sum(axis=1)
        self.base = self.was.sum(axis=1)
        self.both = self.now + self.was
        self.total = self.size + self.base
        self.is_empty = (
            window.counts[:, :BINS].sum(axis=1) + window.counts[:, NULL] + window.counts[:, NOT_FINITE]
        ) == 0
        self.share = self.size / self.total.clip(1e-300)


def _rank_test(pair: Pair, powers: Floats) -> Floats:
    """Two-sided, of the sum of the window's scores under permutation, by a Pearson III with its first three moments.

    Mielke and Berry, Permutation Methods, 2nd ed. (2007), section 2.3. `powers`: the scores, their squares and cubes.
    """
    total, rest = pair.total.clip(3.0), pair.base
    mean, square, cube = np.einsum("pij,ij->pi", powers, pair.both) / total
    second = square - mean**2
    third = cube - 3 * mean * square + 2 * mean**3
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(second * pair.size * rest / (total - 1))
        z = (np.einsum("ij,ij->i", powers[0], pair.now) - pair.size * mean) / spread
        skew = (
            (rest - pair.size)
            / np.sqrt(pair.size * rest)
            * np.sqrt(total - 1)
            / (total - 2)
            * third
            / second**1.5
        )
    is_known = np.isfinite(z) & np.isfinite(skew)
    z, skew = np.where(is_known, z, 0.0), np.where(is_known, skew, 0.0)
    side = np.where(z < 0, -1.0, 1.0)
    p = np.where(is_known, np.minimum(1.0, 2 * _pearson_tail(side * z, side * skew)), 1.0)
    return _checked(pair, powers[0] * side[:, np.newaxis], p)


def _checked(pair: Pair, scores: Floats, p: Floats) -> Floats:
    """The p-values, none smaller than the whole distribution of the scores allows: asked of those that may decide."""
    small = np.flatnonzero(p < DECISIVE / len(p))
    if len(small):
        both, now, scores = pair.both[small], pair.now[small], scores[small]
        tails = np.maximum(upper_tails(scores, both, now), _all_in_one(scores, both, pair.size[small]))
        p[small] = np.maximum(p[small], np.minimum(1.0, 2 * tails))
    return p


def _all_in_one(scores: Floats, both: Floats, size: Floats) -> Floats:
    """The chance that all rows are in the bin with the largest score: no sum can be less likely than that.

    Few rows, or rows that count for less than one, can be beyond all that the fitted law allows.
    """
    largest = np.where(both > 0, scores, -np.inf).argmax(axis=1)
    mass = both[np.arange(len(scores)), largest] / both.sum(axis=1).clip(1e-300)
    chance: Floats = mass**size
    return chance


def _pearson_tail(z: Floats, skew: Floats) -> Floats:
    """P(Z > z) for a standardised Pearson III variable of this skewness."""
    safe = np.where(np.abs(skew) < 1e-4, 1.0, skew)
    shape = 4 / safe**2
    at = np.maximum(0.0, shape + 2 * z / safe)
    gamma = np.where(safe > 0, special.gammaincc(shape, at), special.gammainc(shape, at))
    tail: Floats = np.where(np.abs(skew) < 1e-4, special.ndtr(-z), gamma)
    return tail


def location(pair: Pair) -> Floats:
    """Normal scores (van der Waerden)."""
    return _rank_test(pair, pair.reference.normal_scores)


def scale(pair: Pair) -> Floats:
    """Squared normal scores (Klotz)."""
    return _rank_test(pair, pair.reference.squared_scores)


def shape(pair: Pair) -> Floats:
    """The asymptotic two-sample Kolmogorov distribution; on bins the statistic is never too large."""
    now = pair.now.cumsum(axis=1) / pair.size.clip(1e-300)[:, np.newaxis]
    distance = np.abs(now - pair.reference.distribution).max(axis=1)
    p: Floats = special.kolmogorov(distance * np.sqrt(pair.size * pair.base / pair.total.clip(1e-300)))
    return p


def groups(pair: Pair) -> Floats:
    """Pearson's chi-squared test of homogeneity on the groups that hold anything."""
    now, was = _grouped(pair, pair.now), _grouped(pair, pair.was)
    hashed = pair.reference.labels > OTHER
    hashed &= ~pair.reference.is_numeric
    if hashed.any():
        effects = pair.effects[hashed, np.newaxis]
        now[hashed] = pair.counts[hashed, BINS - GROUPS : BINS]
        was[hashed] = pair.reference.profile.counts[hashed, BINS - GROUPS : BINS] / effects
    now, both = _thick(now, now + was, pair.share)
    expected = both * pair.share[:, np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = (now - expected) ** 2 / (expected * (1 - pair.share)[:, np.newaxis])
    freedom = (both > 0).sum(axis=1) - 1
    p = special.chdtrc(freedom.clip(1), np.nan_to_num(parts).sum(axis=1))
    return np.where(freedom > 0, p, 1.0)


def _thick(now: Floats, both: Floats, share: Floats) -> tuple[Floats, Floats]:
    """The groups, neighbours put together until as many rows of each sample are expected in each as chi-squared wants."""
    rarer = np.minimum(share, 1 - share)[:, np.newaxis]
    expected = both * rarer
    if not ((expected > 0) & (expected < EXPECTED)).any():
        return now, both
    place, held = np.zeros(len(both), np.intp), np.zeros(len(both))
    places = np.empty(both.shape, np.intp)
    for group in range(GROUPS):
        places[:, group] = place
        held += expected[:, group]
        is_full = held >= EXPECTED
        place, held = place + is_full, np.where(is_full, 0.0, held)
    places = np.minimum(places, (place - 1).clip(0)[:, np.newaxis])
    places += np.arange(len(both))[:, np.newaxis] * GROUPS
    return _put(places, now), _put(places, both)


def _put(places: NDArray[np.intp], counts: Floats) -> Floats:
    """Counts added up where they are put, numbered through all columns."""
    put = np.bincount(places.ravel(), counts.ravel(), counts.size).astype(np.float64)
    return put.reshape(counts.shape)


def _grouped(pair: Pair, counts: Floats) -> Floats:
    columns = len(counts)
    places = pair.reference.groups + np.arange(columns)[:, np.newaxis] * GROUPS
    grouped = np.bincount(places.ravel(), counts.ravel(), columns * GROUPS).astype(np.float64)
    return grouped.reshape(columns, GROUPS)


def largest_bin(pair: Pair) -> Floats:
    """The bin that sticks out most, by itself, times the number of those that might have."""
    now, both = pair.now, pair.both * pair.reference.is_bin
    share = pair.share[:, np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(now - both * share) / np.sqrt(
            both * share * (1 - share) * (1 - both / pair.total[:, np.newaxis])
        )
    largest = np.where(both > 0, np.nan_to_num(z, posinf=0.0), 0.0).argmax(axis=1)
    rows = np.arange(len(z))
    return np.minimum(1.0, _rare(now[rows, largest], both[rows, largest], pair) * pair.reference.labels)


def tails(pair: Pair) -> Floats:
    """The rows beyond what one in a thousand of the reference held."""
    in_tails = pair.reference.tails
    return _rare((pair.now * in_tails).sum(axis=1), (pair.both * in_tails).sum(axis=1), pair)


def beyond_range(pair: Pair) -> Floats:
    """That so many of the farthest values of both samples are the window's, on the worse side.

    A reference that made its own axis holds nothing beyond it; one that was counted later may.
    """
    sides = [BELOW, ABOVE]
    now, was = pair.counts[:, sides], pair.reference.profile.counts[:, sides] / pair.effects[:, np.newaxis]
    p = special.betainc(np.maximum(now, 1e-12), was + 1, pair.share[:, np.newaxis])
    return np.where((now > 0).any(axis=1), np.minimum(1.0, 2 * np.where(now > 0, p, 1.0).min(axis=1)), 1.0)


def new_labels(pair: Pair) -> Floats:
    """Whether more labels were never seen than those that the axis held once let expect: as surprising, each, as a new one.

    Labels that are new to the axis but not to the reference, which was counted later, are no surprise either. Nor is it
    that there are few new ones: customers come back, and a catalogue is scored again.
    """
    now, was = pair.now[:, UNSEEN], pair.was[:, UNSEEN]
    both = now + was + pair.reference.singles / pair.effects
    return np.where(now > both * pair.share, _at_least(now, both, pair.share), 1.0)


def one_label(pair: Pair) -> Floats:
    """One label among those without a bin; a reference of which they were not counted says nothing of them."""
    p, reference = np.ones(len(pair.share)), pair.reference
    beyond = reference.bins[:, OTHER:].sum(axis=1)
    for i, was, now in zip(reference.layout.labelled, reference.profile.labels, pair.labels, strict=True):
        is_counted = bool(len(was.hashes)) or not beyond[i]
        if is_counted and 0 < pair.share[i] < 1:
            p[i] = from_nowhere(was, now, float(pair.share[i]), float(pair.effects[i]))
    return p


def nulls(pair: Pair) -> Floats:
    """The share of missing values."""
    return _missing(pair, NULL)


def not_finite(pair: Pair) -> Floats:
    """The share of infinities."""
    return _missing(pair, NOT_FINITE)


def _missing(pair: Pair, cell: int) -> Floats:
    now, was = pair.counts[:, cell], pair.reference.profile.counts[:, cell] / pair.effects
    size, base = pair.size + now, pair.base + was
    is_usual = (now + was) > (size + base) / 2  # of two rare things that are each other's rest, the rarer one
    now, was = np.where(is_usual, size - now, now), np.where(is_usual, base - was, was)
    return _binomial(now, now + was, size / (size + base).clip(1e-300))


def _rare(now: Floats, both: Floats, pair: Pair) -> Floats:
    return _binomial(now, both, pair.share)


def _binomial(now: Floats, both: Floats, share: Floats) -> Floats:
    """Two-sided: how `both` events fall on the window, which has this share of the rows.

    A binomial has heavier tails than the hypergeometric distribution that it stands for (Hoeffding, JASA 58, 1963,
    theorem 4), so it errs to the safe side.
    """
    is_more = now > both * share
    count = np.where(is_more, now, both - now)
    chance = np.where(is_more, share, 1 - share)
    return np.where(count > 0, np.minimum(1.0, 2 * _at_least(count, both, chance)), 1.0)


def _at_least(count: Floats, both: Floats, chance: Floats) -> Floats:
    """The binomial chance that of `both` events so many or more happen where each does with this chance."""
    tail: Floats = special.betainc(np.maximum(count, 1e-12), both - count + 1, chance)
    return tail
