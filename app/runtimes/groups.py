"""Columns in a few groups each, made from some rows and applied to others."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.runtimes.schema import Column, ColumnType

MISSING = "missing"
OTHER = "other"
SLICES, MOST_SLICES = 4, 20


@dataclass(frozen=True)
class Groups:
    """The groups of one column; the last one holds what is missing.

    Attributes:
        cuts: of numbers: group i holds those in (cuts[i - 1], cuts[i]].
        labels: of anything else: the most frequent values; those of no label are another group.
    """

    cuts: NDArray[np.float64] | None
    labels: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.names)

    @property
    def names(self) -> list[str]:
        """What each holds, for people."""
        if self.cuts is None:
            return [*self.labels, OTHER, MISSING]
        if not len(self.cuts):
            return ["all", MISSING]
        ends = [f"{cut:.6g}" for cut in self.cuts]
        inner = [f"{low} to {high}" for low, high in pairwise(ends)]
        return [f"up to {ends[0]}", *inner, f"above {ends[-1]}", MISSING]

    def to_json(self) -> dict[str, Any]:
        """`from_json` reads it back."""
        return {"cuts": None if self.cuts is None else self.cuts.tolist(), "labels": self.labels}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The groups that were written down."""
        cuts = stored["cuts"]
        return cls(None if cuts is None else np.array(cuts, np.float64), tuple(stored["labels"]))

    def codes(self, cells: Sequence[Any]) -> NDArray[np.intp]:
        """The group of each cell."""
        if self.cuts is not None:
            values = numbers(cells)
            inside = np.searchsorted(self.cuts, values, side="left")
            return np.where(np.isnan(values), len(self.cuts) + 1, inside)
        places = {label: place for place, label in enumerate(self.labels)}
        other = len(self.labels)
        return np.array([
            other + 1 if cell is None else places.get(as_name(cell), other) for cell in cells
        ], np.intp)  # fmt: skip

    def places(self, cells: Sequence[Any]) -> list[NDArray[np.intp]]:
        """Group by group, which of the cells are in it."""
        codes = self.codes(cells)
        return [np.flatnonzero(codes == code) for code in range(self.size)]


@dataclass(frozen=True)
class Slicing:
    """How a sample is sliced.

    Attributes:
        place: of the column by which, among the inputs.
        most: into so many groups.
        times: the column that holds the times of its rows.
        hours: of the week; rows of others are left out. None for all.
    """

    place: int
    most: int
    times: str | None = None
    hours: list[int] | None = None


def as_name(cell: Any) -> str:
    """A value as the name of its group.

    >>> as_name(True), as_name("a"), as_name(3)
    ('true', 'a', '3')
    """
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def most_slices(column: Column) -> int:
    """Into how many groups people want to look: quarters of numbers, the most frequent labels."""
    return SLICES if column.type in (ColumnType.FLOAT, ColumnType.INTEGER) else MOST_SLICES


def group_column(column: Column, cells: Sequence[Any], most: int) -> Groups:
    """At most so many groups of these cells: of equal size for numbers, the most frequent values for anything else."""
    if column.type in (ColumnType.STRING, ColumnType.BOOLEAN):
        frequent = Counter(as_name(cell) for cell in cells if cell is not None).most_common(most)
        return Groups(None, tuple(name for name, _ in frequent))
    return group_numbers(cells, most)


def group_numbers(cells: Sequence[Any], most: int) -> Groups:
    """Groups of equal size, as far as equal numbers allow it."""
    values = numbers(cells)
    values = values[np.isfinite(values)]
    if not len(values):
        return Groups(np.array([]))
    cuts = np.unique(np.quantile(values, np.arange(1, most) / most, method="inverted_cdf"))
    return Groups(cuts[cuts < values.max()])


def column_of(rows: Sequence[Sequence[Any]], place: int) -> list[Any]:
    """One column of some rows; a row that could not be read has nothing there."""
    return [None if row is None else row[place] for row in rows]


def numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Numbers as an array; NaN for whatever is none."""
    return np.array(
        [value if isinstance(value, int | float) and abs(value) < np.inf else np.nan for value in values],
        np.float64,
    )
