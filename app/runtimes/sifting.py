"""The rows of a file against a signature: which the model takes, and what is told of those that it does not."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.runtimes.cells import ColumnError
from app.runtimes.errors import BadSample
from app.runtimes.rows import Rows, parse_rows
from app.runtimes.samples import cells_of, type_of
from app.runtimes.schema import Column, ColumnType, Signature, is_plain_text
from app.runtimes.tally import PART_ROWS
from app.runtimes.traits import Traits

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 100_000
MOST_TOLD = 20  # columns of which an answer tells what was left out
FEWEST_DIFFERENT = 30  # rows; fewer tell nothing of how a column is distributed
NO_TIME = "is no time"
BOOLEANS = {"True": True, "true": True, "TRUE": True, "False": False, "false": False, "FALSE": False}
"""As pandas reads them in a CSV."""


@dataclass
class LeftOut:
    """Rows of a file that the model does not take.

    Attributes:
        looked_at: how many rows were held against the signature.
        rows: how many of them are left out.
        columns: on account of which columns, and how many rows of each; a row may have several.
        first: for each of these columns the first row, counted from 1, and what is wrong with its cell.
    """

    looked_at: int
    rows: int = 0
    columns: Counter[str | None] = field(default_factory=Counter)
    first: dict[str | None, tuple[int, ColumnError]] = field(default_factory=dict)

    def add(self, numbers: NDArray[np.intp], errors: dict[int, list[ColumnError]]) -> None:
        """Leave out some rows of a part of the file, whose rows have these numbers in it."""
        self.rows += len(errors)
        for place, problems in errors.items():
            self.columns.update({problem.column for problem in problems})
            row = int(numbers[place]) + 1
            for problem in problems:
                if problem.column not in self.first or row < self.first[problem.column][0]:
                    self.first[problem.column] = (row, problem)

    def told(self) -> list[str]:
        """What whoever sent the file should know: one sentence for each column."""
        return [self._sentence(column) for column, _ in self.columns.most_common(MOST_TOLD)]

    def require_few(self) -> None:
        """Make sure that what is left is the better part of the file.

        Raises:
            BadSample: it is less than half.
        """
        if 2 * self.rows > self.looked_at:
            (column, _), *_ = self.columns.most_common(1)
            raise BadSample(f"{self._sentence(column)}. {self._way_out(column)}")

    def _sentence(self, column: str | None) -> str:
        row, error = self.first[column]
        where = "" if column is None else f"column {column!r}: "
        return (
            f"{where}{self.columns[column]:,} of {self.looked_at:,} rows left out; the first, row {row}, "
            f"{error.problem} (expected {error.expected}, got {error.got})"
        )

    def _way_out(self, column: str | None) -> str:
        _, error = self.first[column]
        if error.problem == "is null":
            return (
                "Fill its empty cells, or send a `signature` where it is `nullable` if the model takes nulls"
            )
        if error.problem == NO_TIME:
            return f"Write {error.expected}"
        kind, _, nothing = error.expected.partition(" or ")
        wanted = _WRITTEN.get(kind, error.expected) + (" or leave the cell empty" if nothing else "")
        return f"Write {wanted}, or send a `signature` with another type if the column is meant as it is"


_WRITTEN = {
    "float": "numbers, with a point for decimals and without a unit",
    "integer": "whole numbers, without a unit",
    "boolean": "true or false",
}


def sift(frame: "pd.DataFrame", signature: Signature, left: LeftOut) -> Iterator[tuple[Rows, list[int]]]:
    """The rows that the model takes, part by part, with their places in the frame; of the others `left` is told.

    A part of which it takes none is not given: nothing can be scored or counted of it.
    """
    numbers = frame.index.to_numpy()
    for start in range(0, len(frame), PART_ROWS):
        part = frame.iloc[start : start + PART_ROWS]
        rows = parse_rows({"instances": cells_of(part, signature)}, signature, max_rows=PART_ROWS)
        left.add(numbers[start : start + PART_ROWS], rows.errors)
        if rows.good:
            yield rows.slice(0, len(rows.good)), [start + place for place in rows.good]


def rows_taken(frame: "pd.DataFrame", signature: Signature, left: LeftOut) -> "pd.DataFrame":
    """The rows that `sift` gives, as they are in the frame; only those in doubt are read cell by cell."""
    is_taken = np.logical_and.reduce([_surely_fits(frame[each.name], each) for each in signature.inputs])
    doubtful = np.flatnonzero(~is_taken)
    for _, good in sift(frame.iloc[doubtful], signature, left):
        is_taken[doubtful[good]] = True
    return frame[is_taken]


def _surely_fits(series: "pd.Series[Any]", column: Column) -> NDArray[np.bool_]:
    """Which cells of a column need no closer look; a null does."""
    if column.type == ColumnType.STRING:
        return np.array([type(cell) is str and is_plain_text(cell) for cell in series], np.bool_)
    wanted = _PLAIN[column.type]
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "fiub":
        if {"b": bool, "f": float}.get(series.dtype.kind, int) not in wanted:
            return np.zeros(len(series), np.bool_)
        numbers = series.to_numpy(np.float64)
    else:
        numbers = np.array([cell if type(cell) in wanted else np.nan for cell in series], np.float64)
    fits: NDArray[np.bool_] = np.isfinite(numbers)
    return fits & (numbers % 1 == 0) if column.type == ColumnType.INTEGER else fits


_PLAIN = {
    ColumnType.FLOAT: frozenset({float, int}),
    ColumnType.INTEGER: frozenset({float, int}),
    ColumnType.BOOLEAN: frozenset({bool}),
}
_EXACT = 2**53
"""Above it not every whole number is a float64."""


def cells_apart(frame: "pd.DataFrame", signature: Signature, *, is_csv: bool) -> "pd.DataFrame":
    """A file's columns cell by cell: one odd cell makes pandas take a whole column of a CSV for text.

    Parquet tells the type of a column, and text in it is no number.

    Raises:
        BadSample: a column holds what no model takes, such as dates.
    """
    kinds = {column.name: type_of(frame[column.name]) for column in signature.inputs}
    apart = {
        column.name: read_text(frame[column.name], column.type).cells
        for column in signature.inputs
        if is_csv and kinds[column.name] == ColumnType.STRING and column.type != ColumnType.STRING
    }
    return frame.assign(**apart) if apart else frame


@dataclass(frozen=True)
class Apart:
    """A column of text whose cells were read as something else.

    Attributes:
        cells: what was read; a cell that could not be is there as it was.
        is_odd: which these are.
    """

    cells: "pd.Series[Any]"
    is_odd: NDArray[np.bool_]

    def usable(self) -> "pd.Series[Any]":
        """The others; of whole numbers only those that are exact, for what is beyond them is no other kind of number."""
        usable = self.cells[~self.is_odd].infer_objects()
        if usable.dtype.kind != "f" or usable.isna().any():
            return usable
        exact = usable[usable.abs() < _EXACT]
        is_whole = 2 * len(exact) > len(usable) and np.all(exact % 1 == 0)
        return exact.astype(np.int64) if is_whole else usable


def read_text(series: "pd.Series[Any]", kind: ColumnType) -> Apart:
    """Cells of text as the numbers or booleans that are written in them."""
    import pandas as pd  # noqa: PLC0415 - only the probe's child needs it here

    found = series.map(BOOLEANS) if kind == ColumnType.BOOLEAN else pd.to_numeric(series, errors="coerce")
    odd = (found.isna() & series.notna()).to_numpy(bool)
    return Apart(found.astype(object).mask(odd, series), odd)


def read_either(series: "pd.Series[Any]") -> Apart:
    """Cells of text as numbers or as booleans, whichever more of them are."""
    numbers = read_text(series, ColumnType.FLOAT)
    if 2 * numbers.is_odd.sum() <= len(series):
        return numbers
    return min(numbers, read_text(series, ColumnType.BOOLEAN), key=lambda apart: int(apart.is_odd.sum()))


def labels_in(series: "pd.Series[Any]", kind: ColumnType) -> "pd.Series[Any]":
    """Labels as the model answers them: a file may hold 1 where it says true, and true where it says 1."""
    if kind == ColumnType.STRING:
        return series.map(str)
    if type_of(series) == ColumnType.STRING:
        series = read_either(series).cells
    return series.map(partial(_label, kind))


def _label(kind: ColumnType, cell: Any) -> Any:
    if kind == ColumnType.FLOAT:
        return int(cell) if cell is True or cell is False else cell
    return bool(cell) if cell in (0, 1) else cell


def warn_of_digits(frame: "pd.DataFrame", signature: Signature, traits: Traits) -> list[str]:
    """Which columns are of text that reads as numbers, though the model does not say that it wants text there.

    It may be codes; where it is numbers, whoever asks for a prediction would have to send them as text.
    """
    known = {column.name for column in traits.columns or () if column.type == ColumnType.STRING}
    found = [
        name
        for name in signature.names_of(ColumnType.STRING)
        if name not in known and not read_text(frame[name], ColumnType.FLOAT).is_odd.any()
    ]
    return [
        f"the column {name!r} is text, all of which reads as numbers; if it is meant as numbers, write it so"
        for name in found
    ]


def warn_of_few(frame: "pd.DataFrame", some: "pd.DataFrame") -> list[str]:
    """What to know of a sample against which nothing can be held, told by its rows or, where those suffice, by some."""
    if len(some.drop_duplicates()) >= FEWEST_DIFFERENT:
        return []
    different = len(frame.drop_duplicates())
    if different >= FEWEST_DIFFERENT:
        return []
    return [
        (
            f"the reference holds {different:,} different rows, {len(frame):,} in all: too few to hold anything against; "
            f"monitoring needs at least {FEWEST_DIFFERENT}, better thousands"
        )
    ]
