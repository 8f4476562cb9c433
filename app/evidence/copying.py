"""Logged requests as the text that Postgres' COPY reads (PostgreSQL manual, COPY, "Text Format").

Text is written here by hand because one line costs a third of what a record of Python values costs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import lru_cache
from itertools import repeat
from math import isnan
from typing import Any
from uuid import UUID

import numpy as np
from pydantic_core import to_json

from app.core.ids import time_of
from app.evidence.frames import Origin, ScoredRequest

COLUMNS = (
    "model", "version_id", "version", "environment", "revision", "arm", "propensity", "shadow", "log_probability",
    "request_id", "caller", "entity_id", "latency_ms",
    "at", "id", "features", "output", "probabilities", "confidence", "error",
)  # fmt: skip
_NULL = b"\\N"
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_CASTS: dict[str, Callable[[float], Any]] = {"integer": int, "boolean": bool}
_DAY_MS = 86_400_000


def copy_lines(scored: ScoredRequest) -> bytes:
    """The lines of one request, in the order of `COLUMNS`."""
    common = (_text(scored.request_id), _text(scored.caller), _text(scored.entity_id))
    start = b"\t".join((_origin_fields(scored.origin), *common, b"%r" % scored.latency_ms))
    return b"".join([b"%b\t%b\n" % (start, row) for row in (*_scored_rows(scored), *_refused_rows(scored))])


def days_of(scored: ScoredRequest) -> set[date]:
    """The days on which a request's predictions were made; more than one only around midnight."""
    ids = [*scored.ids, *(identifier for identifier, _ in scored.refused)]
    return {_day((identifier.int >> 80) // _DAY_MS) for identifier in ids}


@lru_cache(maxsize=1024)
def _day(number: int) -> date:
    return time_of(UUID(int=number * _DAY_MS << 80)).date()


@lru_cache(maxsize=1024)
def _origin_fields(origin: Origin) -> bytes:
    values = (
        origin.model, origin.version_id, origin.version, origin.environment, origin.revision, origin.arm,
        origin.propensity, origin.shadow, origin.log_probability,
    )  # fmt: skip
    return b"\t".join(_text(None if value is None else str(value)) for value in values)


def _scored_rows(scored: ScoredRequest) -> Iterator[bytes]:
    failures = scored.failures
    rows = zip(scored.ids, _feature_rows(scored), scored.predictions, _odds_rows(scored), strict=True)
    for position, (identifier, features, output, odds) in enumerate(rows):
        if position in failures:
            yield _row(identifier, _json(features), _NULL, (_NULL, _NULL), _json(failures[position]))
        else:
            yield _row(identifier, _json(features), _json(output), odds, _NULL)


def _refused_rows(scored: ScoredRequest) -> Iterator[bytes]:
    for identifier, why in scored.refused:
        yield _row(identifier, _NULL, _NULL, (_NULL, _NULL), _json(why))


def _row(identifier: UUID, features: bytes, output: bytes, odds: tuple[bytes, bytes], error: bytes) -> bytes:
    number = identifier.int
    return b"%b\t%032x\t%b\t%b\t%b\t%b\t%b" % (_moment(number >> 80), number, features, output, *odds, error)


@lru_cache(maxsize=4096)
def _moment(milliseconds: int) -> bytes:
    return time_of(UUID(int=milliseconds << 80)).isoformat().encode()


def _feature_rows(scored: ScoredRequest) -> Iterable[Sequence[Any]]:
    """The cells of each row, with the types that the signature gives them."""
    if not isinstance(scored.features, np.ndarray):
        return scored.features
    rows: list[list[Any]] = scored.features.tolist()
    for i, cast in _casts_of(scored.origin):
        for row in rows:
            row[i] = None if isnan(row[i]) else cast(row[i])
    return rows


@lru_cache(maxsize=1024)
def _casts_of(origin: Origin) -> list[tuple[int, Callable[[float], Any]]]:
    return [(i, _CASTS[kind]) for i, kind in enumerate(origin.column_types) if kind in _CASTS]


def _odds_rows(scored: ScoredRequest) -> Iterable[tuple[bytes, bytes]]:
    """For each row its probabilities, and the largest of them: how sure the model is."""
    if scored.probabilities is None:
        return repeat((_NULL, _NULL), len(scored.ids))
    return [(_json(row), b"%r" % max(row)) for row in scored.probabilities.tolist()]


def _json(value: Any) -> bytes:
    return _NULL if value is None else to_json(value, inf_nan_mode="null").replace(b"\\", b"\\\\")


def _text(value: str | None) -> bytes:
    return _NULL if value is None else value.translate(_ESCAPES).encode()
