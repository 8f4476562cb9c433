"""The bytes of a predict answer."""

import asyncio
from functools import lru_cache
from typing import Any

import msgspec

from app.runtimes.cache import ReadyVersion
from app.serving.answers import Part, PredictAnswer


def encode_small(answer: PredictAnswer) -> bytes:
    """The JSON of an answer with one part."""
    return _document(answer, _to_json(_rows_of(answer.version, answer.parts[0])))


async def encode_answer(answer: PredictAnswer) -> bytes:
    """The JSON of any answer: part by part, between which the event loop has its turn."""
    if len(answer.parts) == 1:
        return encode_small(answer)
    rows = []
    for part in answer.parts:
        rows.append(_to_json(_rows_of(answer.version, part))[1:-1])
        await asyncio.sleep(0)
    return _document(answer, b"[%b]" % b",".join(rows))


def _document(answer: PredictAnswer, rows: bytes) -> bytes:
    head = _head(answer.version.model_id, answer.revision)
    warnings = b',"warnings":%b' % _to_json(answer.warnings) if answer.warnings else b""
    return b'%b,"predictions":%b,"latency_ms":%.3f%b}' % (head, rows, answer.latency_ms, warnings)


@lru_cache(maxsize=1024)
def _head(model_id: str, revision: int | None) -> bytes:
    return _to_json({"model_id": model_id, "revision": revision})[:-1]


def _to_json(value: Any) -> bytes:
    """JSON has neither NaN nor infinity: they become null."""
    return msgspec.json.encode(value)


def _rows_of(version: ReadyVersion, part: Part) -> list[dict[str, Any]]:
    scored = _scored_rows(version, part)
    return scored if part.is_flawless else _weave(scored, part)


def _scored_rows(version: ReadyVersion, part: Part) -> list[dict[str, Any]]:
    scores = part.scored.scores
    if scores.probabilities is None:
        pairs = zip(part.good_ids, scores.prediction, strict=True)
        return [{"prediction_id": key, "prediction": prediction} for key, prediction in pairs]
    rows = scores.probabilities.tolist()
    names = version.class_names or tuple(map(str, range(len(rows[0]))))
    return [
        {
            "prediction_id": key,
            "prediction": prediction,
            "probabilities": dict(zip(names, row, strict=True)),
            "confidence": max(row),
        }
        for key, prediction, row in zip(part.good_ids, scores.prediction, rows, strict=True)
    ]


def _weave(scored: list[dict[str, Any]], part: Part) -> list[dict[str, Any]]:
    """The rows at their positions in the request, those without an answer with what is wrong with them."""
    rows = dict(zip(part.rows.good, scored, strict=True))
    for position, error in part.errors():
        rows[position] = {"prediction_id": part.ids[position], "prediction": None, "error": error}
    return [rows[position] for position in range(part.rows.count)]
