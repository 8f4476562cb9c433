"""One cell of one row against its column: what it is worth, or what is wrong with it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.runtimes.schema import Column, ColumnType, Signature, is_plain_text

Cell = str | int | float | bool | None

MAX_SHOWN = 40  # characters of an offending value that an answer repeats
MAX_ERRORS_PER_ROW = 20


@dataclass(frozen=True, slots=True)
class ColumnError:
    """What is wrong with one column of one row; `column` is None when it is the row itself."""

    column: str | None
    problem: str
    expected: str
    got: str

    def to_json(self) -> dict[str, Any]:
        """The form in which a refused row carries it."""
        return {"column": self.column, "problem": self.problem, "expected": self.expected, "got": self.got}


def read_row(row: Any, signature: Signature) -> tuple[list[Cell], list[ColumnError]]:
    """The cells of one row in the order of the signature, or what is wrong with each bad column."""
    if isinstance(row, Mapping):
        return _read_cells([row.get(name, _MISSING) for name in signature.names], signature)
    if not isinstance(row, Sequence) or isinstance(row, str):
        return [], [ColumnError(None, "is no row", "a list or an object", shorten(row))]
    if len(row) != len(signature.inputs):
        width = f"{len(signature.inputs)} values"
        return [], [ColumnError(None, "has the wrong length", width, f"{len(row)} values")]
    return _read_cells(row, signature)


def _read_cells(row: Sequence[Any], signature: Signature) -> tuple[list[Cell], list[ColumnError]]:
    cells: list[Cell] = []
    errors: list[ColumnError] = []
    for column, value in zip(signature.inputs, row, strict=True):
        cell, problem = read_cell(value, column)
        cells.append(cell)
        if problem and len(errors) < MAX_ERRORS_PER_ROW:
            got = "nothing" if value is _MISSING else shorten(value)
            errors.append(ColumnError(column.name, problem, _expected(column), got))
    return cells, errors


def read_cell(value: Any, column: Column) -> tuple[Cell, str]:
    """The value that the model is given, and what is wrong with it ("" when nothing is)."""
    if value is _MISSING:
        return None, "is missing"
    if value is None:
        return None, "" if column.nullable else "is null"
    return _READERS[column.type](value)


def _read_float(value: Any) -> tuple[Cell, str]:
    if type(value) is int:
        return (value, "") if -_LARGEST <= value <= _LARGEST else (None, "is too large")
    if type(value) is float:
        return (value, "") if math.isfinite(value) else (None, "is not finite")
    return None, "has the wrong type"


def _read_integer(value: Any) -> tuple[Cell, str]:
    number, problem = _read_float(value)
    if problem or type(number) is int:
        return number, problem
    assert isinstance(number, float)
    return (int(number), "") if number.is_integer() else (None, "is not a whole number")


def _read_boolean(value: Any) -> tuple[Cell, str]:
    return (value, "") if type(value) is bool else (None, "has the wrong type")


def _read_string(value: Any) -> tuple[Cell, str]:
    if type(value) is not str:
        return None, "has the wrong type"
    return (value, "") if is_plain_text(value) else (None, "holds NUL or half a surrogate pair")


def _expected(column: Column) -> str:
    return f"{column.type} or null" if column.nullable else str(column.type)


def shorten(value: Any) -> str:
    """An offending value as JSON, cut to a length that an answer may repeat."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "an integer beyond float64"
    shown = json.dumps(value[: MAX_SHOWN + 1] if isinstance(value, str) else value)
    return shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + "…"


_MISSING = object()
_LARGEST = int(1.7976931348623157e308)  # the largest finite float64; beyond it `float()` overflows
_READERS = {
    ColumnType.FLOAT: _read_float,
    ColumnType.INTEGER: _read_integer,
    ColumnType.BOOLEAN: _read_boolean,
    ColumnType.STRING: _read_string,
}
