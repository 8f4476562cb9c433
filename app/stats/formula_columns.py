"""The columns that formulas work on, and the logic of rows of which something is unknown (Kleene's three values)."""

from collections.abc import Callable
from functools import reduce
from sys import float_info
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Column = NDArray[Any]
"""Numbers, truths as 0 and 1, with NaN where a row has none; or an object array of texts with None there."""
NOTHING: Column = np.array(None, np.object_)


def read_column(name: str, values: ArrayLike) -> Column:
    """Numbers as float64 or texts as objects; a list is looked through, lest numpy write its numbers as texts."""
    column = values if isinstance(values, np.ndarray) else np.array(values, np.object_)
    if column.dtype.kind in "biuf":
        return column.astype(np.float64)
    cells = column.astype(np.object_)
    is_there = np.array([not _is_nothing(cell) for cell in cells.flat], np.bool_).reshape(cells.shape)
    kinds = {_kind(cell) for cell in cells[is_there]}
    if kinds - {"text"} and kinds - {"number"}:
        raise ValueError(f"{name}: a column holds numbers or texts, not both or anything else")
    return np.where(is_there, cells, NOTHING) if kinds == {"text"} else _as_numbers(cells, is_there)


def _is_nothing(cell: object) -> bool:
    return cell is None or (isinstance(cell, float | np.floating) and bool(np.isnan(cell)))


def _kind(cell: object) -> str:
    if isinstance(cell, str):
        return "text"
    return "number" if isinstance(cell, int | float | np.number | np.bool_) else "other"


def _as_numbers(cells: Column, is_there: Column) -> Column:
    numbers = np.full(cells.shape, np.nan)
    numbers[is_there] = [float(cell) if abs(cell) <= float_info.max else np.nan for cell in cells[is_there]]
    return numbers


def truths(column: Column) -> Column:
    return np.where(np.isnan(column), np.nan, column != 0)


def every(*columns: Column) -> Column:
    """Whether all are true: 0 where one is not, whatever the others; else NaN where one is undefined."""
    return reduce(lambda a, b: np.where((a == 0) | (b == 0), 0.0, a * b), map(truths, columns))


def none(*columns: Column) -> Column:
    return every(*(1 - truths(column) for column in columns))


def some(*columns: Column) -> Column:
    return 1 - none(*columns)


def choose(test: Column, yes: Column, no: Column) -> Column:
    return np.where(np.isnan(test), np.nan, np.where(test != 0, yes, no))


def _is_missing(column: Column) -> Column:
    return np.equal(column, NOTHING) if column.dtype == np.object_ else np.isnan(column)


def comparing(compare: Callable[[Column, Column], Column]) -> Callable[[Column, Column], Column]:
    def compared(left: Column, right: Column) -> Column:
        return np.where(
            _is_missing(left) | _is_missing(right), np.nan, compare(left, right).astype(np.float64)
        )

    return compared
