"""Rows turned into the pieces of a CSV or Parquet file."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import RawIOBase, StringIO
from typing import Any, Protocol

from pydantic_core import to_json

from app.evidence.rules import defuse

ROWS_PER_GROUP = 5_000
_INTEGERS = range(-(2**63), 2**63)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of the file: its name, its type as a signature names it (or `time`), and where its values are."""

    name: str
    type: str
    value_in: Callable[[Row], Any]


class Writer(Protocol):
    """Turns rows into pieces of a file."""

    def write(self, rows: Sequence[Row]) -> bytes:
        """What the file grows by."""

    def finish(self) -> bytes:
        """What it ends with."""


class CsvWriter:
    """RFC 4180, with texts that no spreadsheet computes."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._header = [[defuse(column.name) for column in columns]]

    def write(self, rows: Sequence[Row]) -> bytes:
        """The lines of some rows, after the header the first time."""
        text = StringIO()
        writer = csv.writer(text)
        writer.writerows(self._header)
        writer.writerows([[_to_csv(column.value_in(row)) for column in self._columns] for row in rows])
        self._header = []
        return text.getvalue().encode()

    def finish(self) -> bytes:
        """The header, if there was not a single row."""
        return self.write(())


def _to_csv(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, int | float):
        return value
    return value.isoformat() if isinstance(value, datetime) else defuse(_to_text(value))


def _to_text(value: Any) -> str:
    return to_json(value).decode() if isinstance(value, list | dict) else str(value)


class ParquetWriter:
    """Parquet in row groups; an integer beyond 64 bits is left out."""

    def __init__(self, columns: Sequence[Column]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - only a process that exports pays for it
        import pyarrow.parquet as pq  # noqa: PLC0415

        types = {
            "string": pa.string(),
            "float": pa.float64(),
            "integer": pa.int64(),
            "boolean": pa.bool_(),
            "time": pa.timestamp("us", tz="UTC"),
        }
        self._columns = columns
        self._schema = pa.schema([(column.name, types[column.type]) for column in columns])
        self._outbox = _Outbox()
        self._writer = pq.ParquetWriter(self._outbox, self._schema, compression="zstd")
        self._to_batch, self._to_table = pa.RecordBatch.from_arrays, pa.Table.from_batches
        self._to_array = pa.array
        self._batches: list[Any] = []
        self._rows = 0

    def write(self, rows: Sequence[Row]) -> bytes:
        """A row group, once enough rows have come."""
        self._batches.append(self._batch(rows))
        self._rows += len(rows)
        if self._rows >= ROWS_PER_GROUP:
            self._write_group()
        return self._outbox.taken()

    def finish(self) -> bytes:
        """The last row group and the footer."""
        self._write_group()
        self._writer.close()
        return self._outbox.taken()

    def _batch(self, rows: Sequence[Row]) -> Any:
        """A few rows at a time turn into Arrow's columns, since that keeps every other thread waiting."""
        arrays = [
            self._to_array([_to_parquet(column.value_in(row), column.type) for row in rows], field.type)
            for column, field in zip(self._columns, self._schema, strict=True)
        ]
        return self._to_batch(arrays, schema=self._schema)

    def _write_group(self) -> None:
        self._writer.write_table(self._to_table(self._batches, self._schema))
        self._batches, self._rows = [], 0


def _to_parquet(value: Any, kind: str) -> Any:
    if value is None or kind == "time":
        return value
    if kind == "string":
        return _to_text(value)
    if kind == "integer":
        return int(value) if value in _INTEGERS else None
    return float(value) if kind == "float" else value


class _Outbox(RawIOBase):
    """A file that forgets what was taken out of it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        self._length += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._length

    def taken(self) -> bytes:
        """What was written since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
