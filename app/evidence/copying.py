"""Logged requests as the bytes that Postgres' COPY reads (PostgreSQL manual, COPY, "Binary Format").

Binary costs the database half of what text does. The rows of a block are made column by column: numbers of many
requests turn into JSON in one call, and what never changes within a request or an origin is made once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import chain, repeat
from math import isnan
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from app.evidence.frames import ID_BYTES, LoggedRequest, Origin, table_of

COLUMNS = (
    "model", "version_id", "version", "environment", "revision", "arm", "propensity", "shadow", "log_probability",
    "request_id", "caller", "entity_id", "latency_ms",
    "at", "id", "features", "output", "probabilities", "confidence", "error",
)  # fmt: skip
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

_ROW = Struct("!h").pack(len(COLUMNS))
_LENGTH = Struct("!i")
_BIGINT, _FLOAT, _BOOLEAN = Struct("!iq"), Struct("!id"), Struct("!i?")
_NULL = _LENGTH.pack(-1)
_KEY = np.dtype([("at_size", ">i4"), ("at", ">i8"), ("id_size", ">i4"), ("id", "V16")])
_CONFIDENCE = np.dtype([("size", ">i4"), ("value", ">f8")])
_EPOCH_MS = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1000  # of Postgres' timestamps
_CASTS: dict[str, Callable[[float], Any]] = {"integer": int, "boolean": bool}
_PLAIN = {int, float, bool}
_DAY_MS = 86_400_000

Fields = Sequence[bytes]


def copy_rows(requests: Sequence[LoggedRequest]) -> bytes:
    """The rows of some requests, in the order of `COLUMNS`."""
    return b"".join([_copy_block(block) for block in group_alike(requests)])


def group_alike(requests: Iterable[LoggedRequest]) -> Iterable[list[LoggedRequest]]:
    """Requests of one origin and shape together: what they hold can be read as one table."""
    blocks: dict[tuple[Any, ...], list[LoggedRequest]] = {}
    for request in requests:
        shape = (request.origin, request.columns, request.classes, request.values is None)
        blocks.setdefault(shape, []).append(request)
    return blocks.values()


def days_of(requests: Iterable[LoggedRequest]) -> set[date]:
    """The days on which the predictions were made, by their ids."""
    ids = b"".join(chain.from_iterable((request.id_bytes, *_refused_ids(request)) for request in requests))
    return {
        datetime.fromtimestamp(day * 86_400, UTC).date() for day in {*(times_in(ids) // _DAY_MS).tolist()}
    }


def _copy_block(block: Sequence[LoggedRequest]) -> bytes:
    scored = b"".join(chain.from_iterable(_scored_fields(block)))
    refused = [_refused_row(request) for request in block if request.refused]
    return b"".join((scored, *refused))


def _scored_fields(block: Sequence[LoggedRequest]) -> Iterator[tuple[bytes, ...]]:
    """Row by row, the fields of those that reached the model."""
    origin = _origin_fields(block[0].origin)
    starts = chain.from_iterable([repeat(_start(origin, request), request.scored_rows) for request in block])
    keys = _keys(b"".join([request.id_bytes for request in block]))
    answers = (_outputs(block), *_odds(block))
    errors = [_NULL] * len(keys)
    for row, why in _failures(block):  # an error in the place of an answer
        errors[row] = _json_field(why)
        for answer in answers:
            answer[row] = _NULL
    return zip(starts, keys, _features(block), *answers, errors, strict=True)


def _failures(block: Sequence[LoggedRequest]) -> Iterator[tuple[int, Any]]:
    """The rows of the block that the model could not score, and why."""
    first = 0
    for request in block:
        for position, why in request.failures.items():
            yield first + position, why
        first += request.scored_rows


def _refused_row(request: LoggedRequest) -> bytes:
    start = _start(_origin_fields(request.origin), request)
    keys = _keys(b"".join(_refused_ids(request)))
    reasons = [_json_field(why) for _, why in request.refused]
    return b"".join(chain.from_iterable(zip(repeat(start), keys, repeat(_NULL * 4), reasons)))


def _refused_ids(request: LoggedRequest) -> list[bytes]:
    return [identifier.bytes for identifier, _ in request.refused]


def _start(origin: bytes, request: LoggedRequest) -> bytes:
    """The fields that all rows of a request share."""
    identifier = request.request_id.encode()
    return b"".join((
        origin, _LENGTH.pack(len(identifier)), identifier, _caller_field(request.caller),
        _text_field(request.entity_id), _FLOAT.pack(8, request.latency_ms),
    ))  # fmt: skip


@lru_cache(maxsize=1024)
def _origin_fields(origin: Origin) -> bytes:
    return b"".join((
        _ROW, _text_field(origin.model), _field(origin.version_id.bytes), _BIGINT.pack(8, origin.version),
        _text_field(origin.environment), _NULL if origin.revision is None else _BIGINT.pack(8, origin.revision),
        _text_field(origin.arm), _FLOAT.pack(8, origin.propensity), _BOOLEAN.pack(1, origin.shadow),
        _FLOAT.pack(8, origin.log_probability),
    ))  # fmt: skip


def times_in(ids: bytes) -> NDArray[np.int64]:
    """The milliseconds in version 7 UUIDs (RFC 9562, section 5.7)."""
    return (np.frombuffer(ids, ">u8")[::2] >> 16).astype(np.int64)


def _keys(ids: bytes) -> Fields:
    """The fields `at` and `id`."""
    keys = np.empty(len(ids) // ID_BYTES, _KEY)
    keys["at_size"], keys["at"] = 8, (times_in(ids) - _EPOCH_MS) * 1000
    keys["id_size"], keys["id"] = ID_BYTES, np.frombuffer(ids, "V16")
    return _slices(keys)


def _slices(records: NDArray[np.void]) -> list[bytes]:
    raw, size = records.tobytes(), records.itemsize
    return [raw[start : start + size] for start in range(0, len(raw), size)]


def _features(block: Sequence[LoggedRequest]) -> Fields:
    """The cells of each row, with the types that the signature gives them."""
    if block[0].values is not None:
        return [_json_field(row) for request in block for row in request.values or ()]
    rows = table_of(b"".join([request.cells for request in block]), block[0].columns).tolist()
    for i, cast in _casts_of(block[0].origin):
        for row in rows:
            row[i] = None if isnan(row[i]) else cast(row[i])
    return _json_fields(rows)


@lru_cache(maxsize=1024)
def _casts_of(origin: Origin) -> list[tuple[int, Callable[[float], Any]]]:
    return [(i, _CASTS[kind]) for i, kind in enumerate(origin.column_types) if kind in _CASTS]


def _outputs(block: Sequence[LoggedRequest]) -> list[bytes]:
    values = [*chain.from_iterable([request.predictions for request in block])]
    if {*map(type, values)} <= _PLAIN:  # most are, and written in one call: none holds a comma
        return [*map(_field, to_json(values, inf_nan_mode="null")[1:-1].split(b","))] if values else []
    return [*map(_json_field, values)]


def _odds(block: Sequence[LoggedRequest]) -> tuple[list[bytes], list[bytes]]:
    """For each row its probabilities, and the largest of them: how sure the model is."""
    if not block[0].classes:
        rows = sum([request.scored_rows for request in block])
        return [_NULL] * rows, [_NULL] * rows
    table = table_of(b"".join([request.odds for request in block]), block[0].classes)
    confidences = np.empty(len(table), _CONFIDENCE)
    confidences["size"], confidences["value"] = 8, table.max(axis=1)
    return _json_fields(table.tolist()), _slices(confidences)


def _json_fields(rows: Sequence[Sequence[float | None]]) -> list[bytes]:
    """Rows of numbers, written in one call: no number holds what stands between two rows."""
    if not rows:
        return []
    written = to_json(rows, inf_nan_mode="null")[2:-2].split(b"],[")
    return [b"%b[%b]" % (_LENGTH.pack(len(row) + 2), row) for row in written]


def _json_field(value: Any) -> bytes:
    return _NULL if value is None else _field(to_json(value, inf_nan_mode="null"))


def _text_field(text: str | None) -> bytes:
    return _NULL if text is None else _field(text.encode())


@lru_cache(maxsize=1024)
def _caller_field(caller: str) -> bytes:
    return _text_field(caller)


def _field(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + content
