"""Plain predict bodies read in one step: JSON whose every cell has the type that the signature wants.

A parser that knows what must come checks while it parses. It takes a quarter of the time that parsing and then
checking take, and has nothing to say about a body that is not plain: that one is read the thorough way
(`app.runtimes.rows`), which finds out what is wrong with it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import astuple

from app.runtimes.rows import Rows, Table, to_matrix
from app.runtimes.schema import Column, ColumnType, Signature

MOST_COLUMNS = 1000  # a type of so many fields takes a tenth of a second to make, once
_PEEK_BYTES = 64
_TYPES = {ColumnType.FLOAT: float, ColumnType.INTEGER: int, ColumnType.BOOLEAN: bool}


@dataclass(slots=True)
class PlainBody:
    """What a plain body holds: rows, and perhaps whom they are about and how its sender calls it."""

    table: Table
    entity_id: str | int | None
    request_id: str | None


class TypedReader:
    """Reads the plain bodies for one signature without text."""

    def __init__(self, signature: Signature) -> None:
        cells = tuple(map(_cell_type, signature.inputs))
        self._read_lists = _body_decoder(tuple[cells], "inputs")  # type: ignore[valid-type]
        self._read_objects = _body_decoder(_row_type(signature, cells), "dataframe_records")

    def read(self, body: bytes, *, max_rows: int) -> PlainBody | None:
        """What a body holds; None when it needs a closer look."""
        start = body.find(b"[") + 1
        holds_objects = body[start : start + _PEEK_BYTES].lstrip().startswith(b"{")
        try:
            content = (self._read_objects if holds_objects else self._read_lists)(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return None
        table = _only(content.instances, content.other)
        if not table or len(table) > max_rows:
            return None
        rows = list(map(astuple, table)) if holds_objects else table
        return PlainBody(rows, content.entity_id, content.request_id)

    def to_rows(self, table: Table) -> Rows:
        """The rows of one body, or of several as one batch.

        Raises:
            OverflowError: an integer is beyond float64.
        """
        return Rows(len(table), range(len(table)), table, to_matrix(table), {}, [], {})


def find_reader(signature: Signature) -> TypedReader | None:
    """The reader for a signature; None for one with text, where a type says too little, or with odd names."""
    if not signature.is_numeric or len(signature.inputs) > MOST_COLUMNS or any(map(_is_odd, signature.names)):
        return None
    return TypedReader(signature)


def _is_odd(name: str) -> bool:
    """Whether JSON writes a name in another way, which the parser does not look for."""
    return json.dumps(name, ensure_ascii=False)[1:-1] != name


def _cell_type(column: Column) -> Any:
    kind = _TYPES[column.type]
    return kind | NoneType if column.nullable else kind


def _row_type(signature: Signature, cells: tuple[Any, ...]) -> type[msgspec.Struct]:
    """An object with a member for each column, and no other."""
    fields = [f"c{i}" for i in range(len(cells))]
    return msgspec.defstruct(
        "Row",
        list(zip(fields, cells, strict=True)),
        rename=dict(zip(fields, signature.names, strict=True)),
        forbid_unknown_fields=True,
        gc=False,
    )


def _body_decoder(row: Any, other: str) -> Callable[[bytes], Any]:
    """Reads a body whose rows stand under `instances` or under one other name."""
    body = msgspec.defstruct(
        "Body",
        [
            ("instances", list[row], UNSET),
            ("other", list[row], UNSET),
            ("entity_id", str | int | None, None),
            ("request_id", str | None, None),
        ],
        rename={"other": other},
        forbid_unknown_fields=True,
        gc=False,
    )
    return msgspec.json.Decoder(body).decode


def _only(instances: Any, other: Any) -> Any:
    """The rows under the one name that was given; None where it was none or both."""
    if other is UNSET:
        return None if instances is UNSET else instances
    return other if instances is UNSET else None
