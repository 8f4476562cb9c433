"""A reference profile, prepared for being compared with windows: everything about it that no window changes."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.stats.axes import BINS, GROUPS, OTHER, CategoryAxis, NumericAxis
from app.stats.profile import Layout, Profile

Floats = NDArray[np.float64]
ROWS_PER_GROUP = 20


class Reference:
    """A reference profile, prepared for being compared with windows.

    Raises:
        ValueError: it holds no rows.
    """

    def __init__(self, profile: Profile) -> None:
        if not profile.counts.any():
            raise ValueError("a reference without rows can't be compared with")
        self.profile = profile
        self.layout: Layout = profile.layout
        self.bins = exclusive_bins(profile)
        self.sizes = self.bins.sum(axis=1)

    @cached_property
    def is_numeric(self) -> NDArray[np.bool_]:
        """Which columns are numeric."""
        return np.array([isinstance(axis, NumericAxis) for axis in self.layout.axes])

    @cached_property
    def ranks(self) -> Floats:
        """The middle of each bin's ranks, in (0, 1), shape (columns, bins)."""
        ends = self.bins.cumsum(axis=1)
        middle = (ends - self.bins / 2) / self.sizes[:, np.newaxis].clip(1)
        least = 0.5 / self.sizes[:, np.newaxis].clip(1)
        ranks: Floats = np.clip(middle, least, 1 - least)
        return ranks

    @cached_property
    def normal_scores(self) -> Floats:
        """Normal scores of the bins, with their squares and cubes."""
        return _powers(_normal_quantiles(self.ranks))

    @cached_property
    def squared_scores(self) -> Floats:
        """The squares of the normal scores, with their squares and cubes."""
        return _powers(_normal_quantiles(self.ranks) ** 2)

    @cached_property
    def distribution(self) -> Floats:
        """The share of rows up to the end of each bin."""
        distribution: Floats = self.bins.cumsum(axis=1) / self.sizes[:, np.newaxis].clip(1)
        return distribution

    @cached_property
    def groups(self) -> NDArray[np.intp]:
        """The group of each bin: of equal reference mass for numbers, of equal mass in alphabetical order for labels.

        Bins lie where the reference's own rows lie; only groups of some twenty of them are as random as they look.
        """
        number = np.clip(self.sizes // ROWS_PER_GROUP, 1, GROUPS)[:, np.newaxis]
        groups: NDArray[np.intp] = np.minimum((self.ranks * number).astype(np.intp), GROUPS - 1)
        for i in self.layout.labelled:
            groups[i] = self._label_groups(i, float(number[i, 0]))
        return groups

    def _label_groups(self, i: int, number: float) -> NDArray[np.intp]:
        axis = self.layout.axes[i]
        assert isinstance(axis, CategoryAxis)
        order = np.argsort(np.array([*axis.top, *[chr(0x10FFFF)] * (BINS - len(axis.top))]), kind="stable")
        mass = self.bins[i][order]
        middle = (mass.cumsum() - mass / 2) / max(1.0, float(self.sizes[i]))
        groups = np.empty(BINS, np.intp)
        groups[order] = np.minimum((middle * number).astype(np.intp), GROUPS - 1)
        return groups

    @cached_property
    def tails(self) -> NDArray[np.bool_]:
        """The bins beyond the reference's 0.1 % and 99.9 % quantiles."""
        return np.array([_tail_bins(axis) for axis in self.layout.axes])

    @cached_property
    def is_bin(self) -> NDArray[np.bool_]:
        """The bins that stand for themselves: not those of all labels beyond the top."""
        is_bin = np.ones((len(self.bins), BINS), np.bool_)
        is_bin[~self.is_numeric, OTHER:] = False
        return is_bin

    @cached_property
    def labels(self) -> Floats:
        """How many labels each column's reference held, as many as may have been the luckiest; bins of a numeric one."""
        return np.array(
            [
                float(max(1, axis.distinct)) if isinstance(axis, CategoryAxis) else float(len(axis.edges) + 1)
                for axis in self.layout.axes
            ]
        )

    @cached_property
    def singles(self) -> Floats:
        """How many labels of each column occur once in the reference."""
        return np.array(
            [axis.singles if isinstance(axis, CategoryAxis) else 0 for axis in self.layout.axes], float
        )


def _normal_quantiles(levels: Floats) -> Floats:
    from scipy import special  # noqa: PLC0415 - references are known of from the start, SciPy is not waited for

    quantiles: Floats = special.ndtri(levels)
    return quantiles


def _powers(scores: Floats) -> Floats:
    return np.stack([scores, scores**2, scores**3])


def exclusive_bins(profile: Profile) -> Floats:
    """The counts of bins that exclude each other."""
    bins = profile.counts[:, :BINS].astype(np.float64)
    bins[list(profile.layout.labelled), BINS - GROUPS :] = 0.0
    return bins


def _tail_bins(axis: NumericAxis | CategoryAxis) -> NDArray[np.bool_]:
    is_tail = np.zeros(BINS, np.bool_)
    if isinstance(axis, NumericAxis):
        low, high = axis.tails
        is_tail[: low + 1] = True
        is_tail[high + 1 :] = True
    return is_tail
