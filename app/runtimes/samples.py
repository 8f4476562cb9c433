"""Reference samples, and the signature that they and their model agree on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.runtimes.cells import Cell
from app.runtimes.errors import BadSample, BadSignature
from app.runtimes.schema import Column, ColumnType, Signature
from app.runtimes.traits import Traits

if TYPE_CHECKING:
    import pandas as pd

STORED_ROWS = 100
MAX_CATEGORIES = 1000  # more different texts than this are free text, not categories


def require_columns(frame: "pd.DataFrame", names: Sequence[str], what: str) -> None:
    """Make sure that a file has all columns of these names.

    Raises:
        BadSample: some are missing.
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        told = ", ".join(missing[:10])
        raise BadSample(f"the {what} lacks columns that the model wants: {told}; {_found(frame)}")


def _found(frame: "pd.DataFrame") -> str:
    """What a file has instead of what was looked for; one column is often many that something else parts."""
    names = list(frame.columns)
    if len(names) == 1 and any(mark in names[0] for mark in _OTHER_SEPARATORS):
        return f"it has the one column {names[0][:300]!r}: part the cells of a CSV by commas"
    return f"it has {', '.join(names[:10])[:300]}{', …' if len(names) > 10 else ''}"


_OTHER_SEPARATORS = ";\t|"


def choose_columns(frame: "pd.DataFrame", traits: Traits) -> "pd.DataFrame":
    """The columns that the model takes, in its order.

    Raises:
        BadSample: some are missing, or it can't be told which are meant.
    """
    if traits.columns is None:
        return frame
    if traits.has_names:
        names = [column.name for column in traits.columns]
        require_columns(frame, names, "sample")
        return frame[names]
    if len(frame.columns) != len(traits.columns):
        raise BadSample(
            f"the model takes {len(traits.columns)} columns without names, the sample has {len(frame.columns)}: "
            f"{_found(frame)}; leave out everything else, such as the target"
        )
    return frame


def signed_columns(frame: "pd.DataFrame", signature: Signature) -> "pd.DataFrame":
    """The columns that a signature names, in its order; of a sample with other names as many as it has.

    Raises:
        BadSample: there are fewer.
    """
    names = list(signature.names)
    if set(names) <= set(frame.columns):
        return frame[names]
    if len(frame.columns) < len(names):
        raise BadSample(f"the signature has {len(names)} columns, the sample {len(frame.columns)}")
    return frame.iloc[:, : len(names)].set_axis(names, axis=1)


def infer_signature(
    traits: Traits,
    frame: "pd.DataFrame | None",
    usable: "Mapping[str, pd.Series[Any]]" = MappingProxyType({}),
) -> Signature:
    """The signature that the model tells, with types, nulls, categories and ranges from its reference sample.

    Args:
        traits: what the model tells.
        frame: its reference sample.
        usable: of columns that hold cells which the model does not take, the others.

    Raises:
        BadSample: the sample does not fit the model, or the model tells too little without one.
        BadSignature: names, categories or classes can't be stored.
    """
    if frame is not None:
        known = traits.columns or (None,) * len(frame.columns)
        columns = tuple(
            _column(name, usable.get(name, frame[name]), told)
            for name, told in zip(frame.columns, known, strict=True)
        )
    elif traits.columns is not None:
        columns = traits.columns
    else:
        raise BadSample("the model does not tell its columns: send a reference sample or a signature")
    signature = Signature(columns, traits.task, classes=traits.classes)
    return Signature.from_json(signature.to_json())  # what a file says is checked as what a caller says


def _column(name: str, series: "pd.Series[Any]", told: Column | None) -> Column:
    kind, nullable = type_of(series), bool(nulls_in(series).any())
    if told is not None and told.type == ColumnType.STRING and series.isna().all():
        return replace(told, name=name, nullable=nullable)
    if kind == ColumnType.STRING:
        return Column(name, kind, nullable, _categories(series))
    if kind == ColumnType.BOOLEAN:
        return Column(name, kind, nullable)
    numbers = _numbers(series)
    finite = numbers[np.isfinite(numbers)]
    bounds = (float(finite.min()), float(finite.max())) if len(finite) else (None, None)
    return Column(name, kind, nullable, None, *bounds)


def nulls_in(series: "pd.Series[Any]") -> NDArray[np.bool_]:
    """As `isna`, which for the columns that most samples consist of takes longer than all the rest."""
    is_plain = isinstance(series.dtype, np.dtype) and series.dtype.kind in _NUMPY_KINDS
    missing: NDArray[np.bool_] = np.isnan(series.to_numpy()) if is_plain else series.isna().to_numpy()
    return missing


