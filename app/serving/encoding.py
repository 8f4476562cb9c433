"""The bytes of a predict answer, put together column by column: no object is made for a row."""

import asyncio
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from app.serving.answers import Part, PredictAnswer

_PLAIN_TYPES = {int, float, bool, type(None), UUID}  # their JSON holds no comma
_ROW = b'{"prediction_id":%b,"prediction":%b'


async def encode_answer(answer: PredictAnswer) -> bytes:
    """The answer's JSON; a large one is encoded part by part, between which the event loop has its turn."""
    rows = [_encode_part(answer.parts[0])]
    for part in answer.parts[1:]:
        await asyncio.sleep(0)
        rows.append(_encode_part(part))
    return b'{"model_id":%b,"revision":%b,"predictions":[%b],%b"latency_ms":%b}' % (
        to_json(answer.version.model_id),
        to_json(answer.revision),
        b",".join(rows),
        b'"warnings":%b,' % to_json(answer.warnings) if answer.warnings else b"",
        to_json(round(answer.latency_ms, 3)),
    )


def _encode_part(part: Part) -> bytes:
    scored = _encode_scored(part)
    return b",".join(scored if part.is_flawless else _weave(list(scored), part))


def _encode_scored(part: Part) -> Iterator[bytes]:
    scores = part.scored.scores
    columns = [_tokens(part.good_ids), _tokens(scores.prediction)]
    if scores.probabilities is None:
        return map((_ROW + b"}").__mod__, zip(*columns, strict=True))
    rows = scores.probabilities.tolist()
    classes = scores.classes or tuple(range(len(rows[0])))
    columns += [*_split_columns(rows), _tokens(list(map(max, rows)))]
    return map(_row_template(classes, tuple(map(type, classes))).__mod__, zip(*columns, strict=True))


def _split_columns(rows: list[list[float]]) -> Iterator[list[bytes]]:
    flat, width = _tokens(list(chain.from_iterable(rows))), len(rows[0])
    return (flat[i::width] for i in range(width))


@lru_cache(maxsize=1024)
def _row_template(classes: tuple[Any, ...], _kinds: tuple[type, ...]) -> bytes:
    """Where the tokens of one row go: its id, prediction, one probability for each class, and confidence.

    The kinds tell the cache apart what Python holds to be equal: classes 0 and 1, and classes false and true.
    """
    names = (to_json(name if isinstance(name, str) else to_json(name).decode()) for name in classes)
    probabilities = b",".join(name.replace(b"%", b"%%") + b":%b" for name in names)
    return _ROW + b',"probabilities":{' + probabilities + b'},"confidence":%b}'


def _tokens(values: Sequence[Any]) -> list[bytes]:
    """Each value as JSON; NaN and infinity, which JSON has not, as null."""
    if not values:
        return []
    if set(map(type, values)) <= _PLAIN_TYPES:
        return to_json(values, inf_nan_mode="null")[1:-1].split(b",")
    return [to_json(value, inf_nan_mode="null") for value in values]


def _weave(scored: list[bytes], part: Part) -> list[bytes]:
    """The rows at their positions in the request, those without an answer with what is wrong with them."""
    rows = [b""] * part.rows.count
    for position, row in zip(part.rows.good, scored, strict=True):
        rows[position] = row
    for position, error in part.errors():
        rows[position] = to_json({"prediction_id": part.ids[position], "prediction": None, "error": error})
    return rows
