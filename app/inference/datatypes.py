"""The datatypes of the Open Inference Protocol, and which of them a column takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.runtimes.schema import ColumnType, Signature

_LARGEST = {
    16: 65504.0,
    32: 3.4028234663852886e38,
    64: 1.7976931348623157e308,
}  # finite values of IEEE 754-2019, table 3.5


@dataclass(frozen=True, slots=True)
class Datatype:
    """What the elements of a tensor are.

    Attributes:
        name: as the protocol writes it.
        kinds: the Python types of its elements once they are read from JSON.
        bounds: the least and the greatest value, where JSON could hold others.
    """

    name: str
    kinds: frozenset[type]
    bounds: tuple[float, float] | None = None

    def find_misfit(self, elements: Sequence[Any]) -> int | None:
        """The place of the first element that this type can't hold; for null it is the column that decides."""
        if self._holds_all(elements):
            return None
        misfits = (
            i for i, element in enumerate(elements) if element is not None and not self._holds(element)
        )
        return next(misfits, None)

    def _holds_all(self, elements: Sequence[Any]) -> bool:
        if not set(map(type, elements)) <= self.kinds:
            return False
        return not elements or self.bounds is None or self._is_within(min(elements), max(elements))

    def _holds(self, element: Any) -> bool:
        return type(element) in self.kinds and (self.bounds is None or self._is_within(element, element))

    def _is_within(self, least: float, greatest: float) -> bool:
        assert self.bounds is not None
        return self.bounds[0] <= least and greatest <= self.bounds[1]


def _signed(bits: int) -> Datatype:
    return Datatype(f"INT{bits}", frozenset({int}), (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))


def _unsigned(bits: int) -> Datatype:
    return Datatype(f"UINT{bits}", frozenset({int}), (0, 2**bits - 1))


def _floating(bits: int) -> Datatype:
    largest = _LARGEST[bits]
    return Datatype(f"FP{bits}", frozenset({float, int}), (-largest, largest))


NUMBERS = (*map(_signed, (8, 16, 32, 64)), *map(_unsigned, (8, 16, 32, 64)), *map(_floating, (16, 32, 64)))
DATATYPES = {
    datatype.name: datatype
    for datatype in (*NUMBERS, Datatype("BOOL", frozenset({bool})), Datatype("BYTES", frozenset({str})))
}
DECLARED = {
    ColumnType.FLOAT: "FP64",
    ColumnType.INTEGER: "INT64",
    ColumnType.BOOLEAN: "BOOL",
    ColumnType.STRING: "BYTES",
}
"""The datatype under which metadata and answers show a column."""

_NUMBER_NAMES = frozenset(datatype.name for datatype in NUMBERS)
TAKEN = {
    ColumnType.FLOAT: _NUMBER_NAMES,
    ColumnType.INTEGER: _NUMBER_NAMES,
    ColumnType.BOOLEAN: frozenset({"BOOL"}),
    ColumnType.STRING: frozenset({"BYTES"}),
}
"""The datatypes in which a column may come: a whole number is one, whether it is sent as INT32 or as FP64."""


def matrix_datatype(signature: Signature) -> str | None:
    """The datatype of the one tensor that may stand for all columns; None where they have too little in common.

    >>> from app.runtimes.schema import Task, tensor_columns
    >>> matrix_datatype(Signature(tensor_columns(3), Task.REGRESSION))
    'FP64'
    """
    types = {column.type for column in signature.inputs}
    if types == {ColumnType.FLOAT, ColumnType.INTEGER}:
        return DECLARED[ColumnType.FLOAT]
    return DECLARED[types.pop()] if len(types) == 1 else None