def _numbers(series: "pd.Series[Any]") -> NDArray[np.float64]:
    if isinstance(series.dtype, np.dtype):
        return series.to_numpy().astype(np.float64, copy=False)
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def type_of(series: "pd.Series[Any]") -> ColumnType:
    """What the cells of a column are.

    Raises:
        BadSample: nothing that a model takes.
    """
    import pandas as pd  # noqa: PLC0415 - as above
    from pandas.api import types  # noqa: PLC0415

    if isinstance(series.dtype, np.dtype) and series.dtype.kind in _NUMPY_KINDS:
        return _NUMPY_KINDS[series.dtype.kind]
    dtype = series.cat.categories.dtype if isinstance(series.dtype, types.CategoricalDtype) else series.dtype
    if types.is_bool_dtype(dtype):
        return ColumnType.BOOLEAN
    if types.is_integer_dtype(dtype):
        return ColumnType.FLOAT if series.isna().any() else ColumnType.INTEGER
    if types.is_float_dtype(dtype):
        return ColumnType.FLOAT
    is_text = isinstance(dtype, pd.StringDtype) and series.notna().any()
    kinds = {str} if is_text else set(map(type, series.dropna()))
    if kinds <= {str}:
        return ColumnType.STRING if kinds else ColumnType.FLOAT
    if kinds == {bool}:
        return ColumnType.BOOLEAN
    told = sorted(_IN_WORDS.get(kind.__name__, f"{kind.__name__} values") for kind in kinds)
    held = " and ".join(told) if types.is_object_dtype(dtype) else f"{dtype} values"
    raise BadSample(f"the column {series.name} holds {held}; use numbers, booleans or text")


_IN_WORDS = {
    "ndarray": "lists",
    "list": "lists",
    "dict": "objects",
    "str": "text",
    "bool": "booleans",
    "Decimal": "decimals",
    "date": "dates",
    "time": "times of day",
    "int": "whole numbers",
    "float": "numbers",
    "bytes": "bytes",
}
"""What Parquet may hold, as pandas has it."""


_NUMPY_KINDS = {
    "f": ColumnType.FLOAT,
    "i": ColumnType.INTEGER,
    "u": ColumnType.INTEGER,
    "b": ColumnType.BOOLEAN,
}


def _categories(series: "pd.Series[Any]") -> tuple[str, ...] | None:
    values = sorted(set(map(str, series.dropna())))
    return tuple(values) if len(values) <= MAX_CATEGORIES else None


def complete_signature(given: Signature, traits: Traits) -> Signature:
    """The caller's signature, with the classes that the model knows, after both were compared.

    Raises:
        BadSignature: it contradicts the model.
    """
    problems = _contradictions(given, traits)
    if problems:
        raise BadSignature(problems)
    return replace(given, classes=given.classes or traits.classes)


def _contradictions(given: Signature, traits: Traits) -> dict[str, str]:
    problems = {}
    wanted = None if traits.columns is None else tuple(column.name for column in traits.columns)
    if wanted is not None and len(given.names) != len(wanted):
        problems["inputs"] = f"has {len(given.names)} columns, the model takes {len(wanted)}"
    elif wanted is not None and traits.has_names and given.names != wanted:
        problems["inputs"] = f"must name the model's columns in its order: {', '.join(wanted)[:300]}"
    if given.classes and traits.classes and len(given.classes) != len(traits.classes):
        problems["classes"] = f"has {len(given.classes)} labels, the model has {len(traits.classes)}"
    elif given.classes and traits.framework == "scikit-learn" and given.classes != traits.classes:
        problems["classes"] = f"must be the model's own: {list(traits.classes or ())}"
    return problems


def spread_rows(frame: "pd.DataFrame", count: int = STORED_ROWS) -> "pd.DataFrame":
    """At most `count` rows, evenly spaced over the sample, so that the same sample always gives the same ones."""
    if len(frame) <= count:
        return frame
    return frame.iloc[np.linspace(0, len(frame) - 1, count).astype(int)]


def cells_of(frame: "pd.DataFrame", signature: Signature) -> list[list[Cell]]:
    """The rows of a sample as a caller would send them: lists of JSON values with null for missing; other columns are none of it."""
    columns = [_cells(frame[name]) for name in signature.names]
    return [list(row) for row in zip(*columns, strict=True)]


def _cells(series: "pd.Series[Any]") -> Sequence[Cell]:
    missing = nulls_in(series)
    cells = series.to_numpy().tolist() if isinstance(series.dtype, np.dtype) else series.tolist()
    return (
        [None if gone else cell for cell, gone in zip(cells, missing, strict=True)]
        if missing.any()
        else cells
    )
