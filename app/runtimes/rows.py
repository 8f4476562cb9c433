"""The rows of a predict request: checked against the signature, a bad row apart from its good neighbours.

The quick way takes a whole batch whose Python types are all as the signature wants them, in a handful of C-level
passes; anything else goes row by row and cell by cell.
"""

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, cycle
from math import isfinite
from operator import contains
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.runtimes.cells import Cell, ColumnError, read_row, shorten
from app.runtimes.payloads import Layout, table_of
from app.runtimes.schema import Column, ColumnType, Signature, is_plain_text

Matrix = NDArray[np.float64]
Table = Sequence[Sequence[Any]]

MAX_DETAILED_ROWS = 1000  # bad rows whose every error is told; further ones name only their first
MAX_NAMED_EXTRAS = 20
ROWS_PER_PART = 64


@dataclass(slots=True)
class Rows:
    """A batch of rows after checking.

    Attributes:
        count: how many rows came, good or bad.
        good: the positions of the good rows in the request, ascending.
        values: each good row's cells in signature order, JSON-safe.
        matrix: the good rows as a C-contiguous float64 array with NaN for null; None when a column holds text.
        errors: for each bad row's position what is wrong with it.
        warnings: what the caller should know though nothing failed.
        unseen: for each text column how many good rows hold a value that the reference sample did not.
    """

    count: int
    good: Sequence[int]
    values: Sequence[Sequence[Cell]]
    matrix: Matrix | None
    errors: dict[int, list[ColumnError]]
    warnings: list[str]
    unseen: dict[str, int]

    def slice(self, start: int, stop: int) -> "Rows":
        """Good rows `start` up to `stop` as a batch of their own, for scoring in parts."""
        matrix = None if self.matrix is None else self.matrix[start:stop]
        values = self.values[start:stop]
        return Rows(len(values), range(len(values)), values, matrix, {}, [], {})


def merge_rows(batches: Sequence[Rows]) -> Rows:
    """The good rows of several requests as one batch; `Scores.split` by `len(rows.good)` gives each its own back."""
    if len(batches) == 1:
        return batches[0]
    values = [row for batch in batches for row in batch.values]
    matrices = [batch.matrix for batch in batches if batch.matrix is not None]
    matrix = np.concatenate(matrices) if len(matrices) == len(batches) else None
    return Rows(len(values), range(len(values)), values, matrix, {}, [], {})


def parse_rows(payload: Any, signature: Signature, *, max_rows: int) -> Rows:
    """The rows of a decoded predict body.

    Raises:
        UnknownPayload: not exactly one of the known forms is there.
        MisshapenPayload: the rows don't form a table.
        EmptyBatch: there is none.
        TooManyRows: there are more than `max_rows`.
    """
    table, layout = table_of(payload, signature, max_rows)
    quick = _read_quickly(table, layout, signature)
    if quick or len(table) <= ROWS_PER_PART:
        return quick or _read_each(table, signature)
    return _read_in_parts(table, layout, signature)


def _read_in_parts(table: Sequence[Any], layout: Layout, signature: Signature) -> Rows:
    """Only the parts that hold a bad cell take the thorough way, so that one bad row does not slow a large batch."""
    parts = (table[start : start + ROWS_PER_PART] for start in range(0, len(table), ROWS_PER_PART))
    return _join([_read_quickly(part, layout, signature) or _read_each(part, signature) for part in parts])


def _join(parts: Sequence[Rows]) -> Rows:
    good: list[int] = []
    errors: dict[int, list[ColumnError]] = {}
    count = 0
    for part in parts:
        detailed = len(errors) < MAX_DETAILED_ROWS
        good.extend(count + i for i in part.good)
        errors.update({count + i: found if detailed else found[:1] for i, found in part.errors.items()})
        count += part.count
    unseen = dict(sum((Counter(part.unseen) for part in parts), Counter()))
    warnings = list(dict.fromkeys(chain.from_iterable(part.warnings for part in parts)))
    return replace(merge_rows(parts), count=count, good=good, errors=errors, warnings=warnings, unseen=unseen)


