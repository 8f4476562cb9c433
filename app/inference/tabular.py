"""The bodies of `/invocations`: a table as JSON in one of four forms, or as CSV."""

import csv
import io
from collections.abc import Callable
from typing import Any

from app.inference.errors import BadRow, UnreadableCsv
from app.runtimes.errors import MisshapenPayload
from app.runtimes.rows import Rows, parse_rows
from app.runtimes.schema import Column, ColumnType, Signature
from app.serving.dialects import Dialect, Envelope, decode_json, read_envelope

_NULLS = frozenset({"", "NA", "NaN", "nan", "null", "None"})  # as pandas writes and reads them
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def read_params(payload: Any) -> Envelope:
    """The options of a request, which stand in its `params`.

    Raises:
        MisshapenPayload, FieldProblem: they can't be read.
    """
    params = payload.get("params") if isinstance(payload, dict) else None
    if params is not None and not isinstance(params, dict):
        raise MisshapenPayload("params", "must be an object")
    return read_envelope(params)


def read_json_rows(payload: Any, signature: Signature, *, max_rows: int) -> Rows:
    """The rows of a JSON body: all good, or none.

    Raises:
        BadRow: some row does not fit the signature.
        Refusal: what `parse_rows` refuses.
    """
    return _require_all_good(parse_rows(payload, signature, max_rows=max_rows))


def decode_csv(body: bytes) -> list[list[str]]:
    """The lines of a CSV text (RFC 4180), the header first; empty ones are skipped.

    Raises:
        UnreadableCsv: it is not UTF-8, its quotes don't match, or its lines have different lengths.
    """
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        lines = [line for line in reader if line]
    except UnicodeDecodeError:
        raise UnreadableCsv("must be UTF-8") from None
    except csv.Error as error:
        raise UnreadableCsv(f"{error} in line {reader.line_num}") from None
    if not lines:
        raise UnreadableCsv("needs a line of column names")
    _check_lines(lines)
    return lines


def _check_lines(lines: list[list[str]]) -> None:
    header = lines[0]
    if len(set(header)) != len(header):
        raise UnreadableCsv("names a column twice")
    ragged = next((i for i, line in enumerate(lines) if len(line) != len(header)), None)
    if ragged is not None:
        raise UnreadableCsv(f"row {ragged - 1} has {len(lines[ragged])} values, the header {len(header)}")


def read_no_options(_payload: Any) -> Envelope:
    """CSV has no place for options."""
    return Envelope()


def read_csv_rows(payload: list[list[str]], signature: Signature, *, max_rows: int) -> Rows:
    """The rows of CSV lines, each cell read as its column's type: all good, or none.

    Raises:
        BadRow: some row does not fit the signature.
        Refusal: what `parse_rows` refuses.
    """
    header, *lines = payload
    columns = {column.name: column for column in signature.inputs}
    cells = {name: [line[i] for line in lines] for i, name in enumerate(header)}
    table = {name: _read_texts(texts, columns.get(name)) for name, texts in cells.items()}
    return _require_all_good(parse_rows({"inputs": table}, signature, max_rows=max_rows))


def _read_texts(texts: list[str], column: Column | None) -> list[Any]:
    if column is None:
        return texts
    if column.type == ColumnType.STRING:
        return [text or None for text in texts] if column.nullable else texts
    read = _READERS[column.type]
    return [None if text in _NULLS else read(text) for text in texts]


def _read_number(text: str, *kinds: Callable[[str], Any]) -> Any:
    """The first number that a text can be; else the text itself, which no column of numbers takes."""
    for kind in kinds if "_" not in text else ():
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _require_all_good(rows: Rows) -> Rows:
    if rows.errors:
        row = min(rows.errors)
        error = rows.errors[row][0]
        raise BadRow(row, error.column, error.problem, error.expected, len(rows.errors))
    return rows


_READERS: dict[ColumnType, Callable[[str], Any]] = {
    ColumnType.FLOAT: lambda text: _read_number(text, float),
    ColumnType.INTEGER: lambda text: _read_number(text, int, float),
    ColumnType.BOOLEAN: lambda text: _TRUTHS.get(text.lower(), text),
}

JSON = Dialect(decode_json, read_params, read_json_rows)
CSV = Dialect(decode_csv, read_no_options, read_csv_rows)
