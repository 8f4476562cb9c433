"""A profile: what was seen of some columns in some time, in constant space, exactly mergeable.

Profiles of one layout add up cell by cell. All cells are integers, sums in fixed point among them, so neither the order
of merging nor the number of parts can change a bit of the result.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.stats.axes import BINS, GROUPS, Axis, CategoryAxis, NumericAxis, numeric_axis  # noqa: F401 - for the doctest
from app.stats.labels import MOST, LabelCounts, merge_labels, read_all, write_all

NULL, NOT_FINITE, BELOW, ABOVE = range(BINS, BINS + 4)
CELLS = BINS + 4
FRACTION = 1 << 20  # of the fixed-point sums
FARTHEST = (
    1000.0  # standard deviations: a value beyond counts as that far in the sums, so that they can't overflow
)

Column = NDArray[np.float64] | Sequence[str | None] | None
Sections = tuple[bytes, bytes, bytes, bytes]


@dataclass(frozen=True)
class Layout:
    """The axes of a reference's columns, in order; profiles of different layouts never merge."""

    axes: tuple[Axis, ...]

    @cached_property
    def numeric(self) -> NDArray[np.intp]:
        """The places of the numeric columns."""
        return np.array([i for i, axis in enumerate(self.axes) if isinstance(axis, NumericAxis)], np.intp)

    @cached_property
    def labelled(self) -> tuple[int, ...]:
        """The places of the columns of labels."""
        return tuple(i for i, axis in enumerate(self.axes) if isinstance(axis, CategoryAxis))

    @cached_property
    def numbers(self) -> tuple[NumericAxis, ...]:
        """The axes of the numeric columns."""
        return tuple(axis for axis in self.axes if isinstance(axis, NumericAxis))

    @cached_property
    def centres(self) -> NDArray[np.float64]:
        """Of the numeric columns, one below the other; so are `scales`, `lows` and `highs`."""
        return self._upright([axis.centre for axis in self.numbers])

    @cached_property
    def scales(self) -> NDArray[np.float64]:
        """The units of the sums."""
        return self._upright([axis.scale for axis in self.numbers])

    @cached_property
    def lows(self) -> NDArray[np.float64]:
        """The least values of the reference."""
        return self._upright([axis.low for axis in self.numbers])

    @cached_property
    def highs(self) -> NDArray[np.float64]:
        """The greatest values of the reference."""
        return self._upright([axis.high for axis in self.numbers])

    @staticmethod
    def _upright(values: list[float]) -> NDArray[np.float64]:
        return np.array(values)[:, np.newaxis]