def _read_quickly(table: Sequence[Any], layout: Layout, signature: Signature) -> Rows | None:
    """A batch that is right in every cell; None when any needs a closer look."""
    try:
        if layout is Layout.ORDERED:
            return _read_ordered(table, signature, [])
        if layout is Layout.NAMED:
            picked = list(map(signature.pick, table))
            has_extras = max(map(len, table)) > len(signature.inputs)
            return _read_ordered(picked, signature, _warn_of_extras(table, signature) if has_extras else [])
    except (KeyError, OverflowError):  # a missing column, an integer beyond float64
        return None
    return None


def _read_ordered(table: Table, signature: Signature, warnings: list[str]) -> Rows | None:
    if set(map(len, table)) != {len(signature.inputs)}:
        return None
    kinds = set(map(type, chain.from_iterable(table)))
    if not (kinds <= signature.common_types or _fits_by_column(table, signature)):
        return None
    if not signature.is_numeric:
        return _read_mixed(table, signature, warnings)
    matrix = to_matrix(table)
    # One pass: NaN, infinity and overflow all end here, and unlike a sum it warns of none of them.
    if not (isfinite(np.vdot(matrix, matrix)) or _only_nulls_are_nan(table, matrix)):
        return None
    return Rows(len(table), range(len(table)), table, matrix, {}, warnings, {})


def _fits_by_column(table: Table, signature: Signature) -> bool:
    return all(map(contains, cycle(signature.cell_types), map(type, chain.from_iterable(table))))


def to_matrix(table: Table) -> Matrix:
    """Rows of numbers, booleans and nulls as a matrix, with NaN for null.

    Raises:
        OverflowError: an integer is beyond float64.
    """
    pack = _packer(len(table[0]))
    try:
        packed = bytearray(b"".join([pack(*row) for row in table]))
    except struct.error:  # a null
        return np.array(table, dtype=np.float64)
    return np.frombuffer(packed, np.float64).reshape(len(table), -1)


@lru_cache(maxsize=1024)
def _packer(width: int) -> Callable[..., bytes]:
    return struct.Struct(f"{width}d").pack


def _only_nulls_are_nan(table: Table, matrix: Matrix) -> bool:
    nulls = sum(row.count(None) for row in table)
    return int(np.isfinite(matrix).sum()) + nulls == matrix.size


def _read_mixed(table: Table, signature: Signature, warnings: list[str]) -> Rows | None:
    columns = list(zip(*table, strict=True))
    if not all(map(_is_clean, columns, signature.inputs)):
        return None
    return Rows(len(table), range(len(table)), table, None, {}, warnings, _count_unseen(columns, signature))


def _is_clean(cells: Sequence[Any], column: Column) -> bool:
    if column.type == ColumnType.STRING:
        return all(is_plain_text(text) for text in set(cells) if text is not None)
    return isfinite(sum(cell for cell in cells if cell is not None))


def _count_unseen(columns: Sequence[Sequence[Any]], signature: Signature) -> dict[str, int]:
    unseen = {}
    for name, cells, known in zip(signature.names, columns, signature.vocabularies, strict=True):
        if known is not None and (new := set(cells).difference(known, {None})):
            unseen[name] = sum(cell in new for cell in cells)
    return unseen


def _warn_of_extras(table: Sequence[Any], signature: Signature) -> list[str]:
    objects = (row for row in table if isinstance(row, dict))
    extras = sorted(set().union(*objects).difference(signature.names))
    if not extras:
        return []
    named = ", ".join(map(shorten, extras[:MAX_NAMED_EXTRAS]))
    return [f"{len(extras)} columns that the model does not take were ignored: {named}"]


def _read_each(table: Sequence[Any], signature: Signature) -> Rows:
    """The thorough way: each row by itself, so that a bad one costs no other."""
    values: list[list[Cell]] = []
    good: list[int] = []
    errors: dict[int, list[ColumnError]] = {}
    for i, row in enumerate(table):
        cells, problems = read_row(row, signature)
        if problems:
            errors[i] = problems
        else:
            good.append(i)
            values.append(cells)
    matrix = (
        np.array(values, dtype=np.float64).reshape(-1, len(signature.inputs))
        if signature.is_numeric
        else None
    )
    unseen = (
        {}
        if signature.is_numeric or not values
        else _count_unseen(list(zip(*values, strict=True)), signature)
    )
    return Rows(len(table), good, values, matrix, errors, _warn_of_extras(table, signature), unseen)
