"""`POST /api/models/{model_id}/predict` as a raw ASGI application: nothing between the bytes and the model."""

import re

from starlette.datastructures import Headers, State
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.access import Caller
from app.core.errors import FieldProblem, Refusal
from app.core.problems import answer_refusal
from app.serving.answers import PredictRequest
from app.serving.dialects import read_option
from app.serving.encoding import encode_answer, encode_small

TEMPLATE = "/api/models/{model_id}/predict"
_PATH = re.compile(r"/api/(?:v1/)?models/([^/]+)/predict")


class PredictApp:
    """Answers predict requests and passes everything else on; `state` has `predictor` and `authenticate`."""

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a prediction, or its refusal as a problem document."""
        reference = find_reference(scope)
        if reference is None:
            await self._app(scope, receive, send)
            return
        scope["route_template"] = TEMPLATE
        try:
            body = await self._predict(reference, scope, receive)
        except Refusal as refusal:
            await answer_refusal(refusal)(scope, receive, send)
        except ClientGone:
            return
        else:
            await _send_json(body, send)

    async def _predict(self, reference: str, scope: Scope, receive: Receive) -> bytes:
        headers = dict(scope["headers"])
        known = self._state.authenticate.known(headers.get(b"authorization"))
        caller: Caller = known or await self._state.authenticate(Headers(scope=scope))
        scope["state"]["caller"] = caller
        message = await receive()
        body = await _read_rest(message, receive) if message.get("more_body") else _bytes_of(message)
        request = PredictRequest(
            reference,
            body,
            caller,
            request_id=scope["state"]["request_id"],
            entity_id=_entity_id(headers),
            encode=encode_small,
        )
        answer = await self._state.predictor.predict(request)
        return answer.encoded or await encode_answer(answer)


def find_reference(scope: Scope) -> str | None:
    """The model reference of a predict request; None for any other.

    >>> find_reference({"type": "http", "method": "POST", "path": "/api/models/churn@champion/predict"})
    'churn@champion'
    """
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    match = _PATH.fullmatch(scope["path"])
    return match[1] if match else None


class ClientGone(Exception):  # noqa: N818 - it hung up: nobody is left to answer
    """The client closed the connection before its request was there."""


async def _read_rest(message: Message, receive: Receive) -> bytes:
    """A body that comes in pieces; its limits were checked on its way here."""
    parts = [_bytes_of(message)]
    while message.get("more_body"):
        message = await receive()
        parts.append(_bytes_of(message))
    return b"".join(parts)


def _bytes_of(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    return body


def _entity_id(headers: dict[bytes, bytes]) -> str | None:
    given = headers.get(b"x-entity-id")
    if given is None:
        return None
    try:
        return read_option("X-Entity-Id", given.decode())
    except UnicodeDecodeError:
        raise FieldProblem("X-Entity-Id", "must be UTF-8") from None


async def _send_json(body: bytes, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
