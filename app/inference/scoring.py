"""A prediction for a door that has no place for a row without an answer: every row is scored, or none is answered."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from starlette.requests import Request

from app.core.access import caller_of
from app.core.errors import FieldProblem
from app.inference.errors import RowsNotScored
from app.serving.answers import Part, PredictAnswer, PredictRequest
from app.serving.dialects import Dialect, read_option
from app.serving.errors import NothingScored


async def score_whole(request: Request, reference: str, dialect: Dialect) -> PredictAnswer:
    """The answer to a request's body, with a prediction for every row.

    Raises:
        RowsNotScored: the model failed on some; what it says of them stays here, for it may repeat the data.
        Refusal: what else `Predictor.predict` refuses.
    """
    asked = PredictRequest(
        reference,
        await request.body(),
        caller_of(request),
        dialect=dialect,
        request_id=request.scope["state"]["request_id"],
        entity_id=_entity_id(request),
    )
    try:
        answer: PredictAnswer = await request.app.state.predictor.predict(asked)
    except NothingScored as refusal:
        raise RowsNotScored([error["row"] for error in refusal.errors]) from None
    if failed := list(_failed_rows(answer.parts)):
        raise RowsNotScored(failed)
    return answer


def _failed_rows(parts: Sequence[Part]) -> Iterator[int]:
    start = 0
    for part in parts:
        if not part.is_flawless:
            yield from sorted(start + position for position, _ in part.errors())
        start += part.rows.count


def _entity_id(request: Request) -> str | None:
    given = request.headers.get("x-entity-id")
    if given is None:
        return None
    try:
        return read_option("X-Entity-Id", given.encode("latin-1").decode())
    except UnicodeDecodeError:
        raise FieldProblem("X-Entity-Id", "must be UTF-8") from None


async def encode_in_turns(parts: Sequence[Part], encode: Callable[[Part], bytes]) -> bytes:
    """Something of every part, with commas between; the event loop has its turn after each part."""
    pieces = [encode(parts[0])]
    for part in parts[1:]:
        await asyncio.sleep(0)
        pieces.append(encode(part))
    return b",".join(pieces)
