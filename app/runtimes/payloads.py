"""The four forms in which a predict body may carry its rows, brought to one: a list of rows."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from app.runtimes.errors import EmptyBatch, MisshapenPayload, TooManyRows, UnknownPayload
from app.runtimes.schema import Signature


class Layout(StrEnum):
    """What the rows of a table look like."""

    ORDERED = "ordered"  # every row is a list in signature order
    NAMED = "named"  # every row is an object
    UNEVEN = "uneven"  # some rows are something else: each needs a look of its own


def table_of(payload: Any, signature: Signature, max_rows: int) -> tuple[Sequence[Any], Layout]:
    """The rows of a decoded predict body, and how they are laid out.

    Raises:
        UnknownPayload: not exactly one of the known forms is there.
        MisshapenPayload: the rows don't form a table.
        EmptyBatch: there is none.
        TooManyRows: there are more than `max_rows`.
    """
    found = payload.keys() & _FORMS.keys() if isinstance(payload, dict) else ()
    if len(found) != 1:
        raise UnknownPayload(sorted(found))
    (form,) = found
    return _FORMS[form](form, payload[form], signature, max_rows)


def _rows(form: str, rows: Any, _: Signature, max_rows: int) -> tuple[Sequence[Any], Layout]:
    _check_length(form, rows, max_rows)
    kinds = set(map(type, rows))
    if kinds == {dict}:
        return rows, Layout.NAMED
    return rows, Layout.ORDERED if kinds == {list} else Layout.UNEVEN


def _records(form: str, rows: Any, signature: Signature, max_rows: int) -> tuple[Sequence[Any], Layout]:
    table, layout = _rows(form, rows, signature, max_rows)
    if layout != Layout.NAMED:
        raise MisshapenPayload(form, "every row must be an object")
    return table, layout


def _split(form: str, body: Any, signature: Signature, max_rows: int) -> tuple[Sequence[Any], Layout]:
    if not isinstance(body, dict) or not {"columns", "data"} <= body.keys() <= {"columns", "data", "index"}:
        raise MisshapenPayload(form, "must be an object with columns and data (and perhaps index)")
    names, data = body["columns"], body["data"]
    _check_names(f"{form}.columns", names)
    _check_length(f"{form}.data", data, max_rows)
    if set(map(type, data)) != {list} or set(map(len, data)) != {len(names)}:
        raise MisshapenPayload(
            f"{form}.data", f"every row must be a list of {len(names)} values, one for each column"
        )
    if tuple(names) == signature.names:
        return data, Layout.ORDERED
    return [dict(zip(names, row, strict=True)) for row in data], Layout.NAMED


def _inputs(form: str, body: Any, signature: Signature, max_rows: int) -> tuple[Sequence[Any], Layout]:
    if not isinstance(body, dict):
        return _rows(form, body, signature, max_rows)
    for name, column in body.items():
        _check_length(f"{form}.{name}", column, max_rows)
    if len(set(map(len, body.values()))) != 1:
        raise MisshapenPayload(form, "every column must be a list of the same length")
    if tuple(body) == signature.names:
        return list(zip(*body.values(), strict=True)), Layout.ORDERED
    return [dict(zip(body, row, strict=True)) for row in zip(*body.values(), strict=True)], Layout.NAMED


def _check_names(field: str, names: Any) -> None:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MisshapenPayload(field, "must be a list of column names")
    if len(set(names)) != len(names):
        raise MisshapenPayload(field, "names a column twice")


def _check_length(field: str, rows: Any, max_rows: int) -> None:
    if not isinstance(rows, list):
        raise MisshapenPayload(field, "must be a list")
    if not rows:
        raise EmptyBatch(field)
    if len(rows) > max_rows:
        raise TooManyRows(len(rows), max_rows)


_Reader = Callable[[str, Any, Signature, int], tuple[Sequence[Any], Layout]]
_FORMS: dict[str, _Reader] = {
    "instances": _rows,
    "dataframe_records": _records,
    "dataframe_split": _split,
    "inputs": _inputs,
}
