"""One answered predict request as bytes for the spool, and back.

A payload is a version byte, the lengths of its five sections, and the sections: the origin and the request as
JSON, the prediction ids, the features, the probabilities. Numbers stay binary, so that the process that answers
pays microseconds; turning them into text is left to the shipper. Features with text in them are JSON.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

Matrix = NDArray[np.float64]

LAYOUT = 1
_HEAD = struct.Struct("<B5I")
ID_BYTES = 16
_CELL_BYTES = 8


class UnreadableFrameError(ValueError):
    """A frame's bytes arrived whole but do not mean anything."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Which version answers, and how it came to be chosen: the same for many requests, so encoded once.

    Attributes:
        column_types: the signature's input types in order, by their names.
        revision: of the route; None when the caller named the version.
        propensity: the probability with which the route chooses this arm.
        log_probability: the probability with which such a request is logged.
    """

    model: str
    version_id: UUID
    version: int
    column_types: tuple[str, ...]
    environment: str
    revision: int | None
    arm: str | None
    propensity: float
    shadow: bool
    log_probability: float
    encoded: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = [getattr(self, name) for name in self.__slots__ if name != "encoded"]
        object.__setattr__(self, "encoded", to_json(values))

    def __hash__(self) -> int:
        return hash(self.encoded)


@dataclass(slots=True)
class ScoredRequest:
    """What was asked and answered.

    Attributes:
        ids: the prediction ids of the rows that reached the model.
        features: those rows, cells in signature order: shape (rows, columns) with NaN for null, or lists where a
            column holds text.
        predictions: one JSON-safe value for each of them.
        probabilities: shape (rows, classes), or None.
        failures: by position among those rows, why the model could not score one.
        refused: ids of the rows that never reached the model, and what was wrong with each.
    """

    origin: Origin
    request_id: str
    caller: str
    entity_id: str | None
    latency_ms: float
    ids: Sequence[UUID]
    features: Matrix | Sequence[Sequence[Any]]
    predictions: Sequence[Any]
    probabilities: Matrix | None = None
    failures: Mapping[int, Any] = field(default_factory=dict)
    refused: Sequence[tuple[UUID, Any]] = ()

    @property
    def rows(self) -> int:
        """How many rows the caller sent."""
        return len(self.ids) + len(self.refused)


@dataclass(slots=True)
class LoggedRequest:
    """What a frame tells of a request; numbers stay bytes, so that those of many requests are read in one go.

    Attributes:
        scored_rows: how many reached the model; `id_bytes`, `cells` and `odds` hold as many.
        cells: 64-bit floats, `columns` in a row, with NaN for null.
        values: the cells instead, as lists, where a column holds text.
        odds: the probabilities of `classes` classes, 64-bit floats as well.
        predictions, failures, refused: as in `ScoredRequest`.
    """

    origin: Origin
    request_id: str
    caller: str
    entity_id: str | None
    latency_ms: float
    scored_rows: int
    id_bytes: bytes
    cells: bytes
    columns: int
    values: Sequence[Sequence[Any]] | None
    predictions: Sequence[Any]
    odds: bytes
    classes: int
    failures: Mapping[int, Any]
    refused: Sequence[tuple[UUID, Any]]

    @property
    def rows(self) -> int:
        """How many rows the caller sent."""
        return self.scored_rows + len(self.refused)

    @property
    def ids(self) -> list[UUID]:
        """The prediction ids of the rows that reached the model."""
        raw = self.id_bytes
        return [UUID(bytes=raw[i : i + ID_BYTES]) for i in range(0, len(raw), ID_BYTES)]

    @property
    def features(self) -> Matrix | Sequence[Sequence[Any]]:
        """Those rows, as they were scored."""
        return table_of(self.cells, self.columns) if self.values is None else self.values

    @property
    def probabilities(self) -> Matrix | None:
        """For each of them, that of every class."""
        return table_of(self.odds, self.classes) if self.classes else None


def table_of(raw: bytes, columns: int) -> Matrix:
    """64-bit floats as rows; a table without columns has no rows either."""
    return np.frombuffer(raw, dtype=np.float64).reshape(-1, columns or 1)


def encode_frame(scored: ScoredRequest) -> bytes:
    """The payload of one frame."""
    features, probabilities = scored.features, scored.probabilities
    request = msgspec.json.encode(
        [
            scored.request_id, scored.caller, scored.entity_id, scored.latency_ms,
            isinstance(features, np.ndarray), scored.predictions, scored.failures, scored.refused,
        ]
    )  # fmt: skip
    ids = b"".join([identifier.bytes for identifier in scored.ids])
    cells = features.tobytes() if isinstance(features, np.ndarray) else to_json(features)
    odds = b"" if probabilities is None else probabilities.tobytes()
    origin = scored.origin.encoded
    head = _HEAD.pack(LAYOUT, len(origin), len(request), len(ids), len(cells), len(odds))
    return b"".join((head, origin, request, ids, cells, odds))


def decode_frame(payload: bytes) -> LoggedRequest:
    """The request that a payload tells of.

    Raises:
        UnreadableFrameError: the bytes are not what `encode_frame` makes.
    """
    try:
        return _decode(payload)
    except (ValueError, TypeError, AttributeError, struct.error) as error:
        raise UnreadableFrameError(str(error)) from error


def _decode(payload: bytes) -> LoggedRequest:
    origin, request, ids, cells, odds = _cut(payload)
    request_id, caller, entity_id, latency_ms, is_matrix, predictions, failures, refused = from_json(request)
    rows = len(predictions)
    if len(ids) != rows * ID_BYTES:
        raise UnreadableFrameError(f"{rows} predictions have {len(ids)} bytes of ids")
    return LoggedRequest(
        _decode_origin(origin), request_id, caller, entity_id, latency_ms, rows, ids,
        cells if is_matrix else b"", _columns_in(cells, rows) if is_matrix else 0,
        None if is_matrix else from_json(cells),
        predictions, odds, _columns_in(odds, rows),
        _decode_failures(failures, rows) if failures else {},
        [(UUID(identifier), why) for identifier, why in refused] if refused else (),
    )  # fmt: skip


def _decode_failures(failures: Mapping[str, Any], rows: int) -> dict[int, Any]:
    decoded = {int(position): why for position, why in failures.items()}
    if not all(0 <= position < rows for position in decoded):
        raise UnreadableFrameError(f"a failure of a row beyond the {rows}")
    return decoded


def _columns_in(raw: bytes, rows: int) -> int:
    columns = len(raw) // (_CELL_BYTES * rows) if rows else 0
    if columns * rows * _CELL_BYTES != len(raw):
        raise UnreadableFrameError(f"{len(raw)} bytes of numbers are not {rows} rows")
    return columns


def _cut(payload: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    layout, *lengths = _HEAD.unpack_from(payload)
    if layout != LAYOUT:
        raise UnreadableFrameError(f"layout {layout} is not known to this version")
    _, a, b, c, d, end = accumulate(lengths, initial=_HEAD.size)
    if end != len(payload):
        raise UnreadableFrameError("its sections do not add up to its length")
    return payload[_HEAD.size : a], payload[a:b], payload[b:c], payload[c:d], payload[d:]


@lru_cache(maxsize=1024)
def _decode_origin(encoded: bytes) -> Origin:
    model, version_id, version, column_types, *rest = from_json(encoded)
    return Origin(model, UUID(version_id), version, tuple(column_types), *rest)
