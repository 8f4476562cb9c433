"""Rows as pandas data frames, for models that pick their columns by name or type."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.runtimes.cells import Cell
from app.runtimes.rows import Rows
from app.runtimes.schema import Column, ColumnType, Signature

if TYPE_CHECKING:
    import pandas as pd


def to_frame(rows: Rows, signature: Signature, *, categorical: bool = False) -> "pd.DataFrame":
    """The good rows as the frame that the model was trained on had them: int64, float64, bool, text with NaN.

    Args:
        rows: a checked batch.
        signature: whose columns they are.
        categorical: whether text with known values becomes pandas' category type.
    """
    import pandas as pd  # noqa: PLC0415 - a process that serves no such model never pays for it

    if rows.matrix is not None and all(column.type == ColumnType.FLOAT for column in signature.inputs):
        return pd.DataFrame(rows.matrix, columns=list(signature.names), copy=False)
    cells = zip(*rows.values, strict=True) if rows.values else ((),) * len(signature.inputs)
    columns = zip(signature.inputs, cells, strict=True)
    return pd.DataFrame(
        {column.name: _array(column, cells, categorical=categorical) for column, cells in columns}
    )


def _array(column: Column, cells: Sequence[Cell], *, categorical: bool) -> Any:
    if column.type == ColumnType.STRING:
        return _text(column, cells, categorical=categorical)
    if column.type == ColumnType.FLOAT:
        return np.array(cells, dtype=np.float64)
    if column.nullable:
        return np.array(cells, dtype=object if column.type == ColumnType.BOOLEAN else np.float64)
    if column.type == ColumnType.BOOLEAN:
        return np.array(cells, dtype=np.bool_)
    return _whole_numbers(cells)


def _whole_numbers(cells: Sequence[Cell]) -> Any:
    try:
        return np.array(cells, dtype=np.int64)
    except OverflowError:
        return np.array(cells, dtype=np.float64)


def _text(column: Column, cells: Sequence[Cell], *, categorical: bool) -> Any:
    import pandas as pd  # noqa: PLC0415

    if categorical and column.categories is not None:
        return pd.Categorical(list(cells), categories=list(column.categories))
    array = np.empty(len(cells), dtype=object)
    array[:] = [np.nan if cell is None else cell for cell in cells]
    return array