@dataclass(frozen=True, eq=False)
class Profile:
    """Counts, sums and extremes of each column.

    Attributes:
        layout: the axes that it counts along.
        counts: int64, shape (columns, `CELLS`): the bins of the axis, then nulls, values that are not finite, and values
            below and above the reference's extremes (these are in a bin as well).
        sums: int64, shape (columns, 2): of the standardised values and their squares, in units of 1 / `FRACTION`.
        extremes: float64, shape (columns, 2): the least and the greatest value; infinities where there is none.
        labels: of each column of labels how often each was seen that has no bin of its own.
    """

    layout: Layout
    counts: NDArray[np.int64]
    sums: NDArray[np.int64]
    extremes: NDArray[np.float64]
    labels: tuple[LabelCounts, ...]

    @classmethod
    def empty(cls, layout: Layout) -> Self:
        """A profile of nothing."""
        columns = len(layout.axes)
        extremes = np.tile([np.inf, -np.inf], (columns, 1))
        counts, sums = np.zeros((columns, CELLS), np.int64), np.zeros((columns, 2), np.int64)
        return cls(layout, counts, sums, extremes, (LabelCounts.empty(),) * len(layout.labelled))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many values of each column are in a bin: neither null nor infinite."""
        sizes: NDArray[np.int64] = self.counts[:, :BINS].sum(axis=1)
        sizes[list(self.layout.labelled)] -= self.counts[
            list(self.layout.labelled), BINS - GROUPS : BINS
        ].sum(axis=1)
        return sizes

    def __add__(self, other: "Profile") -> "Profile":
        """Both together.

        Raises:
            ValueError: their layouts differ.
        """
        return merge([self, other])

    def to_bytes(self) -> Sections:
        """Counts as little-endian int32, sums as int64, extremes as float64, labels, each column by column.

        Raises:
            ValueError: a count is beyond int32.
        """
        if self.counts.max(initial=0) > np.iinfo(np.int32).max:
            raise ValueError("a count is beyond 32 bits")
        return (
            self.counts.astype("<i4").tobytes(),
            self.sums.astype("<i8").tobytes(),
            self.extremes.astype("<f8").tobytes(),
            write_all(self.labels),
        )

    @classmethod
    def from_bytes(cls, layout: Layout, counts: bytes, sums: bytes, extremes: bytes, labels: bytes) -> Self:
        """What `to_bytes` wrote.

        Raises:
            ValueError: the bytes are not those of a profile along this layout.

        >>> layout = Layout((numeric_axis([1.0, 2.0]),))
        >>> profile = observe(layout, [np.array([1.5, np.nan])])
        >>> Profile.from_bytes(layout, *profile.to_bytes()).counts.sum() == profile.counts.sum()
        np.True_
        """
        columns = len(layout.axes)
        return cls(
            layout,
            np.frombuffer(counts, "<i4").reshape(columns, CELLS).astype(np.int64),
            np.frombuffer(sums, "<i8").reshape(columns, 2),
            np.frombuffer(extremes, "<f8").reshape(columns, 2),
            read_all(labels, len(layout.labelled)),
        )

    @classmethod
    def merged_from_bytes(cls, layout: Layout, stored: Sequence[Sequence[bytes]]) -> Self:
        """Several stored profiles as one, added up where they lie.

        Raises:
            ValueError: the bytes are not those of profiles along this layout.
        """
        columns = len(layout.axes)
        counts, sums, extremes = (b"".join(part[section] for part in stored) for section in range(3))
        labels = [read_all(part[3], len(layout.labelled)) for part in stored if part[3]]
        limits = np.frombuffer(extremes, "<f8").reshape(-1, columns, 2)
        return cls(
            layout,
            np.frombuffer(counts, "<i4").reshape(-1, columns, CELLS).sum(axis=0, dtype=np.int64),
            np.frombuffer(sums, "<i8").reshape(-1, columns, 2).sum(axis=0),
            np.stack(
                [limits[:, :, 0].min(axis=0, initial=np.inf), limits[:, :, 1].max(axis=0, initial=-np.inf)],
                axis=1,
            ),
            _merge_each(layout, labels, MOST),
        )

    def moments(self, column: int) -> tuple[float, float]:
        """Mean and variance (divided by n - 1) of a numeric column.

        Raises:
            ValueError: it is no numeric column, or holds fewer than two values.

        >>> layout = Layout((numeric_axis([1.0, 2.0, 3.0]),))
        >>> mean, variance = observe(layout, [np.array([4.0, 6.0])]).moments(0)
        >>> round(mean, 4), round(variance, 4)
        (5.0, 2.0)
        """
        axis, count = self.layout.axes[column], int(self.sizes[column])
        if not isinstance(axis, NumericAxis) or count < 2:
            raise ValueError("moments are those of at least two numbers")
        first, second = (self.sums[column] / FRACTION).tolist()
        mean = first / count
        variance = max(0.0, second - count * mean**2) / (count - 1)
        return axis.centre + axis.scale * mean, axis.scale**2 * variance


def merge(profiles: Iterable[Profile], *, most_labels: int = MOST) -> Profile:
    """Several profiles as one: equal, bit for bit, to the profile of all their rows.

    Raises:
        ValueError: there is none, or their layouts differ.
    """
    parts = list(profiles)
    if not parts:
        raise ValueError("nothing to merge")
    layout = parts[0].layout
    if any(part.layout is not layout and part.layout != layout for part in parts):
        raise ValueError("profiles of different layouts don't merge")
    extremes = np.stack([part.extremes for part in parts])
    return Profile(
        layout,
        np.sum([part.counts for part in parts], axis=0),
        np.sum([part.sums for part in parts], axis=0),
        np.stack([extremes[:, :, 0].min(axis=0), extremes[:, :, 1].max(axis=0)], axis=1),
        _merge_each(layout, [part.labels for part in parts], most_labels),
    )


def _merge_each(
    layout: Layout, parts: Sequence[tuple[LabelCounts, ...]], most: int
) -> tuple[LabelCounts, ...]:
    return tuple(merge_labels([part[i] for part in parts], most) for i in range(len(layout.labelled)))


def observe(layout: Layout, columns: Sequence[Column], *, most_labels: int = MOST) -> Profile:
    """The profile of some rows, column by column.

    Args:
        layout: of the reference.
        columns: one for each axis: float64 with NaN for null, or labels with None for null; None where nobody looked.
        most_labels: of a column, that are told apart without a bin of their own.

    Raises:
        ValueError: there are more or fewer columns than axes.
    """
    if len(columns) != len(layout.axes):
        raise ValueError(f"{len(columns)} columns for {len(layout.axes)} axes")
    profile = Profile.empty(layout)
    labels = [_count_labels(profile, i, columns[i], most_labels) for i in layout.labelled]
    seen = np.array([columns[i] is not None for i in layout.numeric], np.bool_)
    if seen.any():
        table = np.array([columns[i] for i in layout.numeric[seen]], np.float64)
        _count_numbers(profile, table, seen)
    return replace(profile, labels=tuple(labels))


def _count_labels(profile: Profile, i: int, labels: Any, most: int) -> LabelCounts:
    axis = profile.layout.axes[i]
    assert isinstance(axis, CategoryAxis)
    labels = () if labels is None else labels
    present = [label for label in labels if label is not None]
    profile.counts[i, :BINS], beyond = axis.count(present, most)
    profile.counts[i, NULL] = len(labels) - len(present)
    return beyond


def _count_numbers(profile: Profile, table: NDArray[np.float64], seen: NDArray[np.bool_]) -> None:
    """Count the numeric columns that were seen; shape of `table` (as many, rows)."""
    layout, places = profile.layout, profile.layout.numeric[seen]
    axes = compress(layout.numbers, seen)
    is_finite = np.isfinite(table)
    nulls = np.isnan(table).sum(axis=1)
    cells = np.array([axis.bins_of(row) for axis, row in zip(axes, table, strict=True)])
    cells += (np.arange(len(table)) * BINS)[:, np.newaxis]
    counts = np.bincount(cells[is_finite], minlength=len(table) * BINS).reshape(-1, BINS)
    profile.counts[places, :BINS] = counts
    profile.counts[places, NULL] = nulls
    profile.counts[places, NOT_FINITE] = table.shape[1] - is_finite.sum(axis=1) - nulls
    profile.counts[places, BELOW] = (is_finite & (table < layout.lows[seen])).sum(axis=1)
    profile.counts[places, ABOVE] = (is_finite & (table > layout.highs[seen])).sum(axis=1)
    profile.extremes[places, 0] = table.min(axis=1, where=is_finite, initial=np.inf)
    profile.extremes[places, 1] = table.max(axis=1, where=is_finite, initial=-np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        standard = np.clip((table - layout.centres[seen]) / layout.scales[seen], -FARTHEST, FARTHEST)
    standard[~is_finite] = 0.0
    profile.sums[places, 0] = _fixed(standard)
    profile.sums[places, 1] = _fixed(standard**2)


def _fixed(values: NDArray[np.float64]) -> NDArray[np.int64]:
    rounded: NDArray[np.int64] = np.rint(values * FRACTION).astype(np.int64).sum(axis=1)
    return rounded
